"""In which order replicas move, and how many at a time.

A replica that moves takes room on both hosts, and rules hold meanwhile, but for those that keep
guests together, which hold again at the end. Where some wait for each other in a circle, one is
parked on another host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from vlockstep.cluster.drs.advice import Move
from vlockstep.cluster.model import Cluster, Replica
from vlockstep.cluster.placement import Placement

SLOTS = 8
"""How many moves from and to a host are under way at a time."""


class Schedule(NamedTuple):
    """Moves that are made at the same time, step by step, and those that cannot be made."""

    steps: tuple[tuple[Move, ...], ...]
    stranded: tuple[Move, ...]


def schedule(cluster: Cluster, moves: Iterable[Move], slots: int = SLOTS) -> Schedule:
    """Of moves of different replicas, each from where it is. Those that come first go first, if
    there is room; what `cluster` says is moving keeps its slots."""
    placement = Placement(cluster)
    busy: Counter[str] = Counter()
    for replica, target in cluster.moving.items():
        busy.update((cluster.placed[replica], target))
    free = [host for host in sorted(cluster.hosts) if busy[host] < slots]
    left = list(moves)
    parked: set[Replica] = set()
    steps = []
    while left:
        step = _ready(placement, left, busy, slots)
        if step:
            left = [move for move in left if move not in step]
        elif found := _parking(placement, left, parked, free):
            index, host = found
            replica, source, target = left[index]
            step = [Move(replica, source, host)]
            left[index] = Move(replica, host, target)
            parked.add(replica)
        else:
            break
        for move in step:
            placement.put(move.replica, move.target)
        steps.append(tuple(step))
    return Schedule(tuple(steps), tuple(left))


def _ready(placement: Placement, left: list[Move], busy: Counter[str], slots: int) -> list[Move]:
    """What can be moved now, all of it at once; it is on its way then."""
    used = busy.copy()
    step = []
    for move in left:
        replica, source, target = move
        if max(used[source], used[target]) < slots and placement.admits(replica, target):
            placement.begin(replica, target)
            used.update((source, target))
            step.append(move)
    return step


def _parking(
    placement: Placement, left: list[Move], parked: set[Replica], hosts: list[str]
) -> tuple[int, str] | None:
    """Which of the moves is to wait on which other host, so that another one can go on."""
    for index, (replica, source, target) in enumerate(left):
        if replica in parked or source not in hosts:
            continue
        for host in hosts:
            if host in (source, target) or not placement.admits(replica, host):
                continue
            placement.put(replica, host)
            others = left[:index] + left[index + 1 :]
            helps = any(placement.admits(other.replica, other.target) for other in others)
            placement.put(replica, source)
            if helps:
                return index, host
    return None

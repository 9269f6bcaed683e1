"""Hill climbing: from the most loaded host, the move that makes the loads most even, again and
again, and where no move helps, two guests that change places.

A step must be worth it: the two hosts' loads come closer by more than the moves cost and than is
lost when the guests are as busy again as they were of late. An exhaustive search knows no cost.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from vlockstep.cluster.drs.advice import MANDATORY, Move, Reason, Settings
from vlockstep.cluster.drs.draft import Draft, Step, Unit
from vlockstep.cluster.drs.loads import Effect, Loads, Pair

WIDTH = 16
"""How many of the least loaded hosts are looked at as targets."""
EXCHANGES = 1_000_000
"""How many exchanges are looked at in all."""
SHAKES, SHAKEN = 8, 3
"""How many times for each guest an exhaustive search goes on from somewhere near, and how many
guests it moves there."""
REJECTED = 8
"""After so many that are not worth it, what would gain less is not looked at."""
ROUNDING = 1e-12


def priority_of(imbalance: float, hosts: int) -> int:
    """Of a move in a cluster so uneven: the more, the smaller, at least 2. 6 asks for nothing.

    It is 6 - ceil(imbalance / 0.1 * sqrt(hosts)), read from left to right: by the root, one busy
    host makes a large cluster as urgent as a small one.
    """
    return max(MANDATORY + 1, 6 - math.ceil(imbalance / 0.1 * math.sqrt(hosts)))


def aim_of(threshold: int, hosts: int) -> float:
    """The greatest imbalance for which nothing of a priority up to the threshold is asked."""
    return (5 - threshold) * 0.1 / math.sqrt(hosts)


class Worth(NamedTuple):
    """Of moves, in parts of a host."""

    gain: float
    cost: float
    risk: float


def worth_of(draft: Draft, settings: Settings, moves: tuple[Move, ...]) -> Worth:
    """Of moves that have not been made yet."""
    gain = _closer(draft.loads, moves)
    cost = sum(_cost(draft, settings, move) for move in moves)
    risk = 0.0
    if draft.peaks is not draft.loads:
        risk = max(0.0, gain - _closer(draft.peaks, moves))
    return Worth(gain, cost, risk)


def _closer(loads: Loads, moves: tuple[Move, ...]) -> float:
    """By how much the hosts' loads do come closer."""
    hosts = sorted({host for move in moves for host in move[1:]})
    before = loads.spread(hosts)
    for replica, source, target in moves:
        loads.move(loads.entitled[replica], source, target)
    after = loads.spread(hosts)
    for replica, source, target in reversed(moves):
        loads.move(loads.entitled[replica], target, source)
    return before - after


def _cost(draft: Draft, settings: Settings, move: Move) -> float:
    """A guest's memory is copied once, and what is written meanwhile once more; for that time it
    is on both hosts, and takes CPU of both."""
    guest = draft.cluster.guests[move.replica.guest]
    source, target = (draft.cluster.hosts[host] for host in move[1:])
    seconds = guest.memory / settings.bandwidth * (1 + min(1, guest.dirty / settings.bandwidth))
    cpu = settings.move_cpu / target.cpu + (settings.move_cpu / source.cpu if source.cpu else 0)
    memory = draft.loads.entitled[move.replica].memory / target.memory
    weights = draft.loads.weights
    return (weights.cpu * cpu + weights.memory * memory) * seconds / settings.horizon


def balance(draft: Draft, settings: Settings, automatic: bool) -> list[Step]:
    """The steps, made in the draft, by which the loads get even enough for the threshold; of the
    guests that need no consent, or of those that do."""
    search = _Search(draft, settings, automatic)
    steps = list(search.steps())
    if settings.exhaustive:
        search.shake()
    return steps


def described(draft: Draft, settings: Settings, moves: tuple[Move, ...], priority: int) -> Step:
    """Moves for balance that are to be made now."""
    loads, (_, source, target) = draft.loads, moves[0]
    apart = (
        loads.weights.cpu * (loads.cpu[source] - loads.cpu[target]) ** 2,
        loads.weights.memory * (loads.memory[source] - loads.memory[target]) ** 2,
    )
    reason, what, used = Reason.UNEVEN_CPU, "CPU", loads.cpu
    if apart[1] > apart[0]:
        reason, what, used = Reason.UNEVEN_MEMORY, "memory", loads.memory
    text = (
        f"the load of host {source} is {used[source]:.0%} of its {what}, that of host {target} "
        f"{used[target]:.0%}"
    )
    return Step(reason, text, priority, moves, *worth_of(draft, settings, moves))


_Candidate = tuple[float, Unit, Unit, str]
"""By how much it changes the sum of squares, what leaves the source, what the target, which."""


class _Search:
    def __init__(self, draft: Draft, settings: Settings, automatic: bool) -> None:
        self.draft = draft
        self.loads = draft.loads
        self.settings = settings
        out = draft.settled | draft.fixed.keys()
        self.free = {
            unit[0]: unit
            for unit in draft.units
            if out.isdisjoint(unit) and draft.automatic(unit) == automatic
        }
        self.weighted = {host: self.loads.weighted(host) for host in self.loads.hosts}
        self.order = sorted((load, host) for host, load in self.weighted.items())
        self.there: dict[str, list[tuple[Unit, Pair]]] = {}
        self.made = dict.fromkeys(self.loads.hosts, 0)
        self.exchanges = EXCHANGES
        self.limit = math.inf if settings.exhaustive else settings.move_limit
        self.least = 0 if settings.exhaustive else settings.goodness
        self.squares = self.loads.imbalance**2 * len(self.order)

    def steps(self) -> Iterator[Step]:
        """Moves first, then exchanges; an exhaustive search goes on until neither helps."""
        again = True
        while again:
            again = False
            for look in (self.single, self.exchange):
                for step in self.climb(look):
                    yield step
                    again = self.settings.exhaustive

    def shake(self) -> None:
        """Move some at random and climb again, as long as there are exchanges to look at; go back
        where that leads to nothing better. What is not on one host that takes part stays."""
        chance = random.Random(0)
        hosts, at = sorted(self.loads.hosts), self.draft.placement.at
        units = [
            unit
            for unit in sorted(self.free.values())
            if len(there := {at[replica] for replica in unit}) == 1 and there <= set(hosts)
        ]
        for _ in range(SHAKES * len(units)):
            before, squares = [at[unit[0]] for unit in units], self.squares
            for _ in range(SHAKEN):
                unit, target = chance.choice(units), chance.choice(hosts)
                source = at[unit[0]]
                if source != target and not self.draft.obstacles(unit, target):
                    change = self.loads.effect(source, target).of(self.loads.total(unit))
                    self.apply(self.draft.move(unit, target), change)
            for _ in self.steps():
                pass
            if self.squares >= squares - ROUNDING:
                for unit, host in zip(units, before, strict=True):
                    self.apply(self.draft.move(unit, host), 0)
                self.squares = squares
            if self.exchanges < 0:
                return

    def climb(self, look: Callable[[str], Step | None]) -> Iterator[Step]:
        """From the most loaded host for which something is found, until the threshold is reached
        or nothing is: then all are idle."""
        idle: set[str] = set()
        while self.priority <= self.settings.threshold or self.settings.exhaustive:
            source = next((host for _, host in reversed(self.order) if host not in idle), None)
            if source is None:
                return
            if step := look(source):
                yield step
                idle.difference_update(host for move in step.moves for host in move[1:])
            else:
                idle.add(source)

    @property
    def priority(self) -> int:
        count = len(self.order)
        return priority_of(math.sqrt(max(0, self.squares) / count), count) if count else 6

    def units_on(self, host: str) -> list[tuple[Unit, Pair]]:
        """Those that may still be moved away, and the load of each."""
        if self.made[host] >= self.limit:
            return []
        if host not in self.there:
            at = self.draft.placement.at
            units = [self.free[r] for r in self.draft.placement.on[host] if r in self.free]
            self.there[host] = [
                (unit, self.loads.total(unit))
                for unit in units
                if all(at[replica] == host for replica in unit)
            ]
        return self.there[host]

    def targets(self, source: str, below: int) -> Iterator[tuple[str, Effect]]:
        """Of the least loaded among so many hosts those that may have more moves, and gain enough
        by one."""
        lowest = (host for _, host in self.order[:below] if self.made[host] < self.limit)
        for host in islice(lowest, WIDTH + 1):
            if host != source and self.apart(source, host) >= self.least:
                yield host, self.loads.effect(source, host)

    def apart(self, one: str, other: str) -> float:
        """How far apart their loads are: no move gains more."""
        loads = self.loads
        return math.sqrt(
            loads.weights.cpu * (loads.cpu[one] - loads.cpu[other]) ** 2
            + loads.weights.memory * (loads.memory[one] - loads.memory[other]) ** 2
        )

    def single(self, source: str) -> Step | None:
        units = self.units_on(source)
        candidates: list[_Candidate] = [
            (change, unit, (), target)
            for target, (a, b, c, d) in self.targets(source, len(self.order))
            for unit, (x, y) in units
            if (change := x * (a + b * x) + y * (c + d * y)) < -ROUNDING
        ]
        return self.first(source, candidates)

    def exchange(self, source: str) -> Step | None:
        units = self.units_on(source)
        place = bisect_left(self.order, (self.weighted[source], source))
        candidates: list[_Candidate] = []
        for target, (a, b, c, d) in self.targets(source, place):
            others = self.units_on(target)
            self.exchanges -= len(units) * len(others)
            if self.exchanges < 0:
                break
            candidates += [
                (change, unit, other, target)
                for unit, (cpu, memory) in units
                for other, (cpu_back, memory_back) in others
                for x, y in [(cpu - cpu_back, memory - memory_back)]
                if (change := x * (a + b * x) + y * (c + d * y)) < -ROUNDING
            ]
        return self.first(source, candidates)

    def first(self, source: str, candidates: list[_Candidate]) -> Step | None:
        """Make the best one that is possible and worth it; after some that are not, give up."""
        rejected = 0
        for candidate in sorted(candidates):
            change, leaving, coming, target = candidate
            count = len(leaving) + len(coming)
            if max(self.made[source], self.made[target]) + count > self.limit:
                continue
            moves = self.possible(source, *candidate[1:])
            if not moves:
                continue
            if not self.worthwhile(moves):
                rejected += 1
                if rejected == REJECTED:
                    break
                continue
            step = described(self.draft, self.settings, moves, min(self.priority, 5))
            self.draft.make(moves)
            self.apply(moves, change)
            if not self.settings.exhaustive:
                for unit in filter(None, (leaving, coming)):
                    del self.free[unit[0]]
            return step
        return None

    def possible(self, source: str, leaving: Unit, coming: Unit, target: str) -> tuple[Move, ...]:
        """The moves in an order in which each finds room; none if there is no such order."""
        if not coming:
            if self.draft.obstacles(leaving, target):
                return ()
            return tuple(Move(replica, source, target) for replica in leaving)
        there, back = (leaving, target), (coming, source)
        for order in (there, back), (back, there):
            moves: tuple[Move, ...] = ()
            for unit, host in order:
                if self.draft.obstacles(unit, host):
                    break
                moves += self.draft.move(unit, host)
            self.draft.undo(moves)
            if len(moves) == len(leaving) + len(coming):
                return moves
        return ()

    def worthwhile(self, moves: tuple[Move, ...]) -> bool:
        if self.settings.exhaustive:
            return True
        gain, cost, risk = worth_of(self.draft, self.settings, moves)
        return gain >= self.least and gain > cost + risk

    def apply(self, moves: tuple[Move, ...], change: float) -> None:
        """Know of moves that have been made."""
        self.squares += change
        hosts = [host for move in moves for host in move[1:]]
        for host in hosts:
            self.made[host] += 1
        for host in set(hosts):
            self.reorder(host)

    def reorder(self, host: str) -> None:
        del self.order[bisect_left(self.order, (self.weighted[host], host))]
        self.weighted[host] = self.loads.weighted(host)
        self.there.pop(host, None)
        insort(self.order, (self.weighted[host], host))

"""What DRS recommends for a cluster as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from vlockstep.cluster.drs.advice import (
    MANDATORY,
    Advice,
    Fault,
    Move,
    Reason,
    Recommendation,
    Settings,
)
from vlockstep.cluster.drs.balance import balance, described, priority_of
from vlockstep.cluster.drs.draft import Draft, History, Step, Unit, name_of
from vlockstep.cluster.drs.mend import mend
from vlockstep.cluster.model import Automation, Cluster, OnHosts, Replica
from vlockstep.cluster.placement import Placement

DEFAULT = Settings()
NAMED = 3
"""Of more guests that need room not all are named."""


def recommend(
    cluster: Cluster, settings: Settings = DEFAULT, history: History | None = None
) -> Advice:
    """First what is mandatory, then what makes the loads even; of guests that may be moved without
    consent first, so that those which wait for it take nobody's turn.

    Rules that should hold are taken for such that must, unless that fills a host or leaves
    something mandatory undone that can be done without them.
    """
    history = history or {}
    if cluster.automation is Automation.DISABLED:
        even = Draft(cluster, history, strict=False).loads.imbalance
        return Advice((), (), even, even)
    advice, trouble = _advise(cluster, settings, history, strict=True)
    if trouble and any(isinstance(r, OnHosts) and not r.mandatory for r in cluster.rules):
        relaxed, less = _advise(cluster, settings, history, strict=False)
        if less < trouble:
            return replace(relaxed, relaxed=True)
    return advice


def toward(cluster: Cluster, wanted: Mapping[Replica, str], faults: Sequence[Fault]) -> Advice:
    """What leads to where the replicas are to be, as `oracle.solve` finds it when there are
    `faults`: all of it mandatory, to remedy these and to make room for that."""
    draft = Draft(cluster, {}, strict=False)
    before = draft.loads.imbalance
    reasons = {draft.unit_of(fault.replica): (fault.reason, fault.text) for fault in faults}
    names = [name_of(fault.replica) for fault in faults[:NAMED]]
    more = ["others"] if len(faults) > NAMED else []
    left = _units(draft, wanted)
    steps = []
    while left:
        unit, host = next((found for found in left if not draft.obstacles(*found)), left[0])
        left.remove((unit, host))
        reason, text = Reason.ROOM, f"room for {', '.join(names + more)}"
        for source in sorted({draft.placement.at[replica] for replica in unit}):
            if cluster.hosts[source].maintenance:
                reason, text = Reason.MAINTENANCE, f"host {source} is in maintenance"
        reason, text = reasons.get(unit, (reason, text))
        steps.append(Step(reason, text, MANDATORY, draft.move(unit, host)))
    recommendations = tuple(_recommendations(draft, steps))
    return Advice(recommendations, (), before, draft.loads.imbalance)


def _units(draft: Draft, wanted: Mapping[Replica, str]) -> list[tuple[Unit, str]]:
    """Those of which something is to be elsewhere, and where."""
    at = draft.placement.at
    units = {draft.unit_of(r): host for r, host in sorted(wanted.items()) if at[r] != host}
    return list(units.items())


def _advise(
    cluster: Cluster, settings: Settings, history: History, strict: bool
) -> tuple[Advice, int]:
    """With how many things are wrong then: what is mandatory and cannot be, and full hosts."""
    draft = Draft(cluster, history, strict)
    before = draft.loads.imbalance
    steps, faults = mend(draft, settings.threshold)
    if settings.threshold > 1 or settings.exhaustive:
        for automatic in (True, False):
            if settings.exhaustive:
                steps += _exhaustive(draft, settings, automatic)
            else:
                steps += balance(draft, settings, automatic)
    loads = draft.loads
    full = [host for host in loads.hosts if max(loads.cpu[host], loads.memory[host]) >= 1]
    recommendations = tuple(_recommendations(draft, steps))
    return Advice(recommendations, tuple(faults), before, loads.imbalance), len(faults) + len(full)


def _exhaustive(draft: Draft, settings: Settings, automatic: bool) -> list[Step]:
    """Search, which moves some guests several times, and then go to what was found directly."""
    before = dict(draft.placement.at)
    balance(draft, settings, automatic)
    wanted = dict(draft.placement.at)
    draft.undo([Move(replica, before[replica], host) for replica, host in wanted.items()])
    steps: list[Step] = []
    for moves in approach(draft, wanted):
        even = draft.loads.imbalance
        priority = min(priority_of(even, len(draft.loads.hosts)), 5)
        step = described(draft, settings, moves, priority)
        draft.make(moves)
        if draft.loads.imbalance >= even:
            draft.undo(moves)
            break
        steps.append(step)
    return steps


def approach(draft: Draft, wanted: Mapping[Replica, str]) -> Iterator[tuple[Move, ...]]:
    """Moves to where the replicas are to be, in groups each of which makes the loads more even.
    Those that find no room yet wait for others, and what never does is in the last group. Each is
    to be made in the draft before the next one is asked for."""
    left = _units(draft, wanted)
    while left:
        group: list[Move] = []
        before = draft.loads.imbalance
        while left and (not group or draft.loads.imbalance >= before):
            ready = next((found for found in left if not draft.obstacles(*found)), None)
            chosen = [ready] if ready else list(left)
            for unit, host in chosen:
                left.remove((unit, host))
                group += draft.move(unit, host)
        draft.undo(group)
        yield tuple(group)


def _recommendations(draft: Draft, steps: Sequence[Step]) -> Iterator[Recommendation]:
    """With what each one needs to be carried out before it."""
    placement = Placement(draft.cluster, strict=draft.strict)
    earlier: list[Recommendation] = []
    leaving: dict[str, list[Recommendation]] = {}
    for key, step in enumerate(steps, 1):
        targets = {move.target for move in step.moves}
        candidates = {
            found.key: found for host in sorted(targets) for found in leaving.get(host, ())
        }
        needed = _needed(placement, step.moves, [candidates[key] for key in sorted(candidates)])
        automatic = draft.automatic(tuple(move.replica for move in step.moves))
        automatic &= all(earlier[other - 1].automatic for other in needed)
        found = Recommendation(
            key, step.reason, step.text, step.priority, step.moves, step.gain, step.cost, step.risk,
            needed, automatic,
        )  # fmt: skip
        earlier.append(found)
        for move in step.moves:
            placement.begin(move.replica, move.target)
            leaving.setdefault(move.source, []).append(found)
        yield found


def _needed(
    placement: Placement, moves: Sequence[Move], candidates: Sequence[Recommendation]
) -> tuple[int, ...]:
    """The keys of as few of the candidates as it takes for these moves to find room. In the
    placement everybody who is recommended to leave is still there, and has arrived: it does not
    matter which others are carried out."""
    if _find_room(placement, moves):
        return ()
    needed = list(candidates)
    _carry_out(placement, candidates)
    for found in candidates:
        _take_back(placement, [found])
        if _find_room(placement, moves):
            needed.remove(found)
        else:
            _carry_out(placement, [found])
    _take_back(placement, needed)
    return tuple(found.key for found in needed)


def _find_room(placement: Placement, moves: Sequence[Move]) -> bool:
    """Whether they do, one after the other."""
    made = []
    for move in moves:
        if not placement.admits(move.replica, move.target):
            break
        placement.put(move.replica, move.target)
        made.append(move)
    for move in reversed(made):
        placement.put(move.replica, move.source)
    return len(made) == len(moves)


def _carry_out(placement: Placement, recommendations: Iterable[Recommendation]) -> None:
    for found in recommendations:
        for move in found.moves:
            placement.put(move.replica, move.target)


def _take_back(placement: Placement, recommendations: Iterable[Recommendation]) -> None:
    for found in recommendations:
        for move in found.moves:
            placement.put(move.replica, move.source)
            placement.begin(move.replica, move.target)

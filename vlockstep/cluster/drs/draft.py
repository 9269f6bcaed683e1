"""A placement in the making: what may be moved where, and what that does to the loads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from vlockstep.cluster.drs.advice import Move, Reason
from vlockstep.cluster.drs.loads import Loads, Pair
from vlockstep.cluster.model import Automation, Cluster, Guest, Replica, Role, Together
from vlockstep.cluster.placement import Placement
from vlockstep.cluster.rules import bundles

Unit = tuple[Replica, ...]
"""What moves as one: a replica, or the primaries of guests that are to be together."""


class Lasting(NamedTuple):
    """What of a guest's demands lasts, in CPU and active memory, and the highest of late."""

    usual: Pair
    peak: Pair


History = Mapping[str, Lasting]
"""By guest; one that is not in it always had the demands that it has now."""


class Step(NamedTuple):
    """Moves that belong together, and what they are worth."""

    reason: Reason
    text: str
    priority: int
    moves: tuple[Move, ...]
    gain: float = 0
    cost: float = 0
    risk: float = 0


class Draft:
    """`fixed` says of replicas that must stay where they are why, `settled` are those that have a
    place for good. `peaks` are the loads if all guests were as busy as lately. A `strict` one takes
    rules that should hold for such that must."""

    def __init__(self, cluster: Cluster, history: History, strict: bool) -> None:
        self.cluster = cluster
        self.strict = strict
        self.placement = Placement(cluster, strict=strict)
        self.loads = Loads(self.placement, _demanding(cluster, history, lambda found: found.usual))
        self.peaks = self.loads
        if history:
            busiest = _demanding(cluster, history, lambda found: found.peak)
            self.peaks = Loads(self.placement, busiest)
        self.fixed = {
            replica: why for replica in self.placement.at if (why := self._why_fixed(replica))
        }
        self.settled: set[Replica] = set()
        groups = bundles(r.guests for r in self.placement.rules if isinstance(r, Together))
        self._bundle = {guest: group for group in groups for guest in group}

    def _why_fixed(self, replica: Replica) -> str:
        if replica in self.cluster.moving:
            return f"{name_of(replica)} is moving to host {self.cluster.moving[replica]}"
        if self.automation(replica) is Automation.DISABLED:
            return f"guest {replica.guest} is not to be moved, its automation is disabled"
        return ""

    def automation(self, replica: Replica) -> Automation:
        return self.cluster.guests[replica.guest].automation or self.cluster.automation

    def automatic(self, unit: Unit) -> bool:
        """Whether it may be moved without anybody's consent."""
        return all(self.automation(replica) is Automation.FULL for replica in unit)

    @property
    def units(self) -> list[Unit]:
        """All there are."""
        return sorted({self.unit_of(replica) for replica in self.placement.at})

    def unit_of(self, replica: Replica) -> Unit:
        if replica.role is Role.SECONDARY or replica.guest not in self._bundle:
            return (replica,)
        members = sorted(map(Replica, self._bundle[replica.guest]))
        return tuple(member for member in members if member in self.placement.at)

    def obstacles(self, unit: Unit, target: str) -> tuple[str, ...]:
        """Why it cannot be moved there; nothing if it can."""
        placement = self.placement
        for replica in unit:
            if replica in self.fixed and placement.at[replica] != target:
                return (self.fixed[replica],)
        if len(unit) == 1:
            return placement.obstacles(unit[0], target)
        before = [(replica, placement.at[replica]) for replica in unit]
        for replica in unit:
            if replica not in self.fixed:
                placement.take(replica)
        found: tuple[str, ...] = ()
        for replica in unit:
            if replica in self.fixed:
                continue
            found = tuple(f"{replica.guest}: {why}" for why in placement.obstacles(replica, target))
            if found:
                break
            placement.put(replica, target)
        for replica, host in before:
            if replica not in self.fixed:
                placement.put(replica, host)
        return found

    def all_obstacles(self, unit: Unit) -> dict[str, str]:
        """By host, of those to which it cannot be moved."""
        found = {host: self.obstacles(unit, host) for host in sorted(self.cluster.hosts)}
        return {host: "; ".join(reasons) for host, reasons in found.items() if reasons}

    def best(self, unit: Unit) -> tuple[float, str] | None:
        """The host to which it can be moved that leaves the loads most even, and how uneven they
        are then, compared with others."""
        source = self.placement.at[unit[0]]
        load = self.loads.total(unit)
        hosts = [host for host in self.loads.hosts if host != source]
        order = sorted((self.loads.effect(source, host).of(load), host) for host in hosts)
        return next((found for found in order if not self.obstacles(unit, found[1])), None)

    def move(self, unit: Unit, target: str) -> tuple[Move, ...]:
        """The moves that it takes."""
        moves = []
        for replica in unit:
            source = self.placement.at[replica]
            if source != target:
                self.loads.move(self.loads.entitled[replica], source, target)
                if self.peaks is not self.loads:
                    self.peaks.move(self.peaks.entitled[replica], source, target)
                self.placement.put(replica, target)
                moves.append(Move(replica, source, target))
        return tuple(moves)

    def make(self, moves: Iterable[Move]) -> None:
        for replica, _, target in moves:
            self.move((replica,), target)

    def undo(self, moves: Sequence[Move]) -> None:
        for replica, source, _ in reversed(moves):
            self.move((replica,), source)


def name_of(replica: Replica) -> str:
    """For people."""
    role = "" if replica.role is Role.PRIMARY else f"the {replica.role} of "
    return f"{role}guest {replica.guest}"


def _demanding(
    cluster: Cluster, history: History, which: Callable[[Lasting], Pair]
) -> Mapping[str, Guest]:
    """The guests with demands from their history."""
    if not history:
        return cluster.guests
    found = dict(cluster.guests)
    for name, lasting in history.items():
        if name in found:
            cpu, memory = which(lasting)
            found[name] = replace(found[name], demand=cpu, active=memory)
    return found

"""What must be done whatever it costs: hosts in maintenance emptied, rules that are broken kept
again, reservations honoured. None of it breaks another rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from vlockstep.cluster.drs.advice import MANDATORY, Fault, Reason
from vlockstep.cluster.drs.draft import Draft, Step, Unit, name_of
from vlockstep.cluster.model import Apart, OnHosts, Replica, Role, Together

ADVISABLE = 2
"""The priority of keeping a rule that only should hold."""


class Wanted(NamedTuple):
    """One of these units is to leave its host."""

    units: list[Unit]
    reason: Reason
    text: str
    priority: int = MANDATORY


def mend(draft: Draft, threshold: int) -> tuple[list[Step], list[Fault]]:
    """All steps that it takes, and what cannot be done."""
    mender = _Mender(draft)
    for name, host in sorted(draft.cluster.hosts.items()):
        if host.maintenance:
            mender.repeat(partial(mender.evacuation, name))
    mender.repeat(mender.pair)
    for rule in draft.placement.rules:
        if isinstance(rule, Apart):
            mender.repeat(partial(mender.crowd, rule))
        elif isinstance(rule, Together):
            mender.gather(rule)
        elif rule.mandatory or (draft.strict and threshold >= ADVISABLE):
            mender.repeat(partial(mender.astray, rule))
    for name in draft.loads.hosts:
        mender.repeat(partial(mender.overreserved, name))
    return mender.steps, mender.faults


class _Mender:
    """Each finder says what is still wrong, without those that are `stuck`, or None."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.at = draft.placement.at
        self.steps: list[Step] = []
        self.faults: list[Fault] = []
        self.stuck: set[Replica] = set()

    def repeat(self, find: Callable[[], Wanted | None]) -> None:
        """Ends, as each time something is moved for good or stuck."""
        while wanted := find():
            self.relocate(wanted)

    def evacuation(self, host: str) -> Wanted | None:
        replicas = self.loose(self.here(host))
        if not replicas:
            return None
        largest = max(replicas, key=lambda replica: (*self.reserved(replica), replica))
        units = [self.draft.unit_of(largest)]
        return Wanted(units, Reason.MAINTENANCE, f"host {host} is in maintenance")

    def here(self, host: str) -> list[Replica]:
        """Those on the host, but for who is on its way there."""
        return [replica for replica in self.draft.placement.on[host] if self.at[replica] == host]

    def reserved(self, replica: Replica) -> tuple[float, float]:
        guest = self.draft.cluster.guests[replica.guest]
        return guest.reserved_memory, guest.cpu.reservation

    def pair(self) -> Wanted | None:
        for secondary in sorted(r for r in self.at if r.role is Role.SECONDARY):
            both = [Replica(secondary.guest), secondary]
            if len({self.at.get(replica) for replica in both}) == 1 and self.loose(both):
                text = f"both replicas of guest {secondary.guest} are on host {self.at[secondary]}"
                return Wanted(self.units(both), Reason.PAIR, text)
        return None

    def crowd(self, rule: Apart) -> Wanted | None:
        hosts: dict[str, list[Replica]] = {}
        for replica in self.members(rule.guests):
            hosts.setdefault(self.at[replica], []).append(replica)
        for host, replicas in sorted(hosts.items()):
            guests = sorted({replica.guest for replica in replicas})
            if len(guests) > 1 and self.loose(replicas):
                text = f"rule {rule.name} keeps {', '.join(guests)} apart, which host {host} has"
                return Wanted(self.units(replicas), Reason.APART, text)
        return None

    def astray(self, rule: OnHosts) -> Wanted | None:
        members = [
            r for r in self.members(rule.guests) if (self.at[r] in rule.hosts) != rule.inside
        ]
        replicas = self.loose(members)
        if not replicas:
            return None
        keeps = "keeps" if rule.mandatory else "should keep"
        text = f"rule {rule.name} {keeps} {name_of(replicas[0])} off host {self.at[replicas[0]]}"
        reason = Reason.MUST_ON_HOSTS if rule.mandatory else Reason.SHOULD_ON_HOSTS
        priority = MANDATORY if rule.mandatory else ADVISABLE
        return Wanted([self.draft.unit_of(replicas[0])], reason, text, priority)

    def overreserved(self, host: str) -> Wanted | None:
        cpu, memory = self.draft.placement.overreserved(host)
        if not cpu and not memory:
            return None
        index = 1 if cpu else 0
        there = self.loose(self.here(host))
        replicas = [replica for replica in there if self.reserved(replica)[index] > 0]
        if not replicas:
            return None
        what = "CPU" if cpu else "memory"
        reason = Reason.RESERVED_CPU if cpu else Reason.RESERVED_MEMORY
        text = f"more {what} is reserved on host {host} than it has"
        return Wanted(self.units(replicas), reason, text)

    def members(self, guests: frozenset[str]) -> list[Replica]:
        """Their replicas that are placed."""
        replicas = [Replica(guest, role) for guest in sorted(guests) for role in Role]
        return [replica for replica in replicas if replica in self.at]

    def loose(self, replicas: Iterable[Replica]) -> list[Replica]:
        """Those that may still be moved, or be found to be stuck. Who is moving already will be
        where it goes when this is looked at again."""
        out = self.stuck | self.draft.settled | self.draft.cluster.moving.keys()
        return [replica for replica in replicas if replica not in out]

    def units(self, replicas: Iterable[Replica]) -> list[Unit]:
        return sorted({self.draft.unit_of(replica) for replica in self.loose(replicas)})

    def relocate(self, wanted: Wanted) -> None:
        """Move the unit whose move leaves the loads most even, and needs no consent if possible."""
        draft = self.draft
        options = [
            (not draft.automatic(unit), *found, unit)
            for unit in wanted.units
            if (found := draft.best(unit))
        ]
        if options:
            *_, target, unit = min(options)
            self.make(wanted.reason, wanted.text, wanted.priority, unit, target)
        elif not any(self.make_room(wanted, unit) for unit in wanted.units):
            for unit in wanted.units:
                self.stuck.update(unit)
            if wanted.priority == MANDATORY:
                self.fail(wanted.units[0], wanted.reason, wanted.text)

    def make(self, reason: Reason, text: str, priority: int, unit: Unit, target: str) -> None:
        moves = self.draft.move(unit, target)
        self.draft.settled.update(unit)
        self.steps.append(Step(reason, text, priority, moves))

    def fail(self, unit: Unit, reason: Reason, text: str) -> None:
        fixed = [self.draft.fixed[replica] for replica in unit if replica in self.draft.fixed]
        obstacles = {} if fixed else self.draft.all_obstacles(unit)
        self.faults.append(Fault(unit[0], reason, "; ".join([text, *fixed]), obstacles))

    def make_room(self, wanted: Wanted, unit: Unit) -> bool:
        """Move one other unit away from a host that could run this one."""
        draft = self.draft
        for host in draft.loads.hosts:
            if not all(draft.placement.suits(replica, host) for replica in unit):
                continue
            others = self.units(self.here(host))
            for other in others:
                if other == unit or not self.would_fit(unit, host, other):
                    continue
                found = draft.best(other)
                if not found:
                    continue
                moves = draft.move(other, found[1])
                fits = not draft.obstacles(unit, host)
                draft.undo(moves)
                if fits:
                    text = f"room for {name_of(unit[0])} on host {host}"
                    self.make(Reason.ROOM, text, wanted.priority, other, found[1])
                    self.make(wanted.reason, wanted.text, wanted.priority, unit, host)
                    return True
        return False

    def would_fit(self, unit: Unit, host: str, without: Unit) -> bool:
        """If the other one, which is there, were not."""
        placement = self.draft.placement
        if any(self.at[replica] != host for replica in without):
            return False
        for replica in without:
            placement.take(replica)
        fits = not self.draft.obstacles(unit, host)
        for replica in without:
            placement.put(replica, host)
        return fits

    def gather(self, rule: Together) -> None:
        """Have all primaries of its bundle on one host."""
        draft = self.draft
        placed = [Replica(guest) for guest in sorted(rule.guests) if Replica(guest) in self.at]
        unit = draft.unit_of(placed[0]) if placed else ()
        if len({self.at[replica] for replica in unit}) < 2 or len(self.loose(unit)) < len(unit):
            return
        text = f"rule {rule.name} keeps {', '.join(sorted(rule.guests))} together"
        options = [
            (sum(self.at[replica] != host for replica in unit), draft.loads.weighted(host), host)
            for host in draft.loads.hosts
            if not draft.obstacles(unit, host)
        ]
        if options:
            self.make(Reason.TOGETHER, text, MANDATORY, unit, min(options)[2])
        else:
            self.stuck.update(unit)
            self.fail(unit, Reason.TOGETHER, text)

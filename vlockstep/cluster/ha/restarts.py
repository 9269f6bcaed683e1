"""The master starts again what shall run and does not: in order, spread over hosts, within limits.

Theory of operation. What hosts say of attempts is noted; `update` tells how the cluster looks then
and what is missing, and nothing else starts anything. What is missing and has no attempt under way
is due, at once or after the pause that followed its last attempt. Each replica that is due, the
most urgent first, gets the host that suits it best. It is started there unless it has to wait: a
host starts a limited number at a time, and a less urgent replica only when no more urgent one is
being started, or waits, there. Only the end of an attempt counts for that: neither its success, nor
whether the guest has become ready.

What fits nowhere is *pending*. That is no attempt and costs none: it is looked at again with every
update, so a host that joins, leaves maintenance or gets room, another failure, or a failed attempt
gives it its place at once.

An attempt ends as its host says, or because the host's failure is established. Until then its
outcome is unknown, and there is no other attempt of that replica. That there are never two is good
order; that a guest never runs twice depends on its arbiter, for which a start waits by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from vlockstep.cluster.model import Apart, Cluster, Host, Priority, Replica, Role
from vlockstep.cluster.placement import Placement
from vlockstep.errors import UsageError
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.timing import SECOND

MINUTE = 60 * SECOND

Reasons = Mapping[str, tuple[str, ...]]
"""Of each host, why it cannot."""


@dataclass(frozen=True)
class RestartTiming:
    """Times are in nanoseconds of a monotonic clock."""

    pauses: tuple[int, ...] = (2 * MINUTE, 4 * MINUTE, 8 * MINUTE, 16 * MINUTE)
    """From each failed attempt to the next; after the one that follows the last pause, no more."""
    start: int = 2 * MINUTE
    """An attempt fails by itself after this time, most of which may pass until the guest's last
    owner has certainly fallen silent."""
    at_once: int = 32
    """Attempts under way on one host."""

    def __post_init__(self) -> None:
        if min(self.pauses, default=0) < 0:
            raise UsageError("a pause between two attempts must not be below 0 s")
        if self.start <= 0:
            raise UsageError("an attempt must be given more than 0 s")
        if self.at_once < 1:
            raise UsageError("a host must be let start 1 replica at a time, or more")

    @property
    def attempts(self) -> int:
        return len(self.pauses) + 1

    def faster(self, by: int) -> RestartTiming:
        return replace(
            self, pauses=tuple(pause // by for pause in self.pauses), start=self.start // by
        )


class Cause(StrEnum):
    """Why a replica that shall run does not."""

    HOST_FAILED = "its host failed"
    ISOLATED = "its host was isolated, and ended it"
    GUEST_FAILED = "the guest failed"
    REPLICA_FAILED = "it ended, and nobody had asked it to"
    NEW = "the guest is to be protected"
    """A secondary that has not been there before, or has become the primary; or a person starts
    the guest."""


@dataclass(frozen=True)
class Start:
    """Start `replica` on `host` within `limit` nanoseconds or not at all; tell with `started` or
    `failed`."""

    replica: Replica
    host: str
    attempt: int
    limit: int


@dataclass(frozen=True)
class Unplaced:
    """No host can take `replica`, for these `reasons`; told once, until it has been placed."""

    replica: Replica
    cause: Cause
    reasons: Reasons

    def __str__(self) -> str:
        hosts = "; ".join(f"{host}: {', '.join(why)}" for host, why in self.reasons.items())
        return f"no host can take {_name(self.replica)} ({self.cause}); " + (
            hosts or "there is no host"
        )


@dataclass(frozen=True)
class GaveUp:
    """The last attempt has failed, too, for this `reason`. There are no more until a user acts."""

    replica: Replica
    attempts: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{_name(self.replica)} could not be started in {self.attempts} attempts "
            f"({self.reason}); mend that and start it"
        )


@dataclass
class _Wanted:
    cause: Cause
    due: int
    attempts: int = 0
    failed_on: set[str] = field(default_factory=set)


class Restarts:
    """Of one master: the next one begins to count anew.

    No rule is broken that binds guests to hosts and is mandatory; with `apart`, none either that
    keeps guests apart. Other rules are left to who balances the cluster."""

    def __init__(self, timing: RestartTiming, *, apart: bool = False) -> None:
        self._timing = timing
        self._apart = apart
        self._wanted: dict[Replica, _Wanted] = {}
        self._under_way: dict[Replica, str] = {}
        self._pending: dict[Replica, Reasons] = {}
        self._now = 0

    @property
    def under_way(self) -> Mapping[Replica, str]:
        """What is being started where, as far as is known."""
        return self._under_way

    @property
    def pending(self) -> Mapping[Replica, Reasons]:
        """What fits nowhere, and why."""
        return self._pending

    @property
    def given_up(self) -> frozenset[Replica]:
        return frozenset(r for r, wanted in self._wanted.items() if wanted.due == NEVER)

    def cause(self, replica: Replica) -> Cause:
        """Why it did not run when it was first found missing, or a user asked for it anew."""
        return self._wanted[replica].cause

    def deadline(self) -> int:
        """When a pause ends next: update then at the latest."""
        return min((w.due for w in self._wanted.values() if w.due > self._now), default=NEVER)

    def started(self, replica: Replica, host: str) -> None:
        if self._under_way.get(replica) == host:
            del self._under_way[replica]
            self._wanted.pop(replica, None)

    def failed(self, now: int, replica: Replica, host: str, reason: str) -> list[GaveUp]:
        if self._under_way.get(replica) != host:
            return []
        del self._under_way[replica]
        wanted = self._wanted.get(replica)
        if wanted is None:
            return []
        wanted.failed_on.add(host)
        if wanted.attempts < self._timing.attempts:
            wanted.due = now + self._timing.pauses[wanted.attempts - 1]
            return []
        wanted.due = NEVER
        return [GaveUp(replica, wanted.attempts, reason)]

    def host_failed(self, now: int, host: str) -> list[GaveUp]:
        """It is established that `host` has failed: nothing is being started there any more."""
        reason = f"{host} failed"
        return [gave for r in [*self._under_way] for gave in self.failed(now, r, host, reason)]

    def again(self, guest: str) -> None:
        """A user wants what was given up of `guest` to be tried anew."""
        for replica in self.given_up:
            if replica.guest == guest:
                self._wanted[replica] = _Wanted(Cause.NEW, self._now)

    def update(
        self, now: int, cluster: Cluster, missing: Mapping[Replica, Cause]
    ) -> list[Start | Unplaced]:
        """`missing` is all that shall run and does not: not what a user has ended or deleted, nor a
        primary that a secondary can still take over. What is missing and placed in `cluster` is
        being started by somebody. Both are as new as all that was noted before."""
        self._now = now
        for replica in self._wanted.keys() - missing.keys():
            del self._wanted[replica]
        for replica, cause in missing.items():
            if replica not in self._wanted:
                self._wanted[replica] = _Wanted(cause, now, int(replica in self._under_way))
        return self._start(cluster)

    def _start(self, cluster: Cluster) -> list[Start | Unplaced]:
        """Give each replica that is due a host, and start those that need not wait for others."""
        actions: list[Start | Unplaced] = []
        told, self._pending = self._pending, {}
        placement = Placement(self._with_under_way(cluster), failover=True)
        busy: Counter[str] = Counter()
        urgent: dict[str, int] = {}
        for replica, host in self._being_started(cluster):
            busy[host] += 1
            urgent[host] = min(_turn(cluster, replica), urgent.get(host, NEVER))
        for turn, replica in sorted((_turn(cluster, r), r) for r in self._due(cluster)):
            wanted = self._wanted[replica]
            hosts = self._hosts(placement, replica)
            if not hosts:
                self._pending[replica] = reasons = self._reasons(placement, replica)
                if replica not in told:
                    actions.append(Unplaced(replica, wanted.cause, reasons))
                continue
            host = min(hosts, key=lambda h: _preference(cluster.hosts[h], wanted, busy))
            placement.put(replica, host)
            if busy[host] < self._timing.at_once and urgent.setdefault(host, turn) >= turn:
                wanted.attempts += 1
                self._under_way[replica] = host
                actions.append(Start(replica, host, wanted.attempts, self._timing.start))
            busy[host] += 1
        return actions

    def _with_under_way(self, cluster: Cluster) -> Cluster:
        """Who runs, too, where it was thought to be lost takes its room on both hosts."""
        placed = {**self._under_way, **cluster.placed}
        twice = {r: host for r, host in self._under_way.items() if placed[r] != host}
        return replace(cluster, placed=placed, moving={**cluster.moving, **twice})

    def _being_started(self, cluster: Cluster) -> Iterator[tuple[Replica, str]]:
        """By this master or, if it is placed though it does not run yet, by somebody else."""
        yield from self._under_way.items()
        for replica in self._wanted.keys() - self._under_way.keys():
            if host := cluster.placed.get(replica):
                yield replica, host

    def _due(self, cluster: Cluster) -> list[Replica]:
        started = {replica for replica, _ in self._being_started(cluster)}
        return [
            replica
            for replica, wanted in self._wanted.items()
            if wanted.due <= self._now
            and replica not in started
            and self._can_begin(cluster, replica)
        ]

    def _can_begin(self, cluster: Cluster, replica: Replica) -> bool:
        guest = cluster.guests.get(replica.guest)
        if guest is None or guest.priority is Priority.DISABLED:
            return False
        primary = Replica(replica.guest)
        return replica == primary or (primary in cluster.placed and primary not in self._wanted)

    def _hosts(self, placement: Placement, replica: Replica) -> list[str]:
        return [h for h in placement.ranked(replica) if not self._neighbours(placement, replica, h)]

    def _reasons(self, placement: Placement, replica: Replica) -> Reasons:
        return {
            host: placement.obstacles(replica, host) + self._neighbours(placement, replica, host)
            for host in placement.on
        }

    def _neighbours(self, placement: Placement, replica: Replica, host: str) -> tuple[str, ...]:
        """Those on `host` from whom a rule keeps `replica` apart, if such rules are kept."""
        if not self._apart:
            return ()
        there = {other.guest for other in placement.on[host]} - {replica.guest}
        return tuple(
            f"rule {rule.name} keeps the guest apart from {', '.join(sorted(others))}"
            for rule in placement.rules
            if isinstance(rule, Apart)
            and replica.guest in rule.guests
            and (others := rule.guests & there)
        )


def _turn(cluster: Cluster, replica: Replica) -> int:
    """Secondaries come first, so that what is to survive the next failure soon does."""
    guest = cluster.guests.get(replica.guest)
    if guest is not None and replica.role is Role.SECONDARY:
        return 0
    return 1 + Priority.HIGH - (guest.priority if guest else Priority.DISABLED)


def _preference(host: Host, wanted: _Wanted, busy: Counter[str]) -> tuple[bool, bool, int]:
    """The least is the best; among equals the one that is ranked higher."""
    return host.name in wanted.failed_on, not host.standby, busy[host.name]


def _name(replica: Replica) -> str:
    return replica.guest if replica.role is Role.PRIMARY else f"the secondary of {replica.guest}"

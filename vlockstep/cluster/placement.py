"""Where a replica can run, and why not elsewhere.

HA asks for a host when it restarts a guest, DRS when it places or moves one. A `Placement` answers
many questions, and follows while replicas are put here and there; the functions answer one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from vlockstep.cluster.entitlement import cpu_claim, memory_claim
from vlockstep.cluster.model import Apart, Cluster, Guest, Host, OnHosts, Replica, Role, Together
from vlockstep.cluster.rules import in_force
from vlockstep.machine import cpumodels

Rule = TypeVar("Rule", Apart, Together, OnHosts)
_Obstacle = tuple[Apart | Together | None, str]
"""Why a replica cannot run on a host, and the rule about guests' places that says so, if any."""
ROUNDING = 1e-9
"""Of a host's capacity: sums of what was added and taken away again are not exact."""


def fits(cluster: Cluster, replica: Replica, host: str, failover: bool = False) -> tuple[str, ...]:
    """Why the replica cannot run on the host; nothing if it can.

    A `failover` may use the hosts that are in standby for it, and keeps no guests together or
    apart: it is better that they run. A guest's two replicas never share a host.
    """
    return Placement(cluster, failover=failover).obstacles(replica, host)


def ranked(cluster: Cluster, replica: Replica, failover: bool = False) -> list[str]:
    """The hosts on which it can run, the best first."""
    return Placement(cluster, failover=failover).ranked(replica)


def why_not(cluster: Cluster, replica: Replica, failover: bool = False) -> dict[str, str]:
    """By the name of each host on which it cannot run: why."""
    placement = Placement(cluster, failover=failover)
    found = {host: placement.obstacles(replica, host) for host in sorted(cluster.hosts)}
    return {host: "; ".join(reasons) for host, reasons in found.items() if reasons}


class Placement:
    """Replicas on hosts that are connected. One that is moving counts on both.

    `strict` takes the rules that should hold for such that must; `failover` as in `fits`. `rules`
    are those in force, `at` is where each replica is, `on` has those on each host, in the order in
    which they came.
    """

    def __init__(self, cluster: Cluster, *, strict: bool = False, failover: bool = False) -> None:
        self.cluster = cluster
        self._failover = failover
        self.rules = in_force(cluster)
        self._apart = _by_guest([rule for rule in self.rules if isinstance(rule, Apart)])
        self._together = _by_guest([rule for rule in self.rules if isinstance(rule, Together)])
        on_hosts = [rule for rule in self.rules if isinstance(rule, OnHosts)]
        self._must = _by_guest([rule for rule in on_hosts if rule.mandatory or strict])
        self._should = _by_guest([rule for rule in on_hosts if not rule.mandatory])
        self._lasting: dict[tuple[object, ...], tuple[str, ...]] = {}

        self.at: dict[Replica, str] = {}
        self.on: dict[str, dict[Replica, None]] = {host: {} for host in sorted(cluster.hosts)}
        self._reserved_cpu = dict.fromkeys(self.on, 0.0)
        self._reserved_memory = dict.fromkeys(self.on, 0.0)
        self._moving: dict[Replica, str] = {}
        for replica in sorted(cluster.placed):
            if replica.guest in cluster.guests and cluster.placed[replica] in self.on:
                self.put(replica, cluster.placed[replica])
                if cluster.moving.get(replica) in self.on:
                    self.begin(replica, cluster.moving[replica])

    def put(self, replica: Replica, host: str) -> None:
        """It is there now, and nowhere else."""
        self.take(replica)
        self.at[replica] = host
        self._count(replica, host)

    def begin(self, replica: Replica, host: str) -> None:
        """It is on its way there."""
        if host != self.at[replica]:
            self._moving[replica] = host
            self._count(replica, host)

    def take(self, replica: Replica) -> None:
        """It is nowhere."""
        for host in self.hosts_of(replica):
            guest = self.cluster.guests[replica.guest]
            del self.on[host][replica]
            self._reserved_cpu[host] -= guest.cpu.reservation
            self._reserved_memory[host] -= guest.reserved_memory
        self.at.pop(replica, None)
        self._moving.pop(replica, None)

    def _count(self, replica: Replica, host: str) -> None:
        guest = self.cluster.guests[replica.guest]
        self.on[host][replica] = None
        self._reserved_cpu[host] += guest.cpu.reservation
        self._reserved_memory[host] += guest.reserved_memory

    def hosts_of(self, replica: Replica) -> tuple[str, ...]:
        """Where it counts: nowhere, where it is, or also where it is on its way to."""
        if replica in self._moving:
            return self.at[replica], self._moving[replica]
        return (self.at[replica],) if replica in self.at else ()

    def overreserved(self, host: str) -> tuple[bool, bool]:
        """Whether more CPU, more memory, is reserved than the host has."""
        record, slack = self.cluster.hosts[host], 1 + ROUNDING
        return (
            self._reserved_cpu[host] > record.cpu * slack,
            self._reserved_memory[host] > record.memory * slack,
        )

    def suits(self, replica: Replica, host: str) -> bool:
        """Whether it could run there, if nothing else did."""
        guest, record = self.cluster.guests[replica.guest], self.cluster.hosts[host]
        return not self._lasting_obstacles(guest, record)

    def can(self, replica: Replica, host: str) -> bool:
        """Whether it can run there."""
        return next(self._found(replica, host), None) is None

    def admits(self, replica: Replica, host: str) -> bool:
        """Whether it can move there, while guests that are to be together are not so yet."""
        return not any(not isinstance(rule, Together) for rule, _ in self._found(replica, host))

    def obstacles(self, replica: Replica, host: str) -> tuple[str, ...]:
        """Why it cannot run there; nothing if it can."""
        return tuple(
            f"rule {rule.name} {reason}" if rule else reason
            for rule, reason in self._found(replica, host)
        )

    def ranked(self, replica: Replica) -> list[str]:
        """The hosts on which it can run, the best first: by the rules that should hold and would
        not, and by how even the hosts' loads are then. A failover takes hosts in standby first."""

        def rank(host: str) -> tuple[int, bool, float, str]:
            broken = len(self.disregarded(replica, host))
            spare = self._failover and self.cluster.hosts[host].standby
            return broken, not spare, self._unevenness(replica, host), host

        return sorted((host for host in self.on if self.can(replica, host)), key=rank)

    def disregarded(self, replica: Replica, host: str) -> list[str]:
        """The names of the rules that would not hold if it were there, and need not."""
        rules = self._should.get(replica.guest, ())
        names = [rule.name for rule in rules if (host in rule.hosts) != rule.inside]
        if self._failover:
            names += [rule.name for rule, _ in self._parted(replica, host) if rule]
        return names

    def _unevenness(self, replica: Replica, host: str) -> float:
        """By how much the sum of the squares of all loads grows if it is put there."""
        record, guests = self.cluster.hosts[host], self.cluster.guests
        there = [guests[other.guest] for other in self.on[host] if other != replica]
        guest = guests[replica.guest]
        cpu = cpu_claim(guest).most, sum(cpu_claim(other).most for other in there)
        memory = memory_claim(guest).most, sum(memory_claim(other).most for other in there)
        return sum(
            (own + others) ** 2 / capacity**2 - others**2 / capacity**2
            for (own, others), capacity in ((cpu, record.cpu), (memory, record.memory))
        )

    def _found(self, replica: Replica, host: str) -> Iterator[_Obstacle]:
        record = self.cluster.hosts.get(host)
        if record is None:
            yield None, f"host {host} is not connected"
            return
        guest = self.cluster.guests[replica.guest]
        for reason in self._lasting_obstacles(guest, record):
            yield None, reason
        other = Replica(
            guest.name, Role.SECONDARY if replica.role is Role.PRIMARY else Role.PRIMARY
        )
        if other in self.on[host]:
            yield None, f"host {host} has the guest's {other.role}"
        for reason in self._want_of_room(replica, guest, record):
            yield None, reason
        if not self._failover:
            yield from self._parted(replica, host)

    def _lasting_obstacles(self, guest: Guest, host: Host) -> tuple[str, ...]:
        """Those that do not depend on where others are."""
        must = tuple(self._must.get(guest.name, ()))
        key = (host.name, guest.datastores, guest.networks, guest.cpu_model, guest.kvm, must)
        if key not in self._lasting:
            self._lasting[key] = tuple(self._compare(guest, host, must))
        return self._lasting[key]

    def _compare(self, guest: Guest, host: Host, must: tuple[OnHosts, ...]) -> Iterator[str]:
        if host.maintenance:
            yield f"host {host.name} is in maintenance"
        if host.standby and not self._failover:
            yield f"host {host.name} is kept free for the guests of hosts that fail"
        if host.cpu <= 0 or host.memory <= 0:
            yield f"host {host.name} has no CPU or no memory for guests"
        for name in sorted(guest.datastores - host.datastores):
            yield f"host {host.name} does not have the datastore {name}"
        for name in sorted(guest.networks - host.networks):
            yield f"host {host.name} does not have the network {name}"
        if guest.kvm and guest.cpu_model not in host.kvm:
            yield (
                f"host {host.name} does not offer the engine kvm for the guest's CPU model "
                f"{guest.cpu_model}"
            )
        for limit, whose in (
            (host.cpu_limit, f"host {host.name}"),
            (self.cluster.baseline, "the cluster"),
        ):
            if limit is not None and (lacking := cpumodels.missing(guest.cpu_model, limit)):
                yield (
                    f"the limit {limit} of {whose} does not offer {', '.join(lacking)}, which the "
                    f"guest's CPU model {guest.cpu_model} has"
                )
        for rule in must:
            if (host.name in rule.hosts) != rule.inside:
                yield f"rule {rule.name} keeps the guest off host {host.name}"

    def _want_of_room(self, replica: Replica, guest: Guest, host: Host) -> Iterator[str]:
        mine = replica in self.on[host.name]
        for reserved, capacity, wanted, what in (
            (self._reserved_cpu, host.cpu, guest.cpu.reservation, "MIPS"),
            (self._reserved_memory, host.memory, guest.reserved_memory, "MiB"),
        ):
            free = capacity - reserved[host.name] + (wanted if mine else 0)
            if wanted > 0 and wanted > free + ROUNDING * capacity:
                yield (
                    f"host {host.name} has {max(free, 0):.0f} of {capacity:.0f} {what} that are "
                    f"not reserved, and the guest reserves {wanted:.0f}"
                )

    def _parted(self, replica: Replica, host: str) -> Iterator[_Obstacle]:
        """Rules about guests' places to each other that would not hold."""
        for apart in self._apart.get(replica.guest, ()):
            for name in sorted(apart.guests - {replica.guest}):
                if any(Replica(name, role) in self.on[host] for role in Role):
                    yield apart, f"keeps the guest apart from {name}, which host {host} has"
        if replica.role is Role.PRIMARY:
            for together in self._together.get(replica.guest, ()):
                others = [Replica(name) for name in sorted(together.guests - {replica.guest})]
                hosts = {
                    self._moving.get(other, self.at[other]) for other in others if other in self.at
                }
                if hosts and host not in hosts:
                    names = ", ".join(other.guest for other in others if other in self.at)
                    yield together, f"keeps the guest together with {names}, elsewhere"


def _by_guest(rules: list[Rule]) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        for guest in sorted(rule.guests):
            found.setdefault(guest, []).append(rule)
    return found

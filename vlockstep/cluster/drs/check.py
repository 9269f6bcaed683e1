"""Judges a plan before it is carried out, without knowing how it was made.

It shares nothing with the planner but the cluster's model, and which rules are in force: it counts
everything anew at every step. What was wrong before is no reproach to the plan; what somebody is
moved into is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from vlockstep.cluster.model import (
    Apart,
    Automation,
    Cluster,
    Host,
    OnHosts,
    Replica,
    Rule,
    Together,
)
from vlockstep.cluster.rules import in_force
from vlockstep.machine.cpumodels import missing

EXACT = 1e-9
"""Sums of floating-point numbers are, but for so much."""

Moved = tuple[Replica, str, str]
"""From a host to another one."""


def check_plan(cluster: Cluster, steps: Sequence[Sequence[Moved]], slots: int) -> list[str]:
    """What is wrong with a plan whose steps each are moves made at the same time, at most so many
    for each host; nothing if it may be carried out."""
    return list(_Checker(cluster, slots).wrongs(steps))


class _Checker:
    def __init__(self, cluster: Cluster, slots: int) -> None:
        self.cluster = cluster
        self.slots = slots
        self.at = dict(cluster.placed)
        self.rules: dict[str, list[Rule]] = {}
        for rule in in_force(cluster):
            for guest in rule.guests:
                self.rules.setdefault(guest, []).append(rule)

    def wrongs(self, steps: Sequence[Sequence[Moved]]) -> Iterator[str]:
        before = self.scattered()
        for number, step in enumerate(steps, 1):
            for text in self.check_step(step):
                yield f"step {number}: {text}"
            self.at.update({replica: target for replica, _, target in step})
        for name in sorted(self.scattered() - before):
            yield f"rule {name} does not keep its guests together any more"

    def scattered(self) -> set[str]:
        """The rules whose guests are not together."""
        found = {rule for rules in self.rules.values() for rule in rules}
        return {
            rule.name
            for rule in found
            if isinstance(rule, Together)
            and len({self.at[Replica(g)] for g in rule.guests if Replica(g) in self.at}) > 1
        }

    def check_step(self, step: Sequence[Moved]) -> Iterator[str]:
        moving = self.cluster.moving
        present: dict[str, set[Replica]] = {}
        for replica, host in [*self.at.items(), *moving.items()]:
            present.setdefault(host, set()).add(replica)
        busy = Counter(host for r, target in moving.items() for host in (self.at[r], target))
        seen = set(moving)
        for replica, source, target in step:
            if self.at.get(replica) != source or source == target:
                yield f"{replica.guest} does not move from host {source} to host {target}"
            if replica in seen:
                yield f"{replica.guest} is moving already"
            guest = self.cluster.guests[replica.guest]
            if (guest.automation or self.cluster.automation) is Automation.DISABLED:
                yield f"{replica.guest} is not to be moved"
            seen.add(replica)
            busy.update((source, target))
            present.setdefault(target, set()).add(replica)
        for host in sorted(busy):
            if busy[host] > self.slots:
                yield f"{busy[host]} moves from and to host {host} at the same time"
        for replica, _, target in step:
            if target in self.cluster.hosts:
                yield from self.check_host(replica, self.cluster.hosts[target])
                yield from self.check_company(replica, target, present[target])
            else:
                yield f"there is no host {target}"
        for target in sorted({target for _, _, target in step} & self.cluster.hosts.keys()):
            yield from self.check_room(
                target, present[target], [r for r, _, t in step if t == target]
            )

    def check_host(self, replica: Replica, host: Host) -> Iterator[str]:
        """What the host itself is and has."""
        guest = self.cluster.guests[replica.guest]
        limits = [limit for limit in (host.cpu_limit, self.cluster.baseline) if limit is not None]
        if host.maintenance or host.standby:
            yield f"host {host.name} takes no guests"
        if not guest.datastores <= host.datastores or not guest.networks <= host.networks:
            yield f"host {host.name} has not all datastores and networks of {guest.name}"
        if guest.kvm and guest.cpu_model not in host.kvm:
            yield f"host {host.name} does not offer the engine of {guest.name}"
        if any(missing(guest.cpu_model, limit) for limit in limits):
            yield f"host {host.name} does not offer the CPU of {guest.name}"
        for rule in self.rules.get(guest.name, ()):
            if isinstance(rule, OnHosts) and rule.mandatory:
                if rule.inside and host.name not in rule.hosts:
                    yield f"rule {rule.name} keeps {guest.name} on other hosts than {host.name}"
                if not rule.inside and host.name in rule.hosts:
                    yield f"rule {rule.name} keeps {guest.name} off host {host.name}"

    def check_company(
        self, replica: Replica, host: str, present: Iterable[Replica]
    ) -> Iterator[str]:
        """Whom it has to share the host with."""
        others = {other.guest for other in present if other != replica}
        if replica.guest in others:
            yield f"both replicas of {replica.guest} are on host {host}"
        for rule in self.rules.get(replica.guest, ()):
            if isinstance(rule, Apart):
                for other in sorted(rule.guests & others - {replica.guest}):
                    yield f"rule {rule.name}: {replica.guest} and {other} are on host {host}"

    def check_room(
        self, host: str, present: Iterable[Replica], coming: Iterable[Replica]
    ) -> Iterator[str]:
        """Who reserves nothing may come to a host on which too much is reserved."""
        record = self.cluster.hosts[host]
        there = [self.cluster.guests[replica.guest] for replica in present]
        come = [self.cluster.guests[replica.guest] for replica in coming]
        cpu = math.fsum(guest.cpu.reservation for guest in there)
        memory = math.fsum(guest.reserved_memory for guest in there)
        if cpu > record.cpu * (1 + EXACT) and any(guest.cpu.reservation for guest in come):
            yield f"host {host} has {record.cpu} MIPS, and {cpu} are reserved"
        if memory > record.memory * (1 + EXACT) and any(guest.reserved_memory for guest in come):
            yield f"host {host} has {record.memory} MiB, and {memory} are reserved"

"""How loaded hosts are, and how evenly: N of a host is what its guests are entitled to, by its
capacity; the imbalance is the standard deviation of N over all hosts.

Entitlements are those in the cluster as a whole, as if it were one host with all capacity: so a
host whose guests want more than it has is seen to be short, with N above 1. CPU and memory have a
standard deviation each; the imbalance is the root of their squares' mean, in which each weighs as
much as it is in use: an uneven use of what everybody has plenty of matters little.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vlockstep.cluster.entitlement import cpu_claim, divide, memory_claim
from vlockstep.cluster.model import Guest, Host, Replica
from vlockstep.cluster.placement import Placement


class Pair(NamedTuple):
    """Of CPU and of memory."""

    cpu: float
    memory: float


def takes_part(host: Host) -> bool:
    """Whether it is among the hosts whose loads are to be even."""
    return not host.maintenance and not host.standby and host.cpu > 0 and host.memory > 0


class Effect(NamedTuple):
    """Moving x MIPS and y MiB from one host to another changes the sum over all hosts of the
    weighted squared deviations by x (a + b x) + y (c + d y)."""

    a: float
    b: float
    c: float
    d: float

    def of(self, load: Pair) -> float:
        x, y = load
        return x * (self.a + self.b * x) + y * (self.c + self.d * y)


class Loads:
    """Of the hosts that take part, with what each of a placement's replicas is entitled to."""

    def __init__(self, placement: Placement, guests: Mapping[str, Guest]) -> None:
        """`guests` have the demands that count; one that is moving counts where it goes."""
        known = placement.cluster.hosts
        self.hosts = {name: known[name] for name in sorted(known) if takes_part(known[name])}
        replicas = sorted(placement.at)
        cpus = {replica: cpu_claim(guests[replica.guest]) for replica in replicas}
        memories = {replica: memory_claim(guests[replica.guest]) for replica in replicas}
        capacity = Pair(
            sum(host.cpu for host in self.hosts.values()),
            sum(host.memory for host in self.hosts.values()),
        )
        cpu, memory = divide(cpus, capacity.cpu), divide(memories, capacity.memory)
        self.entitled = {replica: Pair(cpu[replica], memory[replica]) for replica in replicas}
        self.weights = _weights(self.total(replicas), capacity)
        self._capacity_cpu = {name: host.cpu for name, host in self.hosts.items()}
        self._capacity_memory = {name: host.memory for name, host in self.hosts.items()}
        self.cpu = dict.fromkeys(self.hosts, 0.0)
        self.memory = dict.fromkeys(self.hosts, 0.0)
        self._sum_cpu = self._sum_memory = 0.0
        for replica in replicas:
            self._add(placement.hosts_of(replica)[-1], self.entitled[replica], 1)

    def total(self, replicas: Iterable[Replica]) -> Pair:
        """What they are entitled to together."""
        found = [self.entitled[replica] for replica in replicas]
        return Pair(sum(pair.cpu for pair in found), sum(pair.memory for pair in found))

    def move(self, entitled: Pair, source: str, target: str) -> None:
        """So much of the load."""
        self._add(source, entitled, -1)
        self._add(target, entitled, 1)

    def _add(self, host: str, entitled: Pair, sign: int) -> None:
        if host in self.hosts:
            cpu = sign * entitled.cpu / self.hosts[host].cpu
            memory = sign * entitled.memory / self.hosts[host].memory
            self.cpu[host] += cpu
            self.memory[host] += memory
            self._sum_cpu += cpu
            self._sum_memory += memory

    def effect(self, source: str, target: str) -> Effect:
        """Of moving load from one host to the other."""
        cpu = _effect(self.cpu, self._sum_cpu, self._capacity_cpu, source, target)
        memory = _effect(self.memory, self._sum_memory, self._capacity_memory, source, target)
        weights = self.weights
        return Effect(
            weights.cpu * cpu[0], weights.cpu * cpu[1],
            weights.memory * memory[0], weights.memory * memory[1],
        )  # fmt: skip

    def weighted(self, host: str) -> float:
        """CPU and memory in one figure."""
        return self.weights.cpu * self.cpu[host] + self.weights.memory * self.memory[host]

    @property
    def deviations(self) -> Pair:
        """The standard deviations of N, over all hosts that take part."""
        return Pair(_deviation(self.cpu.values()), _deviation(self.memory.values()))

    @property
    def imbalance(self) -> float:
        cpu, memory = self.deviations
        return math.sqrt(self.weights.cpu * cpu**2 + self.weights.memory * memory**2)

    def spread(self, hosts: Iterable[str]) -> float:
        """How far apart the loads of these hosts are; of two hosts it is their difference."""
        involved = [host for host in hosts if host in self.hosts]
        cpu = _deviation([self.cpu[host] for host in involved])
        memory = _deviation([self.memory[host] for host in involved])
        squares = self.weights.cpu * cpu**2 + self.weights.memory * memory**2
        return math.sqrt(2 * len(involved) * squares)


def _effect(
    loads: Mapping[str, float],
    total: float,
    capacity: Mapping[str, float],
    source: str,
    target: str,
) -> tuple[float, float]:
    """The linear and the quadratic factor for one resource, `total` being the sum of its loads."""
    count = len(loads)
    inverse = 1 / capacity[target]
    linear, squares, shift = loads[target] * inverse, inverse * inverse, inverse
    if source in loads:
        inverse = 1 / capacity[source]
        linear -= loads[source] * inverse
        squares += inverse * inverse
        shift -= inverse
    return 2 * (linear - total * shift / count), squares - shift * shift / count


def _weights(used: Pair, capacity: Pair) -> Pair:
    cpu = used.cpu / capacity.cpu if capacity.cpu else 0
    memory = used.memory / capacity.memory if capacity.memory else 0
    if not cpu + memory:
        return Pair(0.5, 0.5)
    return Pair(cpu / (cpu + memory), memory / (cpu + memory))


def _deviation(values: Iterable[float]) -> float:
    """Of a population. Without rounding on the way: the order does not matter."""
    found = list(values)
    if not found:
        return 0
    mean = math.fsum(found) / len(found)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in found) / len(found))

"""Room that is kept free for the guests of hosts that fail.

Whoever starts a guest, moves one into the cluster or raises a reservation asks `refusal` first; a
restart after a failure does not ask. CPU is in MIPS, memory in MiB, as in the model. A guest
requires what it reserves, of CPU 32 MIPS at the least, of memory with its overhead; one that is
protected requires it twice. Hosts in maintenance do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple

from vlockstep.cluster.model import Cluster, Guest, Host
from vlockstep.errors import UsageError

LEAST_CPU = 32.0
"""What a guest is taken to require that reserves no CPU."""


class Required(NamedTuple):
    """Of a replica, or of all."""

    cpu: float
    memory: float


@dataclass(frozen=True)
class Slots:
    """The cluster tolerates the failure of so many hosts. A slot is large enough for any replica
    that runs, unless `cpu` or `memory` limit it: then a replica takes as many as it needs. Enough
    of them must be left without the hosts that have most."""

    failures: int = 1
    cpu: float | None = None
    memory: float | None = None

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise UsageError("a cluster can tolerate the failure of 1 host or more, not of fewer")
        for limit, what in ((self.cpu, "CPU"), (self.memory, "memory")):
            if limit is not None and limit <= 0:
                raise UsageError(f"a slot's {what} must be more than {limit:g}")

    def slot(self, required: list[Required]) -> Required:
        """The size of one."""
        cpu = max((r.cpu for r in required), default=LEAST_CPU)
        memory = max((r.memory for r in required), default=0.0)
        return Required(min(cpu, self.cpu or cpu), min(memory, self.memory or memory))

    def available(self, cluster: Cluster, required: list[Required]) -> list[int]:
        """How many each host has, the most first."""
        slot = self.slot(required)
        return sorted((_slots(host, slot) for host in _active(cluster)), reverse=True)

    def needed(self, required: list[Required]) -> int:
        """How many are taken."""
        slot = self.slot(required)
        return sum(
            max(1, ceil(r.cpu / slot.cpu), ceil(r.memory / slot.memory) if slot.memory else 0)
            for r in required
        )

    def capacity(self, cluster: Cluster) -> int:
        """How many hosts may fail, the largest first, and all that runs still has slots."""
        required = list(_running(cluster))
        slots, needed = self.available(cluster, required), self.needed(required)
        return sum(sum(slots[failed:]) >= needed for failed in range(1, len(slots) + 1))

    def objection(self, cluster: Cluster, guest: Guest, host: str | None) -> str:
        required = [*_running(cluster, but=guest.name), *_of(guest)]
        slot, needed = self.slot(required), self.needed(required)
        left = sum(self.available(cluster, required)[self.failures :])
        if needed <= left:
            return ""
        return (
            f"{needed} slots of {slot.cpu:.0f} MIPS and {slot.memory:.0f} MiB would be needed, and "
            f"{left} are left if {_largest(self.failures)}; end other guests, reserve less, or "
            f"tolerate fewer failures"
        )


@dataclass(frozen=True)
class Percentage:
    """So much of all CPU, and of all memory, is reserved by no guest."""

    cpu: float = 25
    memory: float = 25

    def __post_init__(self) -> None:
        for percentage, what in ((self.cpu, "CPU"), (self.memory, "memory")):
            if not 0 <= percentage <= 100:
                raise UsageError(f"{percentage:g} % of the {what} cannot be kept free: give 0..100")

    def free(self, cluster: Cluster) -> Required:
        """How much is, in percent; below 0 if more is required than there is."""
        return _free(cluster, list(_running(cluster)))

    def objection(self, cluster: Cluster, guest: Guest, host: str | None) -> str:
        if len(_active(cluster)) < 2:
            return "fewer than 2 hosts are in use, and no other could take over; add one"
        free = _free(cluster, [*_running(cluster, but=guest.name), *_of(guest)])
        for percentage, keep, what in (
            (free.cpu, self.cpu, "CPU"),
            (free.memory, self.memory, "memory"),
        ):
            if percentage < keep:
                return (
                    f"{max(percentage, 0):.1f} % of the cluster's {what} would be free, and "
                    f"{keep:g} % are kept for failures; end other guests or reserve less"
                )
        return ""


@dataclass(frozen=True)
class FailoverHosts:
    """The hosts in standby are kept for failures, and take nothing else."""

    def objection(self, cluster: Cluster, guest: Guest, host: str | None) -> str:
        if host is None or not cluster.hosts[host].standby:
            return ""
        return f"{host} is kept free for the guests of hosts that fail; choose another host"


Policy = Slots | Percentage | FailoverHosts


def refusal(policy: Policy | None, cluster: Cluster, guest: Guest, host: str | None = None) -> str:
    """Why `guest`, with the reservations that it is to have, may not run, on that `host` if one is
    meant, beside all others that do; "" if it may, as anything may without a policy."""
    objection = policy.objection(cluster, guest, host) if policy else ""
    return f"{guest.name} is not admitted: {objection}" if objection else ""


def _of(guest: Guest) -> list[Required]:
    one = Required(max(LEAST_CPU, guest.cpu.reservation), guest.reserved_memory)
    return [one] * (2 if guest.ft else 1)


def _running(cluster: Cluster, but: str = "") -> Iterator[Required]:
    """Of each guest that runs somewhere."""
    for name in sorted({replica.guest for replica in cluster.placed} & cluster.guests.keys()):
        if name != but:
            yield from _of(cluster.guests[name])


def _active(cluster: Cluster) -> list[Host]:
    return [host for host in cluster.hosts.values() if not host.maintenance]


def _free(cluster: Cluster, required: list[Required]) -> Required:
    hosts = _active(cluster)
    cpu, memory = sum(host.cpu for host in hosts), sum(host.memory for host in hosts)
    return Required(
        _percentage(cpu - sum(r.cpu for r in required), cpu),
        _percentage(memory - sum(r.memory for r in required), memory),
    )


def _percentage(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0


def _slots(host: Host, slot: Required) -> int:
    """Guests may require no memory at all; CPU they always do."""
    by_cpu = floor(host.cpu / slot.cpu)
    return min(by_cpu, floor(host.memory / slot.memory)) if slot.memory else by_cpu


def _largest(failures: int) -> str:
    return "the largest host fails" if failures == 1 else f"the {failures} largest hosts fail"

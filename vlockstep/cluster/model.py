"""The cluster as decisions see it: hosts, guests, where their replicas are, and rules.

CPU is in MIPS, memory in MiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple


class Priority(IntEnum):
    """Who is restarted first after its host has failed; `DISABLED` never is."""

    DISABLED = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3


class Automation(StrEnum):
    """What is done by itself: nothing; the placement of a guest that starts; moves, too. Under
    `DISABLED`, of one guest, it starts where it is registered and is never moved."""

    MANUAL = "manual"
    PARTIAL = "partial"
    FULL = "full"
    DISABLED = "disabled"


class Role(StrEnum):
    PRIMARY = "primary"
    SECONDARY = "secondary"


class Replica(NamedTuple):
    """One of a guest's machines. A guest that is not protected has a primary alone."""

    guest: str
    role: Role = Role.PRIMARY


@dataclass(frozen=True)
class Allocation:
    """Of CPU or of memory: how much a guest gets compared with others, at least, and at most (None:
    as much as it can use)."""

    shares: int = 1000
    reservation: float = 0
    limit: float | None = None


@dataclass(frozen=True)
class Host:
    """`cpu` and `memory` are what its guests can use. `cpu_limit` is the CPU model that bounds
    those of its guests, None if nothing does."""

    name: str
    cpu: float
    memory: float
    datastores: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    cpu_limit: str | None = None
    maintenance: bool = False
    """It takes no guest, and is to have none."""
    standby: bool = False
    """It is kept free for the guests of hosts that fail."""
    kvm: frozenset[str] = frozenset()
    """CPU models of which guests can run on its processor itself."""


@dataclass(frozen=True)
class Guest:
    """`memory` is its RAM, `overhead` what its process needs beside. `demand` is the CPU that it
    would use if it could, `active` the memory that it touches, `dirty` what it writes a second in
    MiB. `datastores` and `networks` are those that a host needs to run it."""

    name: str
    memory: float
    cpu_model: str = "westmere"
    datastores: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    cpu: Allocation = Allocation()
    ram: Allocation = Allocation()
    overhead: float = 64
    kvm: bool = False
    """It is to run on the processor itself."""
    ft: bool = False
    """It is to have a secondary."""
    priority: Priority = Priority.MEDIUM
    automation: Automation | None = None
    """None: as the cluster has it."""
    demand: float = 0
    active: float = 0
    dirty: float = 0

    @property
    def reserved_memory(self) -> float:
        """What a host must have for one of its replicas."""
        return self.ram.reservation + self.overhead


@dataclass(frozen=True)
class Apart:
    """Anti-affinity: no two replicas of these guests on one host."""

    name: str
    guests: frozenset[str]
    enabled: bool = True


@dataclass(frozen=True)
class Together:
    """Affinity: the primaries of these guests on one host."""

    name: str
    guests: frozenset[str]
    enabled: bool = True


@dataclass(frozen=True)
class OnHosts:
    """Both replicas of these guests on these hosts, or, if it is not `inside`, on none of them. A
    rule that is not `mandatory` should hold."""

    name: str
    guests: frozenset[str]
    hosts: frozenset[str]
    inside: bool = True
    mandatory: bool = True
    enabled: bool = True


Rule = Apart | Together | OnHosts


@dataclass(frozen=True)
class Cluster:
    """All of it at a time. `placed` are the replicas that run, and those that are being started;
    rules are in the order in which they were made. Hosts that are not connected are left out."""

    hosts: Mapping[str, Host]
    guests: Mapping[str, Guest]
    placed: Mapping[Replica, str]
    rules: tuple[Rule, ...] = ()
    automation: Automation = Automation.PARTIAL
    baseline: str | None = None
    """The CPU model that bounds those of all guests."""
    moving: Mapping[Replica, str] = field(default_factory=dict)
    """Where replicas are on their way to; they count on both hosts."""

"""What DRS says: which replicas should move where, why, how urgently, and what is in the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from vlockstep.cluster.model import Replica
from vlockstep.errors import UsageError

MANDATORY = 1
"""The priority of what must be done whatever the threshold is."""


class Reason(StrEnum):
    """By vSphere's names."""

    MAINTENANCE = "hostMaint"
    TOGETHER = "jointAffin"
    APART = "antiAffin"
    MUST_ON_HOSTS = "vmHostHardAffinity"
    SHOULD_ON_HOSTS = "vmHostSoftAffinity"
    PAIR = "ftConstraints"
    RESERVED_CPU = "reservationCpu"
    RESERVED_MEMORY = "reservationMem"
    ROOM = "unreservedCapacity"
    """Another recommendation needs the room."""
    POWER_ON = "powerOnVm"
    UNEVEN_CPU = "fairnessCpuAvg"
    UNEVEN_MEMORY = "fairnessMemAvg"


class Move(NamedTuple):
    """From a host to another one."""

    replica: Replica
    source: str
    target: str


@dataclass(frozen=True)
class Recommendation:
    """`priority` is 1, mandatory, to 5. `gain` is by how much the loads of the hosts concerned come
    closer, `cost` what the moves themselves load these hosts with, averaged over the horizon,
    `risk` what of the gain is lost when guests are as busy again as they were lately; all three in
    parts of a host. `prerequisites` are the keys of those that must be carried out before.
    `automatic` is one that needs nobody's consent."""

    key: int
    reason: Reason
    text: str
    priority: int
    moves: tuple[Move, ...]
    gain: float = 0
    cost: float = 0
    risk: float = 0
    prerequisites: tuple[int, ...] = ()
    automatic: bool = False

    @property
    def rating(self) -> int:
        """1 to 5, the most urgent."""
        return 6 - self.priority


@dataclass(frozen=True)
class Fault:
    """Something mandatory that cannot be done: what, and by host why not."""

    replica: Replica
    reason: Reason
    text: str
    obstacles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Advice:
    """Recommendations in the order in which they were found, each after its prerequisites. The
    cluster's imbalance as it is, and as it is when all of them have been carried out."""

    recommendations: tuple[Recommendation, ...]
    faults: tuple[Fault, ...]
    before: float
    after: float
    relaxed: bool = False
    """Rules that should hold have given way: with them a host would be full, or more would fail."""

    @property
    def moves(self) -> list[Move]:
        """All of them."""
        return [move for found in self.recommendations for move in found.moves]


@dataclass(frozen=True)
class Settings:
    """`threshold` k, 1 to 5, is for recommendations of priority 1 to k; with 1 nothing is balanced.
    `hold` is for how many seconds a load must last before it counts. `goodness` is the gain below
    which nothing moves, `move_limit` how many replicas may come to or leave a host for balance at a
    time. A move copies `bandwidth` MiB a second and takes `move_cpu` MIPS on either host; loads are
    expected to stay as they are for the `horizon`, in seconds.

    An `exhaustive` balance is as even as it can be found, whatever it takes: it knows no threshold,
    cost, risk or limit of moves.
    """

    threshold: int = 3
    hold: float = 60
    goodness: float = 0.01
    move_limit: int = 8
    bandwidth: float = 300
    move_cpu: float = 500
    horizon: float = 300
    exhaustive: bool = False

    def __post_init__(self) -> None:
        if self.threshold not in range(1, 6):
            raise UsageError(
                f"the threshold is 1 (balance nothing) to 5 (whatever gains), not {self.threshold}",
                key=("threshold",),
            )
        for name in ("hold", "goodness", "move_limit", "move_cpu"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} is to be at least 0", key=(name,))
        for name in ("bandwidth", "horizon"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is to be more than 0", key=(name,))

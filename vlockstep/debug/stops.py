"""Where somebody wants to be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from vlockstep.machine.registers import Registers


class Access(Enum):
    """Of memory, by the guest."""

    WRITE = 2
    READ = 3
    EITHER = 4


Read = Callable[[int, int], bytes]
Condition = Callable[[Callable[[], Registers], Read], bool]
"""Of registers and memory at the place, whether to stop there."""


@dataclass(frozen=True)
class Breakpoint:
    """Before the instruction at a virtual address."""

    address: int
    condition: Condition | None = None


@dataclass(frozen=True)
class Watchpoint:
    """At an access to `length` bytes at a virtual address. Who else than the guest's instructions
    writes there, such as a device, counts if it writes other bytes than were there."""

    address: int
    length: int
    access: Access = Access.WRITE

    def hits(self, address: int, size: int) -> bool:
        return address < self.address + self.length and self.address < address + size


@dataclass(frozen=True)
class Outside:
    """Before an instruction that is not at `start`, nor at an address from there up to `end`."""

    start: int
    end: int


Stop = Breakpoint | Watchpoint | Outside


class Why(Enum):
    """Why a run ended."""

    GOAL = "goal"
    STOP = "stop"
    BEGIN = "begin"
    END = "end"
    INTERRUPTED = "interrupted"

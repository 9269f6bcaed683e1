"""The gate. Every input a guest cannot compute, and every output, crosses a `World`.

The machine calls these methods and nothing else of the outside. `at` is the number of exits that
were complete before the call. A method may block: it runs inside the guest's exit. It may raise
`WorldChanged` or `NoAnswer`; any other exception ends the execution and comes out of `Machine.run`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers

ABORT_STATUS = 255


@dataclass(frozen=True)
class Outcome:
    """How a guest ended: by a halt with a `status`, or by a guest error with a `reason`.

    `trap` is the cookie of the halt: up to 512 bytes with which a guest describes a trap. Not
    `exact` are registers and memory of the midst of a block, which depend on how that was
    translated.
    """

    status: int
    reason: str
    position: Position
    registers: Registers
    memory_digest: bytes
    trap: bytes = b""
    exact: bool = True

    @property
    def aborted(self) -> bool:
        """It ended itself as Solo5 guests do after a trap or a failed assertion."""
        return self.status == ABORT_STATUS


class Cause(Enum):
    """Why `Machine.run` returned before the guest's end."""

    REQUEST = auto()
    """`Machine.stop` was called."""
    NO_ANSWER = auto()
    """The world had no answer."""


@dataclass(frozen=True)
class Stop:
    """Where the guest stands, and why. It can go on from there."""

    position: Position
    cause: Cause


class WorldChanged(Exception):
    """Raised by a call that was waiting when the machine's world was replaced: ask the new one."""


class NoAnswer(Exception):
    """Raised by a call of a world that has no answer, such as one whose log ends: `Machine.run`
    returns, and asks the world with which it is called again."""


class World(Protocol):
    # Inputs

    def cycles(self, at: int) -> int:
        """The time-stamp counter, in cycles of `CYCLE_FREQUENCY`; never goes back."""

    def walltime(self, at: int) -> int:
        """Nanoseconds since the epoch."""

    def generation(self, at: int) -> int:
        """Which primary rules: a number that rises with every failover; 0 if unprotected."""

    def random(self, at: int) -> int:
        """64 random bits, for RDRAND and RDSEED."""

    def poll(self, at: int, timeout: int) -> int:
        """Wait up to `timeout` ns for a frame; the set of ready handles, bit = handle."""

    def net_read(self, at: int, handle: int, limit: int) -> bytes | None:
        """One waiting frame of at most `limit` bytes, or None."""

    def block_read(self, at: int, handle: int, offset: int, length: int) -> bytes | None:
        """`length` bytes at `offset`; None if the host could not read them."""

    def stop_at(self, position: Position) -> int | None:
        """At how many blocks since the last exit to stop and ask for an interrupt; None: go on
        as before. Asked only while the guest has a timer."""

    def interrupt(self, position: Position, enabled: bool) -> int | None:
        """The vector to deliver at this block boundary. None if there is none, or if `enabled`
        is false and the interrupt has to wait."""

    def wait_interrupt(self, position: Position) -> int:
        """The guest halted the CPU until an interrupt comes: wait for it."""

    # Outputs

    def console(self, at: int, data: bytes) -> None: ...

    def net_write(self, at: int, handle: int, frame: bytes) -> None: ...

    def block_write(self, at: int, handle: int, offset: int, data: bytes) -> None: ...

    def timer(self, at: int, period: int, vector: int, kick: Callable[[], None]) -> None:
        """Interrupt the guest every `period` ns with `vector`; 0 turns the timer off. `kick` stops
        the guest at its next block boundary, from any thread."""

    def end(self, outcome: Outcome) -> None:
        """The guest has ended."""

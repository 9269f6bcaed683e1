"""What executes a guest's instructions, for the machine: an engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from vlockstep.errors import HostError
from vlockstep.machine.randomness import RandomRead
from vlockstep.machine.registers import Registers
from vlockstep.machine.state import CpuState, PlainState

OK, INVALID_INSTRUCTION = 0, 10
"""What `Engine.run` returns; Unicorn's numbers."""


class Exits(NamedTuple):
    """What the engine calls when the guest leaves it. Each is called inside `Engine.run`."""

    out: Callable[[int, int, int], None]
    """port, width in bytes, value of EAX"""
    into: Callable[[int], None]
    """port"""
    counter: Callable[[bool], None]
    """RDTSC (false) or RDTSCP (true): answer with `Engine.give_counter`"""
    exception: Callable[[int], None]
    """vector"""
    system_call: Callable[[], None]
    boundary: Callable[[], bool]
    """The block counter has reached its target, at the start of a block: whether to stop there"""
    erratum: Callable[[int, bool], None]
    """address of an instruction that Unicorn may get wrong, before it executes; whether its block
    begins with it"""


class Words(Protocol):
    """At `blockcounter.COUNT` and `TARGET`."""

    def __getitem__(self, place: int) -> int: ...

    def __setitem__(self, place: int, value: int) -> None: ...


class Engine(Protocol):
    """One CPU on a `Memory`, from a `BootState` on, with a model of `cpumodels`. Registers are
    named as in `registers`."""

    words: Words

    def close(self) -> None:
        """Free the CPU. Memory may be closed after."""

    def run(self) -> int:
        """Execute from RIP until a stop, a HLT or an error: `OK`, `INVALID_INSTRUCTION`, another
        number for memory that does not exist, or minus the signal by which the engine crashed."""

    @property
    def at_block_boundary(self) -> bool:
        """Whether the last `run` ended because `Exits.boundary` asked for it."""

    @property
    def block(self) -> tuple[int, int]:
        """Address and size of the block before which `Exits.boundary` was asked last; 0 and 0 where
        the engine does not know blocks."""

    @property
    def counting(self) -> bool:
        """Whether it counts blocks. Set only outside `run`; raises `EngineLimit`."""

    @counting.setter
    def counting(self, wanted: bool) -> None: ...

    def kick(self) -> None:
        """Ask `Exits.boundary` soon, if blocks are counted at the next one's start. From any
        thread."""

    def abandon(self) -> None:
        """Stop soon, and never run again."""

    def stop_after_block(self) -> None:
        """Stop soon: behind the exit that is served, at the latest at the end of its block."""

    def leave(self) -> None:
        """Within an exit: let `run` return with the CPU as it is now, RIP at the exit's
        instruction."""

    def watch_block(self, address: int, action: Callable[[int], None]) -> None:
        """Call `action` with `address` when the guest has come to execute an endless loop there."""

    def forget_code(self) -> None:
        """What was looked at of the code may not be what stands in RAM now."""

    def __getitem__(self, register: str) -> int: ...

    def __setitem__(self, register: str, value: int) -> None: ...

    @property
    def long_mode(self) -> bool: ...

    @property
    def in_long_code(self) -> bool:
        """Whether the code at RIP is 64-bit code."""

    def write(self, address: int, content: bytes) -> None:
        """Store what a device gives."""

    def give_counter(self, cycles: int, with_aux: bool) -> None:
        """Put the time-stamp counter, and for RDTSCP also IA32_TSC_AUX, where the guest gets it."""

    def give_random(self, read: RandomRead, value: int) -> None:
        """Put randomness where the guest gets it."""

    def table(self, name: str) -> tuple[int, int]:
        """Base and limit of `idtr`, `gdtr` or `tr`."""

    def registers(self) -> Registers:
        """Within an exit, RIP is at its instruction."""

    def save(self) -> CpuState | PlainState:
        """The CPU's state: within an exit, with RIP at its instruction."""

    def load(self, state: CpuState | PlainState) -> None:
        """Not within an exit. Raises `StateError` if this engine cannot."""

    def take_exception(self) -> tuple[int, bool]:
        """`(error code, raised by an INT instruction)` of the exception in flight, and clear it."""

    def enter_code(self, selector: int, descriptor: int, null_stack: bool) -> None:
        """Load CS with a 64-bit code segment at the privilege level of its selector, for a handler,
        and if asked for a null SS."""

    def in_shadow(self) -> bool:
        """Whether the instruction before RIP was one that delays interrupts by an instruction."""

    def lives_on_its_tlb(self) -> bool:
        """Whether what the guest reaches is what its TLB happens to hold."""


class EngineLimit(HostError):
    """The guest needs what this engine does not have."""

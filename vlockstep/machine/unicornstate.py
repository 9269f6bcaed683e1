"""Registers that Unicorn knows, for other engines: those of a CPU at its reset, and those in a
state that Unicorn has saved."""

from __future__ import annotations

from functools import cache
from typing import Any

from vlockstep.errors import StateError
from vlockstep.machine.boot import BootState, write_gdt
from vlockstep.machine.config import MEMORY_STEP
from vlockstep.machine.engine import Exits
from vlockstep.machine.memory import Memory
from vlockstep.machine.registers import Registers
from vlockstep.machine.state import CpuState, PlainState
from vlockstep.machine.unicornengine import UnicornEngine


@cache
def at_reset(model: str) -> Registers:
    """Of a CPU that begins a guest, but for what `BootState` has."""
    return _registers(model, None)


def plain(state: CpuState, model: str) -> PlainState:
    """Raises `StateError` if registers do not tell all of it."""
    return PlainState(_registers(model, state))


def _registers(model: str, state: CpuState | None) -> Registers:
    memory = Memory(MEMORY_STEP)
    write_gdt(memory)
    start = BootState(0, 0, 0, 0, writable_code=False)
    engine = UnicornEngine(memory, model, start, _NO_EXITS)
    try:
        if state is not None:
            engine.load(state)
            if not engine.in_long_code:
                raise StateError("the guest runs 32-bit code: go on with the engine unicorn")
        return engine.registers()
    finally:
        engine.close()
        memory.close()


def _never(*_arguments: object) -> Any:
    raise AssertionError("this CPU executes nothing")


_NO_EXITS = Exits(_never, _never, _never, _never, _never, _never, _never)

"""Plain registers, from which any engine can go on, put into a CPU of Unicorn's."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from vlockstep.machine.registers import MSRS, TABLES, WIDE, WORDS, Registers
from vlockstep.machine.unicorncpu import Msr, Table, register_number

if TYPE_CHECKING:
    from vlockstep.machine.unicornengine import UnicornEngine

_SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")
"""In the order of a saved context."""
_FIRST = ("cr3", "cr4", "efer", "cr0", "fpsw")
"""What others depend on."""


def load_plain(engine: UnicornEngine, registers: Registers) -> None:
    """Make the CPU, as it was booted, one with these registers."""
    before = engine.registers()
    changed = {n: v for n, v in registers.items() if v != before[n] and n not in _SEGMENTS}
    for name in TABLES:
        if any(part in changed for part in (name, f"{name}_base", f"{name}_limit")):
            table = Table(
                registers.get(name, 0), registers[f"{name}_base"], registers[f"{name}_limit"], 0
            )
            uclib.uc_reg_write(engine.handle, register_number(name), ctypes.byref(table))
    for name in sorted(changed, key=lambda n: _FIRST.index(n) if n in _FIRST else len(_FIRST)):
        if name in MSRS:
            msr = Msr(MSRS[name], changed[name])
            uclib.uc_reg_write(engine.handle, x86.UC_X86_REG_MSR, ctypes.byref(msr))
        elif name in WORDS or name in WIDE:
            engine[name] = changed[name]
    engine.load_segments({name: registers[name] for name in _SEGMENTS})
    engine["rflags"], engine["rip"] = registers["rflags"], registers["rip"]

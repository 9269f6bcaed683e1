"""Pure computation: vlockstep's machine and plain Unicorn run the same image.

Plain Unicorn has the image in one flat mapping and hooks OUT, as the samples of its bindings do.
vlockstep is faster because its guests have page tables that mark data as not executable, which
spares Unicorn its slow path for stores; it also counts no blocks while the guest has no timer.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_MODE_64, Uc
from unicorn.x86_const import (
    UC_X86_INS_OUT,
    UC_X86_REG_RDI,
    UC_X86_REG_RIP,
    UC_X86_REG_RSP,
)

from benchmarks.contest import Claim, Contestant, Report, interleave, ratio
from benchmarks.guests import SampleGuest, timed
from vlockstep.machine.boot import boot
from vlockstep.machine.hypercalls import PORT_BASE
from vlockstep.machine.memory import Memory

TARGET = 1.7
_PUTS, _HALT = PORT_BASE + 2, PORT_BASE + 8
_PLAIN, _OURS = "plain Unicorn, flat memory", "vlockstep, unprotected"


def measure(directory: Path, rounds: int) -> Report:
    guest = SampleGuest(directory / "sort", "sort")
    figures = interleave(
        [Contestant(_PLAIN, lambda: plain_unicorn(guest)), Contestant(_OURS, guest.live)], rounds
    )
    return Report(
        "sort: a million numbers, three times",
        "s",
        figures,
        [Claim(f"{_PLAIN} / {_OURS}", ratio(figures, _PLAIN, _OURS), TARGET)],
    )


def plain_unicorn(guest: SampleGuest) -> float:
    """Seconds from boot to halt. `RuntimeError` if it prints other text than the last run did
    under vlockstep."""
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(0, guest.config.memory)
    memory = Memory(guest.config.memory)
    start = boot(guest.image, guest.config, memory)
    for address, content in memory.chunks():
        engine.mem_write(address, content)
    memory.close()
    engine.reg_write(UC_X86_REG_RSP, start.rsp)
    engine.reg_write(UC_X86_REG_RDI, start.rdi)
    text = bytearray()

    def on_out(engine: Uc, port: int, _width: int, value: int, _data: Any) -> None:
        if port == _PUTS:
            text.extend(engine.mem_read(*struct.unpack("<QQ", engine.mem_read(value, 16))))
        elif port == _HALT:
            engine.emu_stop()

    engine.hook_add(UC_HOOK_INSN, on_out, None, 1, 0, UC_X86_INS_OUT)
    seconds = timed(lambda: engine.emu_start(start.rip, 0))
    if guest.console.exists() and text != guest.console.read_bytes():
        where = engine.reg_read(UC_X86_REG_RIP)
        raise RuntimeError(f"plain Unicorn printed {bytes(text)!r} and stopped at {where:#x}")
    return seconds

"""A Solo5 guest under plain Unicorn: `python -m benchmarks.plain [--slice N] IMAGE [-- ARGUMENTS]`

The guest's image lies in one flat mapping and OUT is hooked, as in the samples of Unicorn's
bindings: no page tables, no World, no positions. With `--slice` the engine counts instructions and
stops every N of them, as a lockstep would do that has no other way to tell where a guest is.
"""

from __future__ import annotations

import argparse
import struct
import sys
from typing import Any

from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_MODE_64, Uc
from unicorn.x86_const import (
    UC_X86_INS_OUT,
    UC_X86_REG_RDI,
    UC_X86_REG_RIP,
    UC_X86_REG_RSP,
)

from vlockstep import GuestConfig, open_image
from vlockstep.machine.boot import boot
from vlockstep.machine.hypercalls import PORT_BASE
from vlockstep.machine.memory import Memory

_PUTS, _HALT = PORT_BASE + 2, PORT_BASE + 8


def run(image_name: str, arguments: tuple[str, ...], instructions: int) -> int:
    """The guest's status. Stops every so many `instructions`, never if 0."""
    image = open_image(image_name)
    config = GuestConfig(image.digest, arguments=arguments)
    memory = Memory(config.memory)
    start = boot(image, config, memory)
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(0, config.memory)
    for address, content in memory.chunks():
        engine.mem_write(address, content)
    memory.close()
    engine.reg_write(UC_X86_REG_RSP, start.rsp)
    engine.reg_write(UC_X86_REG_RDI, start.rdi)
    statuses: list[int] = []

    def on_out(engine: Uc, port: int, _width: int, value: int, _data: Any) -> None:
        if port == _PUTS:
            text = engine.mem_read(*struct.unpack("<QQ", engine.mem_read(value, 16)))
            sys.stdout.write(text.decode())
        elif port == _HALT:
            statuses.extend(struct.unpack("<8xi", engine.mem_read(value, 12)))
            engine.emu_stop()

    engine.hook_add(UC_HOOK_INSN, on_out, None, 1, 0, UC_X86_INS_OUT)
    while not statuses:
        engine.emu_start(engine.reg_read(UC_X86_REG_RIP) or start.rip, 0, count=instructions)
    return statuses[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain", description=__doc__)
    parser.add_argument("image")
    parser.add_argument("--slice", type=int, default=0, metavar="N")
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    sys.exit(run(options.image, tuple(options.arguments), options.slice))


if __name__ == "__main__":
    main()

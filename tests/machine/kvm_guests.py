"""What tests of the engine on KVM share: guests that run on either
engine, and their courses."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from support import MIB, BlockConfig, Console, MemoryDisk, config_for, make_image, net_config

from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine import sitefinder
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import DeviceKind, Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Outcome, Stop, World

ENGINES = ("unicorn", "kvm")
DISK = 2 * MIB

Change = Callable[[Machine], None]


class Course(NamedTuple):
    """How a guest ended, or where it was stopped, and in which state."""

    end: Outcome | Stop
    registers: Registers
    memory: bytes
    text: str


def prepared(image: Image, *arguments: str, **more: object) -> GuestConfig:
    """The configuration for either engine, with all devices that the image declares."""
    names = {kind: [d.name for d in image.devices if d.kind is kind] for kind in DeviceKind}
    given = {
        "blocks": {name: BlockConfig(DISK) for name in names[DeviceKind.BLOCK]},
        "nets": net_config(*names[DeviceKind.NET]),
        "memory": 32 * MIB,
        "sites": sitefinder.find(image, str(more.get("cpu", "westmere"))),
    }
    return config_for(image, *arguments, **given | more)  # type: ignore[arg-type]


def simulated(image: Image, console: Console, seed: int = 3) -> World:
    return SimulatedWorld(seed, console, {d.handle: MemoryDisk(DISK) for d in image.devices})


def course_of(
    image: Image, config: GuestConfig, engine: str, stop_at: int | None = None, seed: int = 3
) -> Course:
    """In a simulated world, up to so many exits."""
    console = Console()
    with closing(Machine(image, config, engine=engine)) as machine:
        if stop_at is not None:
            machine.break_at(Position(stop_at), machine.stop)
        end = end_of(machine, simulated(image, console, seed))
        return course_at(end, machine, console.text)


def course_at(end: Outcome | Stop, machine: Machine, text: str) -> Course:
    if isinstance(end, Outcome):
        return Course(end, end.registers, end.memory_digest, text)
    return Course(end, machine.registers(), machine.memory.digest(), text)


def end_of(machine: Machine, world: World) -> Outcome | Stop:
    try:
        return machine.run(world)
    except GuestError as error:
        return error.outcome


def loop(body: bytes, times: int) -> bytes:
    """`body` that many times; it leaves RCX alone."""
    jump = 0x100000000 - (len(body) + 3 + 6)
    return (
        b"\xb9" + struct.pack("<I", times) + body + b"\x48\xff\xc9" + b"\x0f\x85"
        + struct.pack("<I", jump)
    )  # fmt: skip


def scrambled(
    seed: int, body: bytes, after: bytes, before: bytes, tables: Mapping[int, bytes]
) -> Image:
    """A guest that loads general registers, SSE and x87 with numbers of `seed` behind `before`."""
    chosen = random.Random(seed)
    data = 0x200000
    words = [chosen.randbytes(16) for _ in range(16)]
    code = before
    for n in range(16):
        rex = b"\x44" if n > 7 else b""
        code += rex + b"\x0f\x28" + bytes([n % 8 << 3 | 4, 0x25])
        code += struct.pack("<I", data + 0x100 + 16 * n)
    for n in range(5):
        code += b"\xdd\x04\x25" + struct.pack("<I", data + 0x200 + 8 * n)  # fld qword
    code += b"\xd9\x2c\x25" + struct.pack("<I", data + 0x280)  # fldcw
    code += b"\x0f\xae\x14\x25" + struct.pack("<I", data + 0x284)  # ldmxcsr
    for n in (0, 2, 3, 5, 6, 7, *range(8, 16)):
        code += bytes([0x48 | (n > 7), 0xB8 | n % 8]) + chosen.randbytes(8)
    pieces = {
        data + 0x100: b"".join(words),
        data + 0x200: b"".join(struct.pack("<d", chosen.gauss(0, 1e9)) for _ in range(5)),
        data + 0x280: struct.pack("<HxxI", 0x0E7F, 0x7F80),
    }
    return make_image(code + body + after, {**pieces, **tables})


def differences(a: Sequence[object], b: Sequence[object]) -> list[tuple[object, object]]:
    return [pair for pair in zip(a, b, strict=True) if pair[0] != pair[1]]

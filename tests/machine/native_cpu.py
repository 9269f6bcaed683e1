"""Machine code on this computer's own processor, and on a guest's, from equal states.

A case is a piece of code with the `State` that it begins with. All cases of a batch are one
program, which loads each state, executes the code and stores the state; the same bytes run natively
and as a guest. A case that raises an exception tells its vector, and the next one follows.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from support import RX, Elf, ScriptedWorld, Segment, config_for, halt

from vlockstep.machine import image as images
from vlockstep.machine.machine import Machine

TEXT, TEXT_SIZE = 0x100000, 0x100000
DATA, DATA_SIZE = 0x400000, 0x100000
STACK = DATA + 0x1000
RESUME, RAISED, FINISH = DATA + 0x1000, DATA + 0x1008, DATA + 0x1010
GDT, IDT, POINTERS = DATA + 0x1100, DATA + 0x1200, DATA + 0x1400
HALT = DATA + 0x1500
MEMORY = DATA + 0x1800
"""64 bytes that the code of a case may use."""
STATES, STATE_SIZE = DATA + 0x2000, 0x400
MAX_CASES = (DATA + DATA_SIZE - STATES) // STATE_SIZE
NO_VECTOR = 0xFF
GENERAL = (0, 1, 2, 3, 5, 6, 7, *range(8, 16))
"""Registers by number, but for RSP."""
_GPR, _FLAGS, _MXCSR, _VECTOR, _MEMORY, _FPU, _XMM = 0, 0x80, 0x88, 0x90, 0xA0, 0xE0, 0x200
_FPU_SIZE = 108
_INTERRUPT_FLAG = 0x200
_INTERRUPT_FLAG = 0x200
_VECTORS = (0, 6, 13, 14, 16, 19)


@dataclass(frozen=True)
class State:
    """`fpu` is an image of FNSAVE."""

    general: tuple[int, ...]
    flags: int
    mxcsr: int
    memory: bytes
    fpu: bytes
    xmm: tuple[int, ...]
    vector: int = NO_VECTOR

    def pack(self) -> bytes:
        content = bytearray(STATE_SIZE)
        for number, value in zip(GENERAL, self.general, strict=True):
            struct.pack_into("<Q", content, _GPR + 8 * number, value)
        struct.pack_into("<QQQ", content, _FLAGS, self.flags, self.mxcsr, self.vector)
        content[_MEMORY : _MEMORY + 64] = self.memory
        content[_FPU : _FPU + _FPU_SIZE] = self.fpu
        for number, value in enumerate(self.xmm):
            content[_XMM + 16 * number : _XMM + 16 * number + 16] = value.to_bytes(16, "little")
        return bytes(content)

    @classmethod
    def unpack(cls, content: bytes) -> State:
        flags, mxcsr, vector = struct.unpack_from("<QQQ", content, _FLAGS)
        return cls(
            tuple(struct.unpack_from("<Q", content, _GPR + 8 * number)[0] for number in GENERAL),
            flags & ~_INTERRUPT_FLAG,
            mxcsr & 0xFFFFFFFF,
            content[_MEMORY : _MEMORY + 64],
            content[_FPU : _FPU + _FPU_SIZE],
            tuple(
                int.from_bytes(content[_XMM + 16 * n : _XMM + 16 * n + 16], "little")
                for n in range(16)
            ),
            vector,
        )


def _absolute(opcode: bytes, register: int, address: int, wide: bool = False) -> bytes:
    """An instruction with this register, or extension, and the memory at an address."""
    rex = (0x48 if wide else 0) | (0x44 if register > 7 else 0)
    prefix = bytes([rex]) if rex else b""
    return prefix + opcode + bytes([register % 8 << 3 | 4, 0x25]) + struct.pack("<I", address)


def _set(address: int, value: int) -> bytes:
    return _absolute(b"\xc7", 0, address, wide=True) + struct.pack("<I", value)


def _copy(source: int, target: int) -> bytes:
    """64 bytes, by XMM0."""
    return b"".join(
        _absolute(b"\x0f\x10", 0, source + at) + _absolute(b"\x0f\x11", 0, target + at)
        for at in range(0, 64, 16)
    )


def _case(code: bytes, start: int, state: int) -> bytes:
    load = b"\xbc" + struct.pack("<I", STACK) + _set(RAISED, NO_VECTOR)
    load += _copy(state + _MEMORY, MEMORY) + _absolute(b"\xdd", 4, state + _FPU)
    load += _absolute(b"\x0f\xae", 2, state + _MXCSR)
    load += b"".join(_absolute(b"\x0f\x10", n, state + _XMM + 16 * n) for n in range(16))
    load += _absolute(b"\xff", 6, state + _FLAGS) + b"\x9d"
    load += b"".join(_absolute(b"\x8b", n, state + _GPR + 8 * n, wide=True) for n in GENERAL)
    store = b"".join(_absolute(b"\x89", n, state + _GPR + 8 * n, wide=True) for n in GENERAL)
    store += b"\xbc" + struct.pack("<I", STACK) + b"\x9c" + _absolute(b"\x8f", 0, state + _FLAGS)
    store += b"".join(_absolute(b"\x0f\x11", n, state + _XMM + 16 * n) for n in range(16))
    store += _absolute(b"\x0f\xae", 3, state + _MXCSR) + _absolute(b"\xdd", 6, state + _FPU)
    store += _copy(MEMORY, state + _MEMORY)
    store += _absolute(b"\x8b", 0, RAISED, wide=True) + _absolute(b"\x89", 0, state + _VECTOR, True)
    length = len(_set(RESUME, 0)) + len(load) + len(code)
    return _set(RESUME, start + length) + load + code + store


def _program(cases: Sequence[tuple[bytes, State]]) -> tuple[bytes, bytes]:
    """Text and data."""
    assert len(cases) <= MAX_CASES
    text, states = b"", b""
    for index, (code, state) in enumerate(cases):
        text += _case(code, TEXT + len(text), STATES + index * STATE_SIZE)
        states += state.pack()
    text += _absolute(b"\xff", 4, FINISH)
    assert len(text) <= TEXT_SIZE
    return text.ljust(TEXT_SIZE, b"\xcc"), (bytes(STATES - DATA) + states).ljust(DATA_SIZE, b"\0")


def _results(data: bytes, count: int) -> list[State]:
    first = STATES - DATA
    return [State.unpack(data[first + n * STATE_SIZE :][:STATE_SIZE]) for n in range(count)]


@cache
def _runner() -> tuple[TemporaryDirectory[str], Path]:
    folder = TemporaryDirectory(prefix="vlockstep-native-")
    program = Path(folder.name) / "native_cpu"
    names = "TEXT TEXT_SIZE DATA DATA_SIZE RESUME RAISED FINISH"
    defined = [f"-D{name}={globals()[name]:#x}" for name in names.split()]
    source = Path(__file__).with_name("native_cpu.c")
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", *defined, "-o", program, source], check=True
    )
    return folder, program


def run_natively(cases: Sequence[tuple[bytes, State]]) -> list[State]:
    text, data = _program(cases)
    done = subprocess.run([_runner()[1]], input=text + data, stdout=subprocess.PIPE, check=True)
    return _results(done.stdout, len(cases))


def run_as_guest(
    cases: Sequence[tuple[bytes, State]], cpu: str, engine: str = "unicorn"
) -> list[State]:
    text, data = _program(cases)
    boot = b"\x0f\x01\x14\x25" + struct.pack("<I", POINTERS)  # lgdt
    boot += b"\x0f\x01\x1c\x25" + struct.pack("<I", POINTERS + 16)  # lidt
    boot += b"\xb8" + struct.pack("<I", TEXT) + b"\xff\xe0"
    handlers = b""
    entry = TEXT + TEXT_SIZE + 0x100
    gates = bytearray(0x200)
    for vector in _VECTORS:
        at = entry + len(handlers)
        struct.pack_into("<HHHHQ", gates, vector * 16, at & 0xFFFF, 8, 0x8E00, at >> 16, 0)
        handlers += _set(RAISED, vector) + _absolute(b"\xff", 4, RESUME)
    end = entry + len(handlers)
    tail = boot.ljust(0x100, b"\xcc") + handlers + halt(HALT)
    content = bytearray(data)
    struct.pack_into("<QQQ", content, GDT - DATA, 0, 0x00AF9B00_0000FFFF, 0x00CF9300_0000FFFF)
    struct.pack_into("<HQ", content, POINTERS - DATA, 23, GDT)
    struct.pack_into("<HQ", content, POINTERS + 16 - DATA, len(gates) - 1, IDT)
    content[IDT - DATA : IDT - DATA + len(gates)] = gates
    struct.pack_into("<Q", content, FINISH - DATA, end)
    segments = [Segment(TEXT, text + tail, RX)]
    image = images.parse("cases", Elf(segments, entry=TEXT + TEXT_SIZE).build())
    config = config_for(image, cpu=cpu, sites=None if engine == "unicorn" else ())
    with closing(Machine(image, config, engine=engine)) as machine:
        machine.memory.write(DATA, bytes(content))
        machine.run(ScriptedWorld())
        return _results(machine.memory.peek(DATA, DATA_SIZE), len(cases))

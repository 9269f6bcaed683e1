"""The state of a machine as a value: everything that the rest of an execution depends on, but for
what lies behind its World (clocks, timers, disks, how much text there has been).

`Machine.capture` takes it, `Machine.restore` makes a machine of it, in any process. It is exact:

- at BOOT, and at a *boundary*, a stop of the block counter between two blocks;
- behind a HLT;
- in an exit, and behind one, but for two things that are told below.

An exit cannot be left and entered again, so there the state is that of its instruction, which is
executed again: its block then begins there. What that can change is what depends on where blocks
begin. Flags that the manual leaves undefined, such as OF behind BT, may come out differently if the
instruction that left them so is in the same block; and who counts blocks may count others where a
block was so long that the engine ended it, which takes hundreds of instructions without a branch.

At a boundary before an instruction that overwrites the block of which it is a part there is no
state to take: `Machine.capture` refuses it.

A restored machine's TLB is empty. A guest that changes its page tables, or EFER.NXE, without INVLPG
or a reload of CR3 depends on what its TLB holds, so it is not exact at all, wherever its state is
taken. It is refused where that can be seen: while NXE is off on the page tables of boot.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import IntEnum

import msgpack
import unicorn

from vlockstep.errors import StateError
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.position import MAX_COUNT, Position
from vlockstep.machine.registers import NAMES, Registers

VERSION = 1
ENGINE = unicorn.__version__
_HOST_POINTERS = ((16, 32), (5504, 5536), (5600, 5608))
"""Byte ranges of a saved context: of no meaning to another process, and none to the CPU."""
CONTEXT_SIZE = 5608
UNSAVED_MSRS = (
    0x17B, *range(0x200, 0x210), 0x250, 0x258, 0x259, *range(0x268, 0x270), 0x2FF,
    *range(0x400, 0x428),
)  # fmt: skip
"""What a saved context does not hold and a guest can write: MCG_CTL, MTRRs, banks of MCEs."""
PLAIN = "registers"
"""In the place of Unicorn's version in a state that does not depend on that."""
_WIDTH = 16
_BITS = {
    **dict.fromkeys(("fpcw", "fpsw", "fptag", "fop"), 16), "mxcsr": 32,
    **{f"fp{i}": 80 for i in range(8)}, **{f"xmm{i}": 128 for i in range(16)},
}  # fmt: skip
"""Of registers that have not 64."""
PLAIN_SIZE = _WIDTH * len(NAMES)
MAX_KIN = 100
"""Bytes of what tells a processor from others."""
_MAX_CHUNK = 1 << 16
_VECTORS = 256


@dataclass(frozen=True)
class CpuState:
    """Unicorn's saved context, and what it lacks. Only from a source that is trusted: a context
    that was made up can crash the process."""

    context: bytes
    rip: int
    rflags: int
    msrs: tuple[int, ...]
    """Of `UNSAVED_MSRS`."""

    def portable(self) -> CpuState:
        """Without what has a meaning in this process only."""
        if len(self.context) != CONTEXT_SIZE:
            raise StateError(
                f"this version of Unicorn ({ENGINE}) is not known to vlockstep; "
                "install one that its pyproject.toml names"
            )
        context = bytearray(self.context)
        for start, end in _HOST_POINTERS:
            context[start:end] = bytes(end - start)
        return CpuState(bytes(context), self.rip, self.rflags, self.msrs)


@dataclass(frozen=True)
class PlainState:
    """The registers of a CPU at a place where nothing else matters, from which any engine can go
    on: no hidden part of a segment is another than `boot`'s. Their `kin` is kept."""

    registers: Registers

    def portable(self) -> PlainState:
        return self

    def pack(self) -> bytes:
        words = (self.registers[name].to_bytes(_WIDTH, "little") for name in NAMES)
        return b"".join(words) + (self.registers.kin or "").encode()

    @classmethod
    def unpack(cls, data: bytes) -> PlainState:
        """Of `PLAIN_SIZE` bytes, and the kin's. Raises `ValueError` for what no registers hold."""
        words = (data[at : at + _WIDTH] for at in range(0, PLAIN_SIZE, _WIDTH))
        numbers = (int.from_bytes(word, "little") for word in words)
        values = dict(zip(NAMES, numbers, strict=True))
        if any(value >> _BITS.get(name, 64) for name, value in values.items()):
            raise ValueError("a register that is too wide")
        return cls(Registers(values, data[PLAIN_SIZE:].decode("ascii")))


class Where(IntEnum):
    """At which of the states that one position can name."""

    BOUNDARY = 0
    """Between two blocks, or at BOOT."""
    EXIT = 1
    """In an exit that is not complete. Where blocks are counted there is no boundary of the same
    position: it would be behind the block in which the exit is."""
    BEHIND = 2
    """Behind an exit, in the rest of its block."""
    HALTED = 3
    """Behind a HLT, waiting for an interrupt."""


@dataclass(frozen=True)
class MachineState:
    """Of a guest with the configuration whose digest `guest` is. `memory` holds the address and
    content of what is not all zeros, in order; nothing if it was taken without."""

    guest: bytes
    where: Where
    position: Position
    timed: bool
    timer: tuple[int, int]
    handler: int | None
    unreached: int
    cpu: CpuState | PlainState
    memory: tuple[tuple[int, bytes], ...]

    def pack(self) -> bytes:
        """As bytes that any process with the same Unicorn can restore; if the CPU's state is plain,
        any at all."""
        engine, cpu = _packed(self.cpu)
        packed: bytes = msgpack.packb(
            (
                VERSION, engine, self.guest, int(self.where), self.position, self.timed,
                self.timer, self.handler, self.unreached, *cpu, self.memory,
            )
        )  # fmt: skip
        return packed

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> MachineState:
        """The reverse of `pack`. Raises `StateError` for anything else."""
        try:
            version, *fields = msgpack.unpackb(data, use_list=False)
            if version != VERSION:
                raise StateError(
                    f"a machine's state of version {version}; this vlockstep reads {VERSION}"
                )
            engine, *fields = fields
            if engine not in (ENGINE, PLAIN):
                raise StateError(
                    f"a machine's state of Unicorn {engine}; here it is {ENGINE}: install the same"
                )
            return cls._checked(engine == PLAIN, *fields)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise StateError(f"a machine's state is malformed ({error})") from error

    @classmethod
    def _checked(
        cls, plain: bool, guest: object, where: object, position: object, timed: object,
        timer: object, handler: object, unreached: object, context: object, rip: object,
        rflags: object, msrs: object, memory: object,
    ) -> MachineState:  # fmt: skip
        if type(guest) is not bytes or type(timed) is not bool:
            raise ValueError("a guest or a timer that is none")
        if type(where) is not int:
            raise ValueError("a kind of place that is none")
        period, vector = _words(timer, 2)
        if vector >= _VECTORS:
            raise ValueError(f"vector {vector}")
        least, most = (PLAIN_SIZE, PLAIN_SIZE + MAX_KIN) if plain else (CONTEXT_SIZE, CONTEXT_SIZE)
        if type(context) is not bytes or not least <= len(context) <= most:
            raise ValueError("a context of another size")
        counts = _words((rip, rflags, unreached, 0 if handler is None else handler), 4)
        msrs = _words(msrs, 0 if plain else len(UNSAVED_MSRS))
        cpu: CpuState | PlainState = (
            PlainState.unpack(context) if plain else CpuState(context, counts[0], counts[1], msrs)
        )
        return cls(
            guest, Where(where), Position(*_words(position, 2)), timed, (period, vector),
            None if handler is None else counts[3], counts[2], cpu.portable(), _chunks(memory),
        )  # fmt: skip


def _packed(cpu: CpuState | PlainState) -> tuple[str, tuple[object, ...]]:
    if isinstance(cpu, PlainState):
        return PLAIN, (cpu.pack(), 0, 0, ())
    return ENGINE, (cpu.context, cpu.rip, cpu.rflags, cpu.msrs)


def guest_digest(config: GuestConfig) -> bytes:
    """What two configurations have in common that are equal."""
    return hashlib.blake2b(msgpack.packb(config.to_dict()), digest_size=16).digest()


def of_guest(state: bytes, config: GuestConfig) -> bytes:
    """A packed state as one of a guest with this configuration."""
    return replace(MachineState.unpack(state), guest=guest_digest(config)).pack()


def _words(values: object, count: int) -> tuple[int, ...]:
    if type(values) is not tuple or len(values) != count:
        raise ValueError(f"not {count} numbers")
    if any(type(value) is not int or not 0 <= value <= MAX_COUNT for value in values):
        raise ValueError("a number that is not one of 64 bits")
    return values


def _chunks(memory: object) -> tuple[tuple[int, bytes], ...]:
    if type(memory) is not tuple:
        raise ValueError("no memory")
    end = 0
    for chunk in memory:
        if type(chunk) is not tuple or len(chunk) != 2:
            raise ValueError("a piece of memory that is none")
        address, content = chunk
        if type(address) is not int or type(content) is not bytes:
            raise ValueError("a piece of memory that is none")
        if address < end or not 0 < len(content) <= _MAX_CHUNK:
            raise ValueError("pieces of memory that overlap, or are too large")
        end = address + len(content)
    return memory

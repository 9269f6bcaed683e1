"""Entries: what a log is made of.

In memory an entry is a plain tuple, since one is made for every exit:
`(kind, exits, blocks, value, checkpoint)`, where (exits, blocks) is the position at which the
entry belongs and `checkpoint` is empty or a packed `Checkpoint` of the state there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgpack

from vlockstep.errors import LogError
from vlockstep.machine.interface import GuestMemory
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers, agree
from vlockstep.machine.world import Outcome


class Kind(IntEnum):
    """What an entry holds in `value`."""

    CYCLES = 0  #       the time-stamp counter
    WALLTIME = 1  #     nanoseconds since the epoch
    POLL = 2  #         the set of ready handles
    NET_READ = 3  #     a `NetRead`
    BLOCK_READ = 4  #   the data or None; the digest of the data if each replica has its own disk
    CONSOLE = 5  #      the digest of the text
    NET_WRITE = 6  #    the digest of the frame
    BLOCK_WRITE = 7  #  the digest of handle, offset and data
    INTERRUPT = 8  #    the vector
    END = 9  #          a packed `End`
    GENERATION = 10  #  which primary rules
    RANDOM = 11  #      64 random bits


OUTPUTS = frozenset(map(int, (Kind.CONSOLE, Kind.NET_WRITE, Kind.BLOCK_WRITE, Kind.END)))

NetRead = tuple[int | None, bytes | None]
"""The handle of the NIC that was read, and the frame, or None. The handle is None in an entry of
a log of version 1, which does not tell it."""
Value = int | bytes | NetRead | None
Entry = tuple[int, int, int, Value, bytes]


def position(entry: Entry) -> Position:
    return Position(entry[1], entry[2])


def data_size(value: Value) -> int:
    """Bytes of data from outside that an entry holds."""
    if type(value) is tuple:
        value = value[1]
    return len(value) if type(value) is bytes else 0


_DIGEST = 8


def output_digest(data: bytes) -> bytes:
    """8 bytes that stand for an output in the log."""
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()


def block_write_digest(handle: int, offset: int, data: bytes) -> bytes:
    return output_digest(b"%d %d " % (handle, offset) + data)


_WIDEST = 16
"""Bytes of the widest register."""
_CHUNK = 1 << 16
_ZEROS = bytes(_CHUNK)
SLICE = 1 << 20
"""Bytes of RAM that one checkpoint digests: the cost of a checkpoint does not grow with RAM."""


@dataclass(frozen=True)
class Checkpoint:
    """The registers at a position, and the digest of `SLICE` bytes of RAM at `address`
    (none if `memory_digest` is empty)."""

    registers: Registers
    address: int = 0
    memory_digest: bytes = b""

    def pack(self) -> bytes:
        names = [n for n, v in self.registers.items() if v]
        values = [_to_bytes(self.registers[n]) for n in names]
        kin = (self.registers.kin,) if self.registers.kin else ()
        packed: bytes = msgpack.packb((names, values, self.address, self.memory_digest, *kin))
        return packed

    @classmethod
    def unpack(cls, data: bytes, like: Registers) -> Checkpoint:
        """The reverse of `pack`. `like` names all registers there are."""
        try:
            names, values, address, digest, *kin = msgpack.unpackb(data)
            found = dict(zip(names, map(_from_bytes, values), strict=True))
            if not (isinstance(address, int) and address >= 0 and isinstance(digest, bytes)):
                raise ValueError("fields of wrong types")
            if [type(each) for each in kin] not in ([], [str]):
                raise ValueError("fields of wrong types")
        except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
            raise LogError(f"a checkpoint is malformed ({error})") from error
        registers = Registers({n: found.get(n, 0) for n in like}, *kin)
        return cls(registers, address, digest)


def slice_of(checkpoint: bytes) -> int | None:
    """The address of the slice of RAM that a packed checkpoint digests; None if it digests none."""
    _, _, address, digest, *_ = msgpack.unpackb(checkpoint)
    return int(address) if digest else None


def _to_bytes(value: int) -> int | bytes:
    return value if value < 1 << 64 else value.to_bytes(_WIDEST, "little")


def _from_bytes(value: object) -> int:
    if type(value) is bytes and len(value) <= _WIDEST:
        return int.from_bytes(value, "little")
    if type(value) is not int or value < 0:
        raise ValueError("a register that is none")
    return value


def slice_digest(memory: GuestMemory, address: int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for at in range(address, min(address + SLICE, memory.size), _CHUNK):
        content = memory.peek(at, min(_CHUNK, memory.size - at))
        if content != _ZEROS:
            digest.update(at.to_bytes(8, "little"))
            digest.update(content)
    return digest.digest()


@dataclass(frozen=True)
class End:
    """How the guest ended, in the log."""

    status: int
    reason: str
    registers: bytes
    memory: bytes

    @classmethod
    def of(cls, outcome: Outcome) -> End:
        """Of what is not exact there are no digests."""
        registers, memory = outcome.registers.digest(), outcome.memory_digest
        state = (registers, memory) if outcome.exact else (b"", b"")
        return cls(outcome.status, outcome.reason, *state)

    def pack(self) -> bytes:
        packed: bytes = msgpack.packb((self.status, self.reason, self.registers, self.memory))
        return packed

    def differences(self, other: End) -> list[str]:
        """What is not the same, by name."""
        found = [n for n in ("status", "reason") if getattr(self, n) != getattr(other, n)]
        if not agree(self.registers, other.registers):
            found.append("registers")
        return found + ["memory"] * (self.memory != other.memory)

    @classmethod
    def unpack(cls, data: bytes) -> End:
        try:
            fields = msgpack.unpackb(data)
            if [type(field) for field in fields] != [int, str, bytes, bytes]:
                raise ValueError("fields of wrong types")
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise LogError(f"the end entry is malformed ({error})") from error
        return cls(*fields)


def data_of(kind: int, value: Value) -> bytes | None:
    """The data of an input that the log holds; None if it holds a digest or there was none."""
    if isinstance(value, tuple):
        value = value[1]
    if kind not in (Kind.NET_READ, Kind.BLOCK_READ) or not isinstance(value, bytes):
        return None
    return None if kind == Kind.BLOCK_READ and len(value) == _DIGEST else value


def describe(entry: Entry) -> str:
    """One entry for people."""
    kind, _, _, value, checkpoint = entry
    source = ""
    if isinstance(value, tuple):
        handle, value = value
        source = "" if handle is None else f"handle {handle}, "
    text = Kind(kind).name.lower().replace("_", " ")
    detail: Any = value
    if kind == Kind.END:
        assert isinstance(value, bytes)
        end = End.unpack(value)
        detail = end.reason or f"status {end.status}"
    elif (data := data_of(kind, value)) is not None:
        detail = f"{len(data)} bytes {data[:16].hex(' ')}{' …' if len(data) > 16 else ''}"
    elif isinstance(value, bytes):
        detail = f"digest {value.hex()}"
    elif kind == Kind.POLL:
        detail = f"ready {value:#x}"
    elif kind == Kind.RANDOM:
        detail = f"bits {value:016x}"
    elif kind == Kind.INTERRUPT:
        detail = f"vector {value}"
    return f"{text:<12} {source}{detail}{'  + checkpoint' if checkpoint else ''}"

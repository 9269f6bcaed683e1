"""Batches of entries as bytes: for the log file and for the logging channel alike.

A batch is self-contained: `[first, exits, rows]`, where `first` is the sequence number of its
first entry and `exits` that entry's exits. A row is `[kind, exits since the row before, value]`,
with blocks and checkpoint appended if there are any. Clock values are differences, modulo 2^64, to
the clock value before them in the batch. A clock read takes at most 12 bytes, and usually 6. The
value of a NET_READ is `[handle, frame]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgpack

from vlockstep.errors import LogError
from vlockstep.replay.entry import OUTPUTS, Entry, Kind, NetRead

MAX_BATCH = 1 << 20
"""Bytes of a batch, unless a single entry is longer."""
_BEGINNING = 32
_MASK = (1 << 64) - 1
_VECTORS = 256
_HANDLES = 64
_BYTES_OR_NONE = (bytes, type(None))
_TYPES: dict[int, tuple[type, ...]] = {
    int(Kind.CYCLES): (int,),
    int(Kind.WALLTIME): (int,),
    int(Kind.POLL): (int,),
    int(Kind.NET_READ): (tuple,),
    int(Kind.BLOCK_READ): _BYTES_OR_NONE,
    int(Kind.CONSOLE): (bytes,),
    int(Kind.NET_WRITE): (bytes,),
    int(Kind.BLOCK_WRITE): (bytes,),
    int(Kind.INTERRUPT): (int,),
    int(Kind.END): (bytes,),
    int(Kind.GENERATION): (int,),
    int(Kind.RANDOM): (int,),
}
_TYPES_WITHOUT_HANDLES = _TYPES | {int(Kind.NET_READ): _BYTES_OR_NONE}


def encode(first: int, entries: Sequence[Entry]) -> bytes:
    """Pack consecutive `entries`, the first of which has sequence number `first`."""
    assert entries
    start = exits = entries[0][1]
    cycles = walltime = 0
    rows: list[tuple[object, ...]] = []
    for kind, at, blocks, value, checkpoint in entries:
        if kind == 0:
            value, cycles = value - cycles & _MASK, value  # type: ignore[operator]
        elif kind == 1:
            value, walltime = value - walltime & _MASK, value  # type: ignore[operator]
        if blocks or checkpoint:
            rows.append((kind, at - exits, value, blocks, checkpoint))
        else:
            rows.append((kind, at - exits, value))
        exits = at
    packed: bytes = msgpack.packb((first, start, rows))
    return packed


def batches(first: int, entries: Sequence[Entry]) -> Iterator[tuple[int, int, bytes]]:
    """Encode `entries`, of which the first has the number `first`, in as many batches as it takes
    for each to be no longer than `MAX_BATCH`: the number of its first entry, that after its last
    one, and its bytes."""
    content = encode(first, entries)
    half = len(entries) // 2
    if len(content) > MAX_BATCH and half:
        yield from batches(first, entries[:half])
        yield from batches(first + half, entries[half:])
    else:
        yield first, first + len(entries), content


def decode(data: bytes, handles: bool = True) -> tuple[int, list[Entry]]:
    """The reverse of `encode`. Raises `LogError` for anything that is not a valid batch.

    Without `handles` it is one of log version 1, in which the value of a NET_READ is the frame.
    """
    types = _TYPES if handles else _TYPES_WITHOUT_HANDLES
    try:
        first, exits, rows = msgpack.unpackb(data, use_list=False)
        if type(first) is not int or type(exits) is not int or first < 0 or exits < 0:
            raise ValueError("bad header")
        if type(rows) is not tuple or {*map(type, rows)} != {tuple}:
            raise ValueError("bad rows")
        cycles = walltime = 0
        entries: list[Entry] = []
        for row in rows:
            if len(row) == 3:
                kind, step, value = row
                blocks, checkpoint = 0, b""
            else:
                kind, step, value, blocks, checkpoint = row
                if type(blocks) is not int or blocks < 0 or type(checkpoint) is not bytes:
                    raise ValueError("bad position or checkpoint")
            if (
                type(kind) is not int
                or type(value) not in types[kind]
                or type(step) is not int
                or step < 0
            ):
                raise ValueError("bad row")
            if type(value) is int:
                if value < 0 or (kind == 8 and value >= _VECTORS):
                    raise ValueError(f"value {value} out of range")
            elif kind == 3:
                value = _net_read(value) if handles else (None, value)
            exits += step
            if kind == 0:
                value = cycles = cycles + value & _MASK
            elif kind == 1:
                value = walltime = walltime + value & _MASK
            entries.append((kind, exits, blocks, value, checkpoint))
        if exits > _MASK or first + len(entries) > _MASK:
            raise ValueError("position or sequence number beyond 64 bits")
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise LogError(f"malformed batch of entries ({error})") from error
    return first, entries


def outline(data: bytes) -> tuple[int, int, list[tuple[int, int]]]:
    """Of a batch, much faster than `decode`: the number of its first entry, that after its last
    one, and the number and kind of each output in it. Only what that takes is looked at."""
    try:
        first, _, rows = msgpack.unpackb(data, use_list=False)
        outputs = [(n, row[0]) for n, row in enumerate(rows, first) if row[0] in OUTPUTS]
        return first, first + len(rows), outputs
    except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
        raise LogError(f"malformed batch of entries ({error})") from error


def beginning(data: bytes) -> tuple[int, int, int]:
    """Of a batch, at no cost: number and exits of its first entry, and the number after its last
    one. Nothing else is looked at."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(data[:_BEGINNING])
    try:
        unpacker.read_array_header()
        first, exits = unpacker.unpack(), unpacker.unpack()
        count = unpacker.read_array_header()
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise LogError(f"malformed batch of entries ({error!r})") from error
    if type(first) is not int or type(exits) is not int or min(first, exits) < 0:
        raise LogError("malformed batch of entries (bad header)")
    return first, exits, first + count


def _net_read(value: tuple[object, ...]) -> NetRead:
    handle, frame = value
    if type(handle) is not int or not 0 <= handle < _HANDLES:
        raise ValueError("bad handle")
    if frame is not None and type(frame) is not bytes:
        raise ValueError("bad frame")
    return handle, frame

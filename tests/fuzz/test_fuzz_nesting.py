"""Structures that nest deeply or declare lengths they do not have, where a file or a message may
hold one: refused as any other, and without the memory that they ask for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import msgpack
import pytest
from fuzz.worker import Worker

from vlockstep.replay.entry import Kind
from vlockstep.replay.frames import frame
from vlockstep.replay.logfile import MAGIC

DEEP = b"\x91" * 1010 + b"\xc0"
"""Deep enough that Python cannot print it, and not so deep that msgpack refuses it."""
WIDE = b"\xdd" + struct.pack(">I", 1 << 20)
BOMB = (WIDE * 1000).ljust((1 << 20) + 5000, b"\0")
"""Each of 1000 arrays, one in the other, declares as many elements as there are bytes: 8 GB."""
CONFIG = {
    "image_digest": "",
    "memory": 1 << 21,
    "arguments": [],
    "cpu": "",
    "blocks": {},
    "nets": {},
}


def holding(structure: object, piece: bytes) -> bytes:
    """`structure`, packed, with `piece` in the place of its "HERE"."""
    packed: bytes = msgpack.packb(structure)
    assert b"\xa4HERE" in packed
    return packed.replace(b"\xa4HERE", piece)


def row(kind: Kind, value: object, checkpoint: bytes = b"") -> bytes:
    return msgpack.packb([0, 0, [[int(kind), 0, value, 0, checkpoint]]])  # type: ignore[no-any-return]


HEADERS: dict[str, object] = {
    "header": "HERE",
    "version": {"version": "HERE", "config": CONFIG},
    **{field: {"version": 1, "config": CONFIG | {field: "HERE"}} for field in CONFIG},
    "argument": {"version": 1, "config": CONFIG | {"arguments": ["HERE"]}},
    "block": {"version": 1, "config": CONFIG | {"blocks": {"disk": "HERE"}}},
    "capacity": {"version": 1, "config": CONFIG | {"blocks": {"disk": {"capacity": "HERE"}}}},
    "mac": {"version": 1, "config": CONFIG | {"nets": {"net": {"mac": "HERE"}}}},
}
BATCHES: dict[str, object] = {
    "batch": "HERE",
    "first": ["HERE", 0, [[0, 0, 0]]],
    "rows": [0, 0, "HERE"],
    "row": [0, 0, ["HERE"]],
    "kind": [0, 0, [["HERE", 0, 0]]],
    "step": [0, 0, [[0, "HERE", 0]]],
    "value": [0, 0, [[0, 0, "HERE"]]],
    "blocks": [0, 0, [["HERE", 0, 0, "HERE", b""]]],
}
PIECES = {"deep": DEEP, "wide": WIDE, "infinity": b"\xca\x7f\x80\0\0"}


def logs(piece: bytes) -> Iterator[tuple[str, bytes]]:
    """Log files with `piece` in each place."""
    for name, structure in HEADERS.items():
        yield f"header: {name}", MAGIC + frame(holding(structure, piece))
    head = MAGIC + frame(msgpack.packb({"version": 1, "config": CONFIG}))
    for name, structure in BATCHES.items():
        yield f"batch: {name}", head + frame(holding(structure, piece))
    for index in range(4):
        parts: list[object] = [0, "reason", b"registers", b"memory"]
        parts[index] = "HERE"
        yield f"end: {index}", head + frame(row(Kind.END, holding(parts, piece)))
        parts = [["rax"], [1], 0, b"digest"]
        parts[index] = "HERE"
        checkpoint = holding(parts, piece)
        yield f"checkpoint: {index}", head + frame(row(Kind.CYCLES, 1, checkpoint))
    yield "register", head + frame(row(Kind.CYCLES, 1, holding([["rax"], ["HERE"], 0, b""], piece)))


def says(piece: bytes) -> Iterator[tuple[str, bytes]]:
    """Messages with `piece` in each place."""
    structures: dict[str, object] = {
        "content": "HERE",
        "kind": ["HERE"],
        "field": [0, 1, "HERE", "", 1],
        "config": [1, 1, 2, 3, CONFIG | {"image_digest": "HERE"}],
    }
    for name, structure in structures.items():
        content = holding(structure, piece)
        yield f"message: {name}", struct.pack("<I", zlib.crc32(content)) + content


def refuses(target: str, inputs: Iterator[tuple[str, bytes]]) -> None:
    complaints = []
    with closing(Worker(target)) as worker:
        for name, data in inputs:
            try:
                worker.check(data)
            except AssertionError as error:
                complaints.append(f"{name}: {str(error)[-300:]}")
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("piece", PIECES)
def test_what_nests_or_lies_is_refused(piece: str) -> None:
    refuses("log", logs(PIECES[piece]))
    refuses("messages", says(PIECES[piece]))


def test_declared_lengths_take_no_memory() -> None:
    refuses("log", islice(logs(BOMB), 1))
    refuses("messages", islice(says(BOMB), 1))

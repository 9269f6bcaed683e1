"""What the guest `ledger` leaves behind, judged without the guest.

Every line on the console has its block on the disk, in which the checksum of the block before
makes a chain. See guests/ledger.c for the layout.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

BLOCK = struct.Struct("<8sQQQQQI448s4sQ")
MAGIC = b"VLEDGER1"
_LINE = re.compile(rb"ledger (\d{6,}) wall=(\d+) tsc=(\d+) sum=([0-9a-f]{16})")
_DONE = re.compile(rb"ledger done lines=(\d+) chain=([0-9a-f]{16})")
_FNV_START, _FNV_PRIME, _U64 = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1


def checksum(data: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = _FNV_START
    for byte in data:
        value = (value ^ byte) * _FNV_PRIME & _U64
    return value


def console_faults(text: bytes, lines: int) -> Iterator[str]:
    """What is wrong with the console text of a ledger of so many lines, in words."""
    *rows, rest = text.split(b"\n")
    if rest:
        yield f"it ends within a line: {rest[:40]!r}"
    if len(rows) != lines + 1:
        yield f"{len(rows)} lines instead of {lines + 1}"
    for number, row in enumerate(rows[:lines], 1):
        match = _LINE.fullmatch(row)
        if match is None:
            yield f"line {number} is none of a ledger: {row[:40]!r}"
        elif int(match[1]) != number:
            yield f"line {number} has the number {int(match[1])}"
    done = _DONE.fullmatch(rows[-1]) if rows else None
    if done is None or int(done[1]) != lines:
        yield f"the last line does not say that {lines} lines are done"


def disk_faults(disk: Path, text: bytes, lines: int) -> Iterator[str]:
    """What is wrong with the blocks on the disk, of which each belongs to a line of the text."""
    rows = text.split(b"\n")
    chain = 0
    with disk.open("rb") as file:
        for number in range(1, lines + 1):
            data = file.read(BLOCK.size)
            if len(data) < BLOCK.size:
                yield f"the disk ends before block {number}"
                return
            magic, at, previous, wall, tsc, total, length, line, _, check = BLOCK.unpack(data)
            if magic != MAGIC or at != number:
                yield f"block {number} is no block of this ledger"
                return
            if previous != chain:
                yield f"the chain is broken between blocks {number - 1} and {number}"
            if check != checksum(data[: -8]):
                yield f"the checksum of block {number} is wrong"
            values = f"ledger {number:06} wall={wall} tsc={tsc} sum={total:016x}\n".encode()
            row = rows[number - 1] + b"\n" if number <= len(rows) else b""
            if not values == line[:length] == row:
                yield f"block {number} is not what line {number} says"
            chain = check
    if text.rpartition(b"chain=")[2] != b"%016x\n" % chain:
        yield f"the chain ends in {chain:016x}, which the last line does not say"

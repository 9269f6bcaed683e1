"""The ledger on console and disk, computed again here from the clocks it was given."""

from __future__ import annotations

import re
import struct

import pytest
from support import Console, MemoryDisk, config_for, disk_config, machine_of, sample

from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.world import Outcome

LEDGER = sample("ledger")
BLOCK = struct.Struct("<8sQQQQQI448s4sQ")
MASK = (1 << 64) - 1


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & MASK
    return value


def mix(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def compute(total: int, wall: int, tsc: int, work: int) -> int:
    total = mix(total ^ wall) ^ ((tsc << 32 | tsc >> 32) & MASK)
    for i in range(work + 1):
        total = mix(total + i & MASK)
    return total


def run(disk: MemoryDisk, *arguments: str) -> tuple[Outcome, str]:
    console = Console()
    config = config_for(LEDGER, *arguments, blocks=disk_config(len(disk.content)))
    with machine_of(LEDGER, config) as machine:
        return machine.run(SimulatedWorld(5, console, {1: disk})), console.text


@pytest.mark.parametrize(("lines", "work"), [(1, 0), (37, 3), (16, 50)])
def test_every_block_and_line_follows_from_the_clocks(lines: int, work: int) -> None:
    disk = MemoryDisk(64 * 512)
    outcome, text = run(disk, f"--lines={lines}", f"--work={work}")
    assert outcome.status == 0
    *rows, last = text.splitlines(keepends=True)
    assert len(rows) == lines
    total = chain = before = 0
    for number, row in enumerate(rows, 1):
        raw = bytes(disk.content[(number - 1) * 512 : number * 512])
        magic, found, previous, wall, tsc, sum_, length, line, zero, checksum = BLOCK.unpack(raw)
        total = compute(total, wall, tsc, work)
        assert (magic, found, previous, zero) == (b"VLEDGER1", number, chain, bytes(4))
        assert tsc > before
        assert sum_ == total
        assert line[:length] == row.encode() and line[length:] == bytes(448 - length)
        assert row == f"ledger {number:06} wall={wall} tsc={tsc} sum={sum_:016x}\n"
        assert checksum == fnv1a(raw[:-8])
        chain, before = checksum, tsc
    assert last == f"ledger done lines={lines} chain={chain:016x}\n"
    assert disk.content[lines * 512 :] == bytes(len(disk.content) - lines * 512)


class Rotting(MemoryDisk):
    def write(self, offset: int, data: bytes) -> None:
        super().write(offset, data)
        self.content[offset + 300] ^= 1


def test_a_block_that_comes_back_changed_ends_the_guest_with_1() -> None:
    outcome, text = run(Rotting(64 * 512), "--lines=20", "--work=1")
    assert outcome.status == 1
    assert re.search(r"^ledger block \d+ is damaged: result 0$", text, re.M)


def test_a_disk_that_cannot_be_read_ends_the_guest_with_1() -> None:
    class Unreadable(MemoryDisk):
        def read(self, offset: int, length: int) -> bytes | None:
            return None

    outcome, text = run(Unreadable(64 * 512), "--lines=20", "--work=1")
    assert outcome.status == 1 and "is damaged: result 3\n" in text

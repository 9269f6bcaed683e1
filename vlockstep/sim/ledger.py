"""Whether everything the guest `ledger` wrote is there, once, and unchanged.

The guest writes each line to its console and, with the checksum of the block before it, to its
disk; see guests/ledger.c.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from vlockstep.program.tracebacks import hide

__tracebackhide__ = hide

BLOCK = 512
_MAGIC = b"VLEDGER1"
_LAYOUT = struct.Struct("<8s5QI448s4sQ")
_LINE = re.compile(rb"ledger (\d{6,}) wall=(\d+) tsc=(\d+) sum=([0-9a-f]{16})\n")
_DONE = re.compile(rb"ledger done lines=(\d+) chain=([0-9a-f]{16})\n")
_FNV_START, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
_SHOWN = 10


@dataclass(frozen=True)
class LedgerReport:
    """`lines` is how many correct lines there are from the first on; `chain` whether the blocks
    on the disk are an unbroken chain from the first to the line expected last; `problems` every
    difference found, in words. `last_tsc` is the guest's cycles (ns) at the last correct line."""

    lines: int
    chain: bool
    problems: tuple[str, ...]
    last_tsc: int

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        if self.ok:
            return f"{self.lines} lines, each once and in order; the chain on the disk is whole"
        shown = self.problems[:_SHOWN]
        more = len(self.problems) - len(shown)
        return "\n".join([*shown, *([f"… and {more} more"] if more else [])])


def inspect_ledger(console: bytes, disk: bytes, lines: int) -> LedgerReport:
    """Compare what a ledger of `lines` lines left on its console and its disk."""
    problems: list[str] = []
    texts, done = _split(console, lines, problems)
    chain, blocks = _read_chain(disk, lines, problems)
    correct, last_tsc = 0, 0
    for number, text in enumerate(texts, 1):
        match = _LINE.fullmatch(text)
        if match is None:
            problems.append(f"console line {number} is no ledger line: {text!r}")
        elif int(match[1]) != number:
            problems.append(f"console line {number} is number {int(match[1])}: {text!r}")
        elif number <= len(blocks) and blocks[number - 1] != text:
            problems.append(f"line {number}: console {text!r}, disk {blocks[number - 1]!r}")
        elif int(match[3]) <= last_tsc:
            problems.append(f"line {number}: the cycles went back: {last_tsc} to {int(match[3])}")
        else:
            correct += correct == number - 1
            last_tsc = int(match[3])
    if done is not None and done != chain:
        problems.append(f"the guest's last line says chain {done:016x}, the disk has {chain:016x}")
    whole = len(blocks) == lines and not any(disk[lines * BLOCK :])
    if any(disk[lines * BLOCK :]):
        problems.append(f"there is something on the disk behind block {lines}")
    return LedgerReport(correct, whole, tuple(problems), last_tsc)


def check_ledger(console: bytes, disk: bytes, lines: int) -> LedgerReport:
    """Raise AssertionError if a line was lost, repeated or changed, or the chain is broken."""
    report = inspect_ledger(console, disk, lines)
    if not report.ok:
        raise AssertionError(f"the ledger of {lines} lines is damaged:\n{report}")
    return report


def inspect_unfinished_ledger(console: bytes, disk: bytes) -> LedgerReport:
    """Compare what a ledger that was ended before its last line has left: the block of the last
    line that it has printed may not be on its disk yet."""
    lines = [line for line in console.splitlines(keepends=True) if _LINE.fullmatch(line)]
    for count in (len(lines), len(lines) - 1):
        if count < 1:
            return LedgerReport(0, True, (), 0)
        chain = int.from_bytes(disk[count * BLOCK - 8 : count * BLOCK], "little")
        shown = b"".join(lines[:count]) + b"ledger done lines=%d chain=%016x\n" % (count, chain)
        report = inspect_ledger(shown, disk[: count * BLOCK], count)
        if report.ok:
            break
    return report


def _split(console: bytes, lines: int, problems: list[str]) -> tuple[list[bytes], int | None]:
    """The ledger lines, and the chain's checksum in the last line."""
    texts = console.splitlines(keepends=True)
    match = _DONE.fullmatch(texts[-1]) if texts else None
    if match is None:
        problems.append(f"the console ends with {texts[-1:]!r}, not with the guest's last line")
    else:
        del texts[-1]
        if int(match[1]) != lines:
            problems.append(f"the guest counts {int(match[1])} lines, not {lines}")
    if len(texts) != lines:
        problems.append(f"{len(texts)} lines on the console, not {lines}")
    return texts, int(match[2], 16) if match else None


def _read_chain(disk: bytes, lines: int, problems: list[str]) -> tuple[int, list[bytes]]:
    """The last checksum, and the text of each block as far as the chain is whole."""
    chain, texts = 0, []
    for number in range(1, lines + 1):
        block = disk[(number - 1) * BLOCK : number * BLOCK]
        if len(block) < BLOCK:
            problems.append(f"the disk ends before block {number}")
            break
        magic, found, previous, wall, tsc, total, length, text, zero, checksum = _LAYOUT.unpack(
            block
        )
        line = b"ledger %06d wall=%d tsc=%d sum=%016x\n" % (found, wall, tsc, total)
        wrong = None
        if magic != _MAGIC:
            wrong = "was not written"
        elif checksum != fnv1a(block[:-8]):
            wrong = "has a wrong checksum"
        elif found != number:
            wrong = f"has the number {found}"
        elif previous != chain:
            wrong = f"follows another block: {previous:016x}, not {chain:016x}"
        elif text[:length] != line or any(text[length:]) or any(zero):
            wrong = f"does not hold its own line {line!r}"
        if wrong is not None:
            problems.append(f"block {number} on the disk {wrong}; the chain breaks there")
            break
        chain = checksum
        texts.append(line)
    return chain, texts


def fnv1a(data: bytes) -> int:
    """The 64-bit FNV-1a hash, as in guests/lib/hash.h."""
    value = _FNV_START
    for byte in data:
        value = (value ^ byte) * _FNV_PRIME & 0xFFFF_FFFF_FFFF_FFFF
    return value

"""Where the instructions of 64-bit code begin in Unicorn, by their lengths alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

REX = frozenset(range(0x40, 0x50))
PREFIXES = REX | frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3")
_WORD, _ADDRESS = 0x66, 0x67


def _opcodes(text: str) -> frozenset[int]:
    """Ranges and single ones, in hex."""
    found: set[int] = set()
    for item in text.split():
        first, _, last = item.partition("-")
        found |= {*range(int(first, 16), int(last or first, 16) + 1)}
    return frozenset(found)


def _arithmetic(*places: int) -> Iterable[int]:
    return (row + place for row in range(0, 0x40, 8) for place in places)


_MODRM = _opcodes("63 69 6b 80-8f c0-c1 c6-c7 d0-d3 d8-df f6-f7 fe-ff") | {*_arithmetic(0, 1, 2, 3)}
_BYTE = _opcodes("6a 6b 70-7f 80 82-83 a8 b0-b7 c0-c1 c6 cd e0-e7 eb") | {*_arithmetic(4)}
_FULL = _opcodes("68 69 81 a9 c7 e8-e9") | {*_arithmetic(5)}
_NO_MODRM_0F = _opcodes("05-09 0b 0e 30-37 77 80-8f a0-a2 a8-aa c8-cf")
_BYTE_0F = _opcodes("70-73 a4 ac ba c2 c4-c6")
_FULL_0F = _opcodes("80-8f")
_REGISTERS_0F = _opcodes("20-23 50 78")
_EXTRACT, _MOVE = 0x78, 0xD6  # EXTRQ, INSERTQ; MOVQ2DQ, MOVDQ2Q and, behind 66, MOVQ


class Extent(NamedTuple):
    """Offsets of an instruction."""

    start: int
    opcode: int
    """Behind prefixes."""
    end: int


def instructions(code: bytes) -> Iterator[Extent]:
    """One after the other, to the last that is there as a whole. `code` begins with one."""
    at = 0
    with suppress(IndexError):
        while at < len(code):
            opcode, following = _measure(code, at)
            yield Extent(at, opcode, following)
            at = following


def behind_prefixes(code: bytes, at: int = 0) -> int:
    """Where the opcode is. Legacy prefixes and REX may stand in any order."""
    while at < len(code) and code[at] in PREFIXES:
        at += 1
    return at


def rex_of(prefixes: bytes) -> int:
    """REX, or 0: it is ignored if another prefix follows."""
    return prefixes[-1] if prefixes and prefixes[-1] in REX else 0


def _measure(code: bytes, at: int) -> tuple[int, int]:
    """Where the opcode is, and where the next instruction."""
    first = behind_prefixes(code, at)
    prefixes, opcode = code[at:first], code[first]
    wide = bool(rex_of(prefixes) & 8)
    word = _WORD in prefixes
    full = 2 if word and not wide else 4
    at = first + 1
    if opcode == 0x0F:
        return first, _measure_0f(code, at, word, full)
    if opcode in b"\xc4\xc5":
        return first, _measure_vex(code, first)
    immediate = (opcode in _BYTE) + full * (opcode in _FULL)
    if 0xA0 <= opcode <= 0xA3:
        immediate = 4 if _ADDRESS in prefixes else 8
    elif 0xB8 <= opcode <= 0xBF:
        immediate = 8 if wide else full
    elif opcode in b"\xc2\xca\xc8":
        immediate = 3 if opcode == 0xC8 else 2
    elif opcode in b"\xf6\xf7" and code[at] >> 3 & 7 < 2:
        immediate = full if opcode & 1 else 1
    return first, (_behind_modrm(code, at) if opcode in _MODRM else at) + immediate


def _measure_0f(code: bytes, at: int, word: bool, full: int) -> int:
    opcode = code[at]
    if opcode in (0x38, 0x3A):
        return _behind_modrm(code, at + 2) + (opcode == 0x3A)
    if opcode == 0x0F:  # 3DNow!
        return _behind_modrm(code, at + 1) + 1
    immediate = (opcode in _BYTE_0F) + full * (opcode in _FULL_0F)
    immediate += 2 * (opcode == _EXTRACT)
    if opcode in _NO_MODRM_0F:
        return at + 1 + immediate
    if opcode in _REGISTERS_0F or (opcode == _MOVE and not word):
        return at + 2 + immediate
    return _behind_modrm(code, at + 1) + immediate


def _measure_vex(code: bytes, at: int) -> int:
    at += 2 if code[at] == 0xC5 else 3
    escape = code[at - 2] & 3 if code[at - 3] == 0xC4 else 1
    opcode = code[at]
    if escape == 1 and opcode == 0x77:
        return at + 1
    return _behind_modrm(code, at + 1) + (escape == 3 or (escape == 1 and opcode in _BYTE_0F))


def _behind_modrm(code: bytes, at: int) -> int:
    mode, rm = code[at] >> 6, code[at] & 7
    at += 1
    if mode == 3:
        return at
    if rm == 4:
        rm = 5 if code[at] & 7 == 5 and mode == 0 else 4
        at += 1
    return at + (4 if mode == 2 or (mode == 0 and rm == 5) else mode)

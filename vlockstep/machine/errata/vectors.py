"""Vector instructions, as functions of their operands: PHADDx and PHSUBx, PCMPxSTRx."""

from __future__ import annotations

from typing import NamedTuple

_WIDTH = 128
_CARRY, _ZERO, _SIGN, _OVERFLOW = 1, 1 << 6, 1 << 7, 1 << 11
ARITHMETIC_FLAGS = 0x8D5
"""CF, PF, AF, ZF, SF and OF."""


def _elements(value: int, bits: int, count: int, signed: bool) -> list[int]:
    limit = 1 << bits
    parts = [value >> bits * index & limit - 1 for index in range(count)]
    return [part - limit if signed and part >> bits - 1 else part for part in parts]


def add_neighbours(operation: int, operand: int, bits: int) -> int:
    """0F 38 `operation` with both operands the same register of so many bits."""
    width = 32 if operation & 3 == 2 else 16
    sign = -1 if operation & 4 else 1
    parts = _elements(operand, width, bits // width, signed=True)
    sums = [low + sign * high for low, high in zip(parts[::2], parts[1::2], strict=True)]
    if operation & 3 == 3:
        limit = 1 << width - 1
        sums = [min(max(value, -limit), limit - 1) for value in sums]
    half = 0
    for value in reversed(sums):
        half = half << width | value & (1 << width) - 1
    return half << bits // 2 | half


class Comparison(NamedTuple):
    """What PCMPxSTRx gives: for ECX, for XMM0, and of the arithmetic flags."""

    place: int
    mask: int
    flags: int


def compare_strings(
    control: int, first: int, second: int, lengths: tuple[int, int] | None
) -> Comparison:
    """By the instruction's `control` byte. Strings without `lengths` end at a zero."""
    bits = 16 if control & 1 else 8
    count = _WIDTH // bits
    a, b = (_elements(value, bits, count, bool(control & 2)) for value in (first, second))
    if lengths is None:
        a, b = (text[: text.index(0)] if 0 in text else text for text in (a, b))
    else:
        a, b = a[: min(abs(lengths[0]), count)], b[: min(abs(lengths[1]), count)]
    found = [_matches(control >> 2 & 3, a, b, at, count) for at in range(count)]
    if control & 0x10:
        found = [
            not match if at < len(b) or not control & 0x20 else match
            for at, match in enumerate(found)
        ]
    matching = [at for at, match in enumerate(found) if match]
    flags = (
        (_CARRY if matching else 0)
        | (_ZERO if len(b) < count else 0)
        | (_SIGN if len(a) < count else 0)
        | (_OVERFLOW if found[0] else 0)
    )
    wide = bool(control & 0x40)
    place = matching[-1 if wide else 0] if matching else count
    step, ones = (bits, (1 << bits) - 1) if wide else (1, 1)
    return Comparison(place, sum(ones << step * at for at in matching), flags)


def _matches(aggregation: int, a: list[int], b: list[int], at: int, count: int) -> bool:
    """Whether element `at` of `b` is one that `a` asks for."""
    match aggregation:
        case 0:
            return at < len(b) and b[at] in a
        case 1:
            pairs = zip(a[::2], a[1::2], strict=False)
            return at < len(b) and any(low <= b[at] <= high for low, high in pairs)
        case 2:
            return a[at : at + 1] == b[at : at + 1]
        case _:
            wanted = a[: count - at]
            return b[at : at + len(wanted)] == wanted

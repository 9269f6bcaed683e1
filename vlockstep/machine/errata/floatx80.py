"""The x87's numbers: what 80 bits mean, and which of them come nearest to an exact value."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple

_BIAS, _FRACTION = 16383, 63
_SPECIAL = 0x7FFF
_SCALE = 3 << 13
_INTEGER, _QUIET = 1 << 63, 1 << 62
LEAST = 1 - _BIAS - _FRACTION
"""The exponent of the last bit of a denormal number."""
INFINITY = _SPECIAL << 64 | _INTEGER
DEFAULT_NAN = 0xFFFF << 64 | _INTEGER | _QUIET
ONE = _BIAS << 64 | _INTEGER
_LARGEST = (_SPECIAL << 64) - 1
SIGN = 1 << 79


class Flags(IntFlag):
    """Exceptions of the x87, as in its status and control words."""

    NONE = 0
    INVALID, DENORMAL, ZERO_DIVIDE, OVERFLOW, UNDERFLOW, PRECISION, STACK = (
        1 << bit for bit in range(7)
    )


class Kind(IntEnum):
    ZERO, FINITE, INFINITE, QUIET, SIGNALING, UNSUPPORTED = range(6)


class Rounding(IntEnum):
    NEAREST, DOWN, UP, ZERO = range(4)


class Rounded(NamedTuple):
    bits: int
    flags: Flags
    up: bool
    """Whether the magnitude was rounded up."""


class Floatx80(NamedTuple):
    """80 bits. A finite one is `value[0] * 2 ** value[1]`."""

    bits: int

    @property
    def negative(self) -> bool:
        return bool(self.bits & SIGN)

    @property
    def significand(self) -> int:
        return self.bits & (1 << 64) - 1

    @property
    def _field(self) -> int:
        return self.bits >> 64 & _SPECIAL

    @property
    def kind(self) -> Kind:
        significand = self.significand
        if self._field == 0:
            return Kind.FINITE if significand else Kind.ZERO
        if not significand & _INTEGER:
            return Kind.UNSUPPORTED
        if self._field < _SPECIAL:
            return Kind.FINITE
        if significand == _INTEGER:
            return Kind.INFINITE
        return Kind.QUIET if significand & _QUIET else Kind.SIGNALING

    @property
    def nan(self) -> bool:
        return self.kind in (Kind.QUIET, Kind.SIGNALING)

    @property
    def denormal(self) -> bool:
        return self._field == 0 and self.significand != 0

    @property
    def value(self) -> tuple[int, int]:
        magnitude = -self.significand if self.negative else self.significand
        return magnitude, max(self._field, 1) - _BIAS - _FRACTION

    @property
    def quiet(self) -> int:
        return self.bits | _QUIET


def round_off(
    value: int, exponent: int, rounding: Rounding, exact: bool, unmasked: Flags = Flags.NONE
) -> Rounded:
    """The number nearest to `value * 2 ** exponent`, not 0, in the direction of `rounding`. If
    `value` is not `exact`, the true one is a little further from zero.

    What over- or underflows unmasked has an exponent that is less or more by 3 * 2 ** 13.
    """
    negative, magnitude, original = value < 0, abs(value), exponent
    if not exact:
        magnitude, exponent = magnitude << 64 | 1, exponent - 64
    sign = SIGN if negative else 0
    shift = max(magnitude.bit_length() - 64, LEAST - exponent)
    if shift <= 0:
        kept, rest, half = magnitude << -shift, 0, 1
    else:
        kept, rest, half = magnitude >> shift, magnitude & (1 << shift) - 1, 1 << shift - 1
    match rounding:
        case Rounding.NEAREST:
            up = rest > half or (rest == half and bool(kept & 1))
        case Rounding.ZERO:
            up = False
        case _:
            up = rest != 0 and negative == (rounding is Rounding.DOWN)
    kept += up
    exponent += shift
    if kept >> 64:
        kept, exponent = kept >> 1, exponent + 1
    flags = Flags.PRECISION if rest else Flags.NONE
    if not kept & _INTEGER:
        if unmasked & Flags.UNDERFLOW:
            scaled = round_off(value, original + _SCALE, rounding, exact)
            return scaled._replace(flags=scaled.flags | Flags.UNDERFLOW)
        return Rounded(sign | kept, flags | (Flags.UNDERFLOW if rest else Flags.NONE), up)
    field = exponent - LEAST + 1
    if field < _SPECIAL:
        return Rounded(sign | field << 64 | kept, flags, up)
    if unmasked & Flags.OVERFLOW:
        scaled = round_off(value, original - _SCALE, rounding, exact)
        return scaled._replace(flags=scaled.flags | Flags.OVERFLOW)
    outward = rounding is Rounding.NEAREST or (
        rounding is not Rounding.ZERO and negative == (rounding is Rounding.DOWN)
    )
    overflow = Flags.OVERFLOW | Flags.PRECISION
    return Rounded(sign | (INFINITY if outward else _LARGEST), overflow, outward)

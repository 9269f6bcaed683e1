"""Elementary functions in integer arithmetic: the same bits on every host.

A number is a pair: `value * 2 ** exponent`. What is returned has a relative error below 2 ** -100.
Inside, numbers are fixed-point with `_BITS` bits behind the point.
"""

from __future__ import annotations

from functools import cache
from math import isqrt

Number = tuple[int, int]

_BITS = 320
_ONE = 1 << _BITS
_GUARD = 128
_TINY = -110
"""Below 2 ** this a function is its first term."""


def _fixed(number: Number, bits: int = _BITS) -> int:
    value, exponent = number
    shift = bits + exponent
    return value << shift if shift >= 0 else value >> -shift


def size(number: Number) -> int:
    """The exponent of the least power of two that is larger than the magnitude."""
    return number[0].bit_length() + number[1]


def _odd_series(x: int, sign: int) -> int:
    """The sum of sign**k * x**(2k+1) / (2k+1)."""
    square = sign * (x * x >> _BITS)
    total, power, divisor = x, x, 1
    while power not in (0, -1):
        power = power * square >> _BITS
        divisor += 2
        total += power // divisor
    return total


@cache
def _ln2() -> int:
    return 2 * _odd_series(_ONE // 3, 1)


@cache
def _pi() -> int:
    """With `_GUARD` more bits, by Machin's formula."""
    one = 1 << _BITS + _GUARD + 16

    def arctan_of_inverse(n: int) -> int:
        total = power = one // n
        divisor, sign = 1, 1
        while power:
            power //= n * n
            divisor, sign = divisor + 2, -sign
            total += sign * (power // divisor)
        return total

    return 16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239) >> 16


def pi(quarters: int) -> Number:
    """So many quarters of it."""
    return quarters * _pi(), -(_BITS + _GUARD) - 2


def sine_cosine(x: Number) -> tuple[Number, Number]:
    """Of less than 2 ** 64."""
    if size(x) < _TINY:
        return x, (_ONE, -_BITS)
    half_pi = _pi() >> 1
    angle = _fixed(x, _BITS + _GUARD)
    quadrant = (2 * angle + half_pi) // (2 * half_pi)
    sine, cosine = _near_zero(angle - quadrant * half_pi >> _GUARD)
    for _ in range(quadrant % 4):
        sine, cosine = cosine, -sine
    return (sine, -_BITS), (cosine, -_BITS)


def _near_zero(x: int) -> tuple[int, int]:
    """Sine and cosine by their series."""
    sums, term, n = [0, 0, 0, 0], _ONE, 0
    while term not in (0, -1):
        sums[n % 4] += term
        n += 1
        term = (term * x >> _BITS) // n
    return sums[1] - sums[3], sums[0] - sums[2]


def divide(a: Number, b: Number) -> Number:
    """a / b; the quotient of the magnitudes is rounded to zero."""
    shift = max(_BITS + b[0].bit_length() - a[0].bit_length(), 0)
    quotient = (abs(a[0]) << shift) // abs(b[0])
    return (quotient if (a[0] < 0) == (b[0] < 0) else -quotient), a[1] - b[1] - shift


def arctangent(y: Number, x: Number) -> Number:
    """The angle of the point (x, y), neither of which is 0."""
    ratio = divide((abs(y[0]), y[1]), (abs(x[0]), x[1]))
    if size(ratio) < _TINY and x[0] > 0:
        return (ratio[0] if y[0] > 0 else -ratio[0]), ratio[1]
    half_pi = _pi() >> _GUARD + 1
    if size(ratio) > 0:
        angle = half_pi - _arctangent(_fixed(divide((1, 0), ratio)))
    else:
        angle = _arctangent(_fixed(ratio))
    if x[0] < 0:
        angle = 2 * half_pi - angle
    return (angle if y[0] > 0 else -angle), -_BITS


def _arctangent(x: int) -> int:
    """Of 0 to 1."""
    halvings = 3
    for _ in range(halvings):
        x = (x << _BITS) // (_ONE + isqrt((_ONE << _BITS) + x * x))
    return _odd_series(x, -1) << halvings


def power_of_two_less_one(x: Number) -> Number:
    """2 ** x - 1, for -1 < x < 1, x not 0."""
    if size(x) < _TINY:
        return x[0] * _ln2(), x[1] - _BITS
    exponent = _fixed(x) * _ln2() >> _BITS
    total, term, n = 0, exponent, 1
    while term not in (0, -1):
        total += term
        n += 1
        term = (term * exponent >> _BITS) // n
    return total, -_BITS


def logarithm(x: Number) -> Number:
    """To the base of 2, for x > 0. Exact for powers of two."""
    value = x[0]
    length = value.bit_length()
    whole = length + x[1] - 1
    if 1 << length - 1 == value:
        return whole << _BITS, -_BITS
    if value * value >> 2 * length - 1:  # above the square root of two
        length, whole = length + 1, whole + 1
    one = 1 << length - 1
    natural = 2 * _odd_series(((value - one) << _BITS) // (value + one), 1)
    return (whole << _BITS) + (natural << _BITS) // _ln2(), -_BITS


def logarithm_of_one_more(x: Number) -> Number:
    """The one of 1 + x, for x > -1, x not 0."""
    if size(x) < _TINY:
        return (x[0] << 2 * _BITS) // _ln2(), x[1] - _BITS
    return logarithm((_ONE + _fixed(x), -_BITS))

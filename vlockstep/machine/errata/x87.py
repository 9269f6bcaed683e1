"""Remainders and elementary functions of the x87, as the Intel SDM tells them.

Unicorn's remainders lose bits, and its functions are those of the host's C library. Here remainders
are exact, and what a function gives is the number nearest to the exact value in the direction that
the control word asks for, to less than a thousandth of an ulp.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from vlockstep.machine.errata import functions
from vlockstep.machine.errata.cpu import Registers
from vlockstep.machine.errata.floatx80 import (
    DEFAULT_NAN,
    INFINITY,
    ONE,
    SIGN,
    Flags,
    Floatx80,
    Kind,
    Rounding,
    round_off,
)

_C0, _C1, _C2, _C3 = 1 << 8, 1 << 9, 1 << 10, 1 << 14
_CONDITIONS = _C0 | _C1 | _C2 | _C3
_SUMMARY, _BUSY = 1 << 7, 1 << 15
_BEFORE = Flags.INVALID | Flags.DENORMAL | Flags.ZERO_DIVIDE | Flags.STACK
"""Exceptions that, unmasked, leave the operands as they are."""
_MASKABLE = 0x3F
_REGISTERS = 8
_ARGUMENT_LIMIT = 63


class _Unmasked(Exception):
    """An exception that leaves the operands as they are."""


class X87:
    """The FPU whose state is in `registers`, for one instruction."""

    def __init__(self, registers: Registers) -> None:
        self._registers = registers
        self._status = registers["fpsw"]
        self._top = self._status >> 11 & 7
        self._control = registers["fpcw"]
        self._tags = registers["fptag"]

    def execute(self, opcode: int) -> None:
        """The instruction D9 `opcode`, which is one of `INSTRUCTIONS`."""
        self._status &= ~_C1
        with suppress(_Unmasked):
            INSTRUCTIONS[opcode](self)
        self._status = self._status & ~(7 << 11) | self._top << 11
        self._registers["fpsw"] = self._status
        self._registers["fptag"] = self._tags

    # The stack

    def _name(self, index: int) -> str:
        return f"fp{(self._top + index) % _REGISTERS}"

    def _empty(self, index: int) -> bool:
        return self._tags >> 2 * ((self._top + index) % _REGISTERS) & 3 == 3

    def _tag(self, index: int, tag: int) -> None:
        shift = 2 * ((self._top + index) % _REGISTERS)
        self._tags = self._tags & ~(3 << shift) | tag << shift

    def _operand(self, index: int = 0) -> Floatx80:
        return Floatx80(self._registers[self._name(index)] & (1 << 80) - 1)

    def _store(self, bits: int, index: int = 0) -> None:
        self._registers[self._name(index)] = bits
        self._tag(index, 0)

    def _pop(self) -> None:
        self._tag(0, 3)
        self._top = (self._top + 1) % _REGISTERS

    def _push(self, bits: int) -> None:
        self._top = (self._top - 1) % _REGISTERS
        self._store(bits)

    # Exceptions

    @property
    def _rounding(self) -> Rounding:
        return Rounding(self._control >> 10 & 3)

    def _signal(self, flags: Flags) -> None:
        self._status |= flags
        unmasked = flags & _MASKABLE & ~self._control
        if unmasked:
            self._status |= _SUMMARY | _BUSY
        if unmasked & _BEFORE:
            raise _Unmasked

    def _invalid(self) -> int:
        self._signal(Flags.INVALID)
        return DEFAULT_NAN

    def _missing(self, *indices: int) -> bool:
        """Whether one of these registers is empty: then the result is the default NaN."""
        if not any(map(self._empty, indices)):
            return False
        self._signal(Flags.INVALID | Flags.STACK)
        return True

    def _full(self) -> bool:
        """Whether there is no place for one more: then both results are the default NaN."""
        if self._empty(_REGISTERS - 1):
            return False
        self._status |= _C1
        self._signal(Flags.INVALID | Flags.STACK)
        return True

    def _not_a_number(self, *operands: Floatx80) -> int | None:
        """The result, if an operand is a NaN or no number at all."""
        if any(operand.kind is Kind.UNSUPPORTED for operand in operands):
            return self._invalid()
        nans = [operand for operand in operands if operand.nan]
        if any(operand.kind is Kind.SIGNALING for operand in nans):
            self._signal(Flags.INVALID)
            if len({operand.kind for operand in nans}) == 2:
                nans = [operand for operand in nans if operand.kind is Kind.QUIET]
        if nans:
            return max(nans, key=lambda nan: (nan.significand, not nan.negative)).quiet
        return None

    def _check_denormals(self, *operands: Floatx80) -> None:
        if any(operand.denormal for operand in operands):
            self._signal(Flags.DENORMAL)

    def _rounded(self, number: functions.Number, exact: bool = False) -> int:
        unmasked = Flags(_MASKABLE & ~self._control)
        bits, flags, up = round_off(*number, self._rounding, exact, unmasked)
        self._signal(flags)
        self._status |= _C1 if up else 0
        return bits

    # Remainders

    def truncated_remainder(self) -> None:
        self._remainder(nearest=False)

    def nearest_remainder(self) -> None:
        self._remainder(nearest=True)

    def _remainder(self, nearest: bool) -> None:
        self._status &= ~_C2
        if self._missing(0, 1):
            self._store(DEFAULT_NAN)
            return
        x, y = self._operand(), self._operand(1)
        result = self._not_a_number(x, y)
        if result is None and (x.kind is Kind.INFINITE or y.kind is Kind.ZERO):
            result = self._invalid()
        if result is not None:
            self._store(result)
            return
        self._check_denormals(x, y)
        self._status &= ~_CONDITIONS
        if x.kind is Kind.FINITE and y.kind is Kind.FINITE:
            self._reduce(x, y, nearest)
        elif x.kind is Kind.FINITE:
            self._store(self._rounded(x.value, exact=True))

    def _reduce(self, x: Floatx80, y: Floatx80, nearest: bool) -> None:
        difference = functions.size(x.value) - functions.size(y.value)
        exponent = min(x.value[1], y.value[1])
        dividend, divisor = (abs(n) << e - exponent for n, e in (x.value, y.value))
        if difference >= 64:
            self._status |= _C2
            divisor <<= difference - (32 + difference % 32)
        quotient, rest = divmod(dividend, divisor)
        if difference < 64:
            if nearest and (2 * rest > divisor or (2 * rest == divisor and quotient & 1)):
                quotient, rest = quotient + 1, rest - divisor
            for bit, condition in enumerate((_C1, _C3, _C0)):
                if quotient >> bit & 1:
                    self._status |= condition
        if rest == 0:
            self._store(x.bits & SIGN)
        else:
            value = -rest if x.negative else rest
            self._store(self._rounded((value, exponent), exact=True))

    # Functions of ST(0)

    def _beyond(self, x: Floatx80) -> bool:
        """Whether a trigonometric function leaves its operand as it is, since it is too large."""
        if x.kind is Kind.FINITE and functions.size(x.value) > _ARGUMENT_LIMIT:
            self._status |= _C2
            return True
        return False

    def _trigonometric(self, function: Callable[[Floatx80], list[int]], results: int) -> None:
        """Store the first of the results and push the others."""
        self._status &= ~_C2
        missing = self._missing(0)
        if not missing and results > 1:
            missing = self._full()
        if missing:
            values = [DEFAULT_NAN] * results
        else:
            x = self._operand()
            if self._beyond(x):
                return
            nan = self._not_a_number(x)
            if nan is None and x.kind is Kind.INFINITE:
                nan = self._invalid()
            if nan is not None:
                values = [nan] * results
            else:
                self._check_denormals(x)
                values = function(x)
        self._store(values[0])
        for value in values[1:]:
            self._push(value)

    def _sine_of(self, x: Floatx80) -> int:
        if x.kind is Kind.ZERO:
            return x.bits
        return self._rounded(functions.sine_cosine(x.value)[0])

    def _cosine_of(self, x: Floatx80) -> int:
        if x.kind is Kind.ZERO:
            return ONE
        return self._rounded(functions.sine_cosine(x.value)[1])

    def _tangent_of(self, x: Floatx80) -> int:
        if x.kind is Kind.ZERO:
            return x.bits
        return self._rounded(functions.divide(*functions.sine_cosine(x.value)))

    def sine(self) -> None:
        self._trigonometric(lambda x: [self._sine_of(x)], 1)

    def cosine(self) -> None:
        self._trigonometric(lambda x: [self._cosine_of(x)], 1)

    def sine_and_cosine(self) -> None:
        self._trigonometric(lambda x: [self._sine_of(x), self._cosine_of(x)], 2)

    def tangent(self) -> None:
        self._trigonometric(lambda x: [self._tangent_of(x), ONE], 2)

    def power_less_one(self) -> None:
        if self._missing(0):
            self._store(DEFAULT_NAN)
            return
        x = self._operand()
        result = self._not_a_number(x)
        if result is None:
            self._check_denormals(x)
            result = self._power_less_one_of(x)
        self._store(result)

    def _power_less_one_of(self, x: Floatx80) -> int:
        minus_one = ONE | SIGN
        match x.kind:
            case Kind.INFINITE:
                return minus_one if x.negative else x.bits
            case Kind.ZERO:
                return x.bits
        if x.bits == minus_one:
            return self._rounded((-1, -1), exact=True)
        if functions.size(x.value) > 0:  # undefined beyond 1
            return x.bits
        return self._rounded(functions.power_of_two_less_one(x.value))

    # Functions of ST(1) and ST(0), which are popped into one

    def _binary(self, function: Callable[[Floatx80, Floatx80], int]) -> None:
        result = DEFAULT_NAN
        if not self._missing(0, 1):
            y, x = self._operand(1), self._operand()
            nan = self._not_a_number(y, x)
            result = function(y, x) if nan is None else nan
        self._store(result, 1)
        self._pop()

    def arctangent(self) -> None:
        self._binary(self._arctangent_of)

    def _arctangent_of(self, y: Floatx80, x: Floatx80) -> int:
        self._check_denormals(y, x)
        quarters = None
        match y.kind, x.kind:
            case Kind.INFINITE, Kind.INFINITE:
                quarters = 3 if x.negative else 1
            case (Kind.INFINITE, _) | (Kind.FINITE, Kind.ZERO):
                quarters = 2
            case (_, Kind.INFINITE) | (Kind.ZERO, _):
                quarters = 4 if x.negative else 0
        if quarters is None:
            return self._rounded(functions.arctangent(y.value, x.value))
        if quarters == 0:
            return y.bits & SIGN
        value, exponent = functions.pi(quarters)
        return self._rounded((-value if y.negative else value, exponent))

    def logarithm_times(self) -> None:
        self._binary(self._logarithm_times)

    def _logarithm_times(self, y: Floatx80, x: Floatx80) -> int:
        if x.kind is Kind.ZERO:
            return self._pole(y)
        if x.negative:
            return self._invalid()
        if x.kind is Kind.INFINITE:
            return self._product(y, 1, None)
        logarithm = functions.logarithm(x.value)
        sign = (logarithm[0] > 0) - (logarithm[0] < 0)
        self._check_unless_invalid(y, sign, x)
        exact = x.significand & (x.significand - 1) == 0
        return self._product(y, sign, logarithm, exact)

    def _pole(self, y: Floatx80) -> int:
        """y times minus infinity."""
        if y.kind is Kind.ZERO:
            return self._invalid()
        if y.kind is not Kind.INFINITE:
            self._signal(Flags.ZERO_DIVIDE)
        return INFINITY | (0 if y.negative else SIGN)

    def logarithm_of_one_more_times(self) -> None:
        self._binary(self._logarithm_of_one_more_times)

    def _logarithm_of_one_more_times(self, y: Floatx80, x: Floatx80) -> int:
        if x.kind is Kind.INFINITE:
            return self._invalid() if x.negative else self._product(y, 1, None)
        if x.kind is Kind.ZERO:
            if y.kind is Kind.INFINITE:
                return self._invalid()
            self._check_denormals(y)
            return (x.bits ^ y.bits) & SIGN
        if x.negative and functions.size(x.value) > 0:  # undefined from -1 down
            return self._invalid()
        self._check_denormals(y, x)
        logarithm = functions.logarithm_of_one_more(x.value)
        return self._product(y, -1 if x.negative else 1, logarithm)

    def _check_unless_invalid(self, y: Floatx80, sign: int, x: Floatx80) -> None:
        if not (y.kind is Kind.INFINITE and sign == 0):
            self._check_denormals(y, x)

    def _product(
        self, y: Floatx80, sign: int, factor: functions.Number | None, exact: bool = False
    ) -> int:
        """y times the factor, which has this sign; None is infinity."""
        negative = y.negative != (sign < 0)
        if y.kind is Kind.INFINITE:
            return self._invalid() if sign == 0 else INFINITY | (SIGN if negative else 0)
        if factor is None:
            if y.kind is Kind.ZERO:
                return self._invalid()
            self._check_denormals(y)
            return INFINITY | (SIGN if negative else 0)
        if y.kind is Kind.ZERO or sign == 0:
            return SIGN if negative else 0
        value, exponent = y.value
        return self._rounded((value * factor[0], exponent + factor[1]), exact)


INSTRUCTIONS: dict[int, Callable[[X87], None]] = {
    0xF0: X87.power_less_one,
    0xF1: X87.logarithm_times,
    0xF2: X87.tangent,
    0xF3: X87.arctangent,
    0xF5: X87.nearest_remainder,
    0xF8: X87.truncated_remainder,
    0xF9: X87.logarithm_of_one_more_times,
    0xFB: X87.sine_and_cosine,
    0xFE: X87.sine,
    0xFF: X87.cosine,
}

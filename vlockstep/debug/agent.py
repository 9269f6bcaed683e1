"""Conditions of breakpoints as gdb sends them: bytecode of its "agent expressions".

They are evaluated where the breakpoint is met, thousands of times faster than by gdb. What is not
known here, or fails, lets the guest stop, so that gdb looks itself.
"""

from __future__ import annotations

from collections.abc import Callable

from vlockstep.debug.stops import Condition, Read
from vlockstep.debug.target import REGISTERS, encode
from vlockstep.machine.registers import Registers

_WORD = (1 << 64) - 1
_MOST_STEPS, _DEEPEST, LONGEST = 10_000, 100, 4096


class _Failed(Exception):
    pass


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _divided(a: int, b: int) -> int:
    if not b:
        raise _Failed
    quotient = abs(a) // abs(b)
    return -quotient if (a < 0) != (b < 0) else quotient


def _remainder(a: int, b: int) -> int:
    return a - b * _divided(a, b)


_BINARY: dict[int, Callable[[int, int], int]] = {
    0x02: lambda a, b: a + b,
    0x03: lambda a, b: a - b,
    0x04: lambda a, b: a * b,
    0x05: lambda a, b: _divided(_signed(a), _signed(b)),
    0x06: _divided,
    0x07: lambda a, b: _remainder(_signed(a), _signed(b)),
    0x08: _remainder,
    0x09: lambda a, b: a << b if b < 64 else 0,
    0x0A: lambda a, b: _signed(a) >> min(b, 63),
    0x0B: lambda a, b: a >> b if b < 64 else 0,
    0x0F: lambda a, b: a & b,
    0x10: lambda a, b: a | b,
    0x11: lambda a, b: a ^ b,
    0x13: lambda a, b: int(a == b),
    0x14: lambda a, b: int(_signed(a) < _signed(b)),
    0x15: lambda a, b: int(a < b),
}
_UNARY: dict[int, Callable[[int], int]] = {0x0E: lambda a: int(not a), 0x12: lambda a: ~a}
_LOADS = {0x17: 1, 0x18: 2, 0x19: 4, 0x1A: 8}
_CONSTANTS = {0x22: 1, 0x23: 2, 0x24: 4, 0x25: 8}
_EXTEND, _ZERO_EXTEND = 0x16, 0x2A
_IF_GOTO, _GOTO, _REGISTER, _END = 0x20, 0x21, 0x26, 0x27
_DUP, _POP, _SWAP, _PICK, _ROTATE = 0x28, 0x29, 0x2B, 0x32, 0x33


def condition(codes: list[bytes]) -> Condition:
    """Whether any of the expressions is not 0."""

    def holds(registers: Callable[[], Registers], read: Read) -> bool:
        found = registers()
        return any(_holds(code, found, read) for code in codes)

    return holds


def _holds(code: bytes, registers: Registers, read: Read) -> bool:
    try:
        return evaluate(code, registers, read) != 0
    except (_Failed, IndexError):
        return True


def evaluate(code: bytes, registers: Registers, read: Read) -> int:
    """What is on top of the stack at the end. Raises `IndexError` or `_Failed` for what is none."""
    stack: list[int] = []
    at = 0

    def operand(size: int) -> int:
        nonlocal at
        if at + size > len(code):
            raise _Failed
        at += size
        return int.from_bytes(code[at - size : at], "big")

    for _ in range(_MOST_STEPS):
        operation = operand(1)
        if operation == _END:
            return stack[-1]
        if operation in _BINARY:
            right, left = stack.pop(), stack.pop()
            stack.append(_BINARY[operation](left, right) & _WORD)
        elif operation in _UNARY:
            stack.append(_UNARY[operation](stack.pop()) & _WORD)
        elif operation in _LOADS:
            size = _LOADS[operation]
            content = read(stack.pop(), size)
            if len(content) < size:
                raise _Failed
            stack.append(int.from_bytes(content, "little"))
        elif operation in _CONSTANTS:
            stack.append(operand(_CONSTANTS[operation]))
        elif operation in (_EXTEND, _ZERO_EXTEND):
            _extend(stack, operand(1), operation == _EXTEND)
        elif operation == _REGISTER:
            number = operand(2)
            if number >= len(REGISTERS):
                raise _Failed
            stack.append(int.from_bytes(encode(number, registers), "little") & _WORD)
        elif operation in (_GOTO, _IF_GOTO):
            goal = operand(2)
            if operation == _GOTO or stack.pop():
                at = goal
        else:
            _arrange(stack, operation, operand)
        if len(stack) > _DEEPEST:
            break
    raise _Failed


def _extend(stack: list[int], bits: int, signed: bool) -> None:
    if not 0 < bits <= 64:
        raise _Failed
    value = stack.pop() & (1 << bits) - 1
    if signed and value >> bits - 1:
        value -= 1 << bits
    stack.append(value & _WORD)


def _arrange(stack: list[int], operation: int, operand: Callable[[int], int]) -> None:
    if operation == _DUP:
        stack.append(stack[-1])
    elif operation == _POP:
        stack.pop()
    elif operation == _SWAP:
        stack[-1], stack[-2] = stack[-2], stack[-1]
    elif operation == _PICK:
        stack.append(stack[-1 - operand(1)])
    elif operation == _ROTATE:
        stack[-3:] = stack[-1:] + stack[-3:-1]
    else:
        raise _Failed

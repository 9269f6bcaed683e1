"""RDRAND and RDSEED, which a guest asks its World for. Unicorn would execute them with the host's
randomness; on the models that it is given here it raises #UD instead, at which they are decoded.
"""

from __future__ import annotations

from typing import NamedTuple

from vlockstep.machine.errata.cpu import GENERAL
from vlockstep.machine.report import LONGEST_INSTRUCTION

_OPERAND_SIZE = 0x66
_WITHOUT_EFFECT = frozenset({0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x67})
"""Prefixes for operands in memory."""
_OPCODE = b"\x0f\xc7"
_FEATURES = {6: "rdrand", 7: "rdseed"}
"""By the field `reg` of ModRM."""


class RandomRead(NamedTuple):
    """An instruction of `length` bytes that puts `bits` random ones into a `register`; only CPU
    models with the `feature` have it."""

    feature: str
    register: str
    bits: int
    length: int

    def merge(self, before: int, value: int) -> int:
        """What is in the register then: 32 bits clear its upper half, 16 leave the rest alone."""
        mask = (1 << self.bits) - 1
        return (before & ~mask if self.bits == 16 else 0) | value & mask


def decode(code: bytes) -> RandomRead | None:
    """The one at the beginning of 64-bit `code`, if there is one."""
    at, bits, rex = 0, 32, 0
    while code[at : at + 1] and (code[at] == _OPERAND_SIZE or code[at] in _WITHOUT_EFFECT):
        bits = 16 if code[at] == _OPERAND_SIZE else bits
        at += 1
    if code[at : at + 1] and code[at] & 0xF0 == 0x40:
        rex = code[at]
        at += 1
    opcode, length = code[at : at + 2], at + 3
    if opcode != _OPCODE or not length <= min(len(code), LONGEST_INSTRUCTION):
        return None
    mode, kind, register = code[at + 2] >> 6, code[at + 2] >> 3 & 7, code[at + 2] & 7
    if mode != 3 or kind not in _FEATURES:
        return None
    if rex & 8:
        bits = 64
    return RandomRead(_FEATURES[kind], GENERAL[register | (rex & 1) << 3], bits, length)

"""One instruction of 64-bit code, as far as errata need it taken apart."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from vlockstep.machine.errata.boundaries import behind_prefixes, rex_of
from vlockstep.machine.errata.cpu import GENERAL, Registers

_BASES = {0x64: "fs_base", 0x65: "gs_base"}
_MASK = (1 << 64) - 1


class Operands(NamedTuple):
    """A ModRM byte with what belongs to it. `address` is None for a register, `rm`; it takes the
    RIP behind the instruction."""

    reg: int
    rm: int
    address: Callable[[Registers, int], int] | None
    end: int
    """Offset of what follows."""


class Instruction:
    """The one that `code` begins with: prefixes, and from `opcode` on the rest."""

    def __init__(self, code: bytes) -> None:
        self.code = code
        self.opcode = behind_prefixes(code)
        self.prefixes = frozenset(code[: self.opcode])
        self.rex = rex_of(code[: self.opcode])

    def begins(self, opcode: bytes) -> bool:
        return self.code.startswith(opcode, self.opcode)

    def operands(self, at: int) -> Operands:
        """Of the ModRM byte at offset `at`. `IndexError` or `struct.error` if it is cut off."""
        code, rex = self.code, self.rex
        modrm = code[at]
        mode, reg, rm = modrm >> 6, modrm >> 3 & 7 | (rex & 4) << 1, modrm & 7
        if mode == 3:
            return Operands(reg, rm | (rex & 1) << 3, None, at + 1)
        at += 1
        base: int | None = rm | (rex & 1) << 3
        index, scale = None, 0
        if rm == 4:
            sib = code[at]
            at += 1
            base, index, scale = sib & 7 | (rex & 1) << 3, sib >> 3 & 7 | (rex & 2) << 2, sib >> 6
            index = None if index == 4 else index
            if sib & 7 == 5 and mode == 0:
                base = None
        relative = rm == 5 and mode == 0
        displacement, length = 0, 0
        if relative or base is None or mode == 2:
            displacement, length = struct.unpack_from("<i", code, at)[0], 4
        elif mode == 1:
            displacement, length = struct.unpack_from("<b", code, at)[0], 1
        short = 0x67 in self.prefixes
        segment = next((_BASES[p] for p in self.code[: self.opcode][::-1] if p in _BASES), None)

        def address(registers: Registers, following: int) -> int:
            total = displacement
            if relative:
                total += following
            elif base is not None:
                total += registers[GENERAL[base]]
            if index is not None:
                total += registers[GENERAL[index]] << scale
            if short:
                total &= 0xFFFFFFFF
            return total + (registers[segment] if segment else 0) & _MASK

        return Operands(reg, rm | (rex & 1) << 3, address, at + length)

"""What the instruction really does that Unicorn is about to get wrong."""

from __future__ import annotations

import struct
from collections.abc import Callable

from vlockstep.machine.errata.boundaries import REX
from vlockstep.machine.errata.cpu import Cpu
from vlockstep.machine.errata.finder import find_exchanges
from vlockstep.machine.errata.instruction import Instruction
from vlockstep.machine.errata.vectors import (
    ARITHMETIC_FLAGS,
    add_neighbours,
    compare_strings,
)
from vlockstep.machine.errata.x87 import INSTRUCTIONS, X87

_INVALID_OPCODE = 6
_EMULATED, _TASK_SWITCHED = 1 << 2, 1 << 3  # in CR0
_OSFXSR = 1 << 9  # in CR4
_ZERO_FLAG = 1 << 6
_LOCK, _WIDE, _SHORT = 0xF0, 0x66, 0x67
_PREFIXED = frozenset(b"\xf0\xf2\xf3")
_MASK = (1 << 64) - 1

Repair = Callable[[], int | None]
"""Does all that the instruction does and gives None; or gives the vector of the exception that it
raises, and does nothing."""


class Repairs:
    """Those of a CPU with these `features`. `read(address, size)` gives what the guest can read
    there, which may be less."""

    def __init__(
        self, cpu: Cpu, features: frozenset[str], read: Callable[[int, int], bytes]
    ) -> None:
        self._cpu = cpu
        self._features = features
        self._read = read

    def find(self, address: int, code: bytes, first: bool) -> Repair | None:
        """The one of the instruction at `address`, which is RIP; None if Unicorn is right. `first`:
        a block begins with it."""
        instruction = Instruction(code)
        try:
            if not self._cpu.in_long_code:
                return None if instruction.prefixes & REX else self._x87(address, instruction)
            if 0 in find_exchanges(code):
                return None if first else _begin_a_block
            for kind in (self._x87, self._vex, self._vector, self._strings, self._loop):
                if repair := kind(address, instruction):
                    return repair
        except (IndexError, struct.error):  # cut off: its end cannot be fetched
            pass
        return None

    def _usable(self, forbidden: int) -> bool:
        """Whether no exception comes first, which Unicorn raises."""
        return not self._cpu["cr0"] & (forbidden | _TASK_SWITCHED)

    def _x87(self, address: int, instruction: Instruction) -> Repair | None:
        if not instruction.begins(b"\xd9") or _LOCK in instruction.prefixes:
            return None
        opcode = instruction.code[instruction.opcode + 1]
        if opcode not in INSTRUCTIONS or not self._usable(_EMULATED):
            return None

        def execute() -> None:
            X87(self._cpu).execute(opcode)
            self._cpu["rip"] = address + instruction.opcode + 2

        return execute

    def _vex(self, _address: int, instruction: Instruction) -> Repair | None:
        """There is no AVX in any model."""
        if instruction.code[instruction.opcode] in b"\xc4\xc5":
            return lambda: _INVALID_OPCODE
        return None

    def _vector(self, address: int, instruction: Instruction) -> Repair | None:
        if not instruction.begins(b"\x0f\x38") or instruction.prefixes & _PREFIXED:
            return None
        operation = instruction.code[instruction.opcode + 2]
        if operation not in (1, 2, 3, 5, 6, 7) or "ssse3" not in self._features:
            return None
        operands = instruction.operands(instruction.opcode + 3)
        if operands.address is not None or not self._usable(_EMULATED):
            return None
        if _WIDE in instruction.prefixes:
            if operands.reg != operands.rm or not self._cpu["cr4"] & _OSFXSR:
                return None
            register, bits = f"xmm{operands.reg}", 128
        else:
            if operands.reg % 8 != operands.rm % 8:
                return None
            register, bits = f"fp{operands.reg % 8}", 64

        def execute() -> None:
            cpu = self._cpu
            value = cpu[register]
            result = add_neighbours(operation, value & (1 << bits) - 1, bits)
            cpu[register] = value >> bits << bits | result
            if bits == 64:
                cpu["fpsw"] &= ~(7 << 11)
                cpu["fptag"] = 0
            cpu["rip"] = address + operands.end

        return execute

    def _strings(self, address: int, instruction: Instruction) -> Repair | None:
        if not instruction.begins(b"\x0f\x3a") or instruction.prefixes & _PREFIXED:
            return None
        operation = instruction.code[instruction.opcode + 2]
        if not 0x60 <= operation <= 0x63 or _WIDE not in instruction.prefixes:
            return None
        cpu = self._cpu
        usable = self._usable(_EMULATED) and cpu["cr4"] & _OSFXSR
        if "sse4.2" not in self._features or not usable:
            return None
        operands = instruction.operands(instruction.opcode + 3)
        control, following = instruction.code[operands.end], address + operands.end + 1
        if operands.address is None:
            second = cpu[f"xmm{operands.rm}"]
        else:
            content = self._read(operands.address(cpu, following), 16)
            if len(content) < 16:
                return None
            second = int.from_bytes(content, "little")

        def execute() -> None:
            lengths = None
            if operation < 0x62:
                bits = 64 if instruction.rex & 8 else 32
                lengths = _signed(cpu["rax"], bits), _signed(cpu["rdx"], bits)
            result = compare_strings(control, cpu[f"xmm{operands.reg}"], second, lengths)
            if operation & 1:
                cpu["rcx"] = result.place
            else:
                cpu["xmm0"] = result.mask
            cpu["rflags"] = cpu["rflags"] & ~ARITHMETIC_FLAGS | result.flags
            cpu["rip"] = following

        return execute

    def _loop(self, address: int, instruction: Instruction) -> Repair | None:
        """LOOPE and LOOPNE. With an operand-size prefix Unicorn's are right, as it has stored the
        flags for the hook there."""
        opcode = instruction.code[instruction.opcode]
        if opcode not in (0xE0, 0xE1) or _WIDE in instruction.prefixes:
            return None
        (distance,) = struct.unpack_from("<b", instruction.code, instruction.opcode + 1)

        def execute() -> None:
            cpu = self._cpu
            mask = 0xFFFFFFFF if _SHORT in instruction.prefixes else _MASK
            count = cpu["rcx"] - 1 & mask
            cpu["rcx"] = count
            zero = bool(cpu["rflags"] & _ZERO_FLAG)
            following = address + instruction.opcode + 2
            taken = count != 0 and zero == bool(opcode & 1)
            cpu["rip"] = following + distance & _MASK if taken else following

        return execute


def _begin_a_block() -> None:
    """CMPXCHG8B and CMPXCHG16B take flags for theirs that came before their block."""


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value

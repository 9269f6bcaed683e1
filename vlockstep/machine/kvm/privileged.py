"""Instructions that only an operating system may execute, which a guest believes to be: what they
do to a CPU at level 3 that is to look as if it were at level 0 (Intel SDM, volumes 2 and 3)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vlockstep.machine import paging
from vlockstep.machine.boot import CODE_DESCRIPTOR, DATA_DESCRIPTOR
from vlockstep.machine.engine import EngineLimit
from vlockstep.machine.memory import Memory
from vlockstep.machine.registers import MSRS
from vlockstep.machine.report import LONGEST_INSTRUCTION

if TYPE_CHECKING:
    from vlockstep.machine.kvm.engine import KvmEngine

_NOT_PRESENT, _GENERAL_PROTECTION, _PAGE_FAULT = 11, 13, 14
_INTERRUPT = 1 << 9
_MASK = (1 << 64) - 1
_BUSY, _PRESENT = 2 << 40, 1 << 47
_SEGMENTS = ("ds", "es", "ss", "fs", "gs")
_NAMES = {number: name for name, number in MSRS.items()}


class Raised(Exception):
    """The instruction raises an exception."""

    def __init__(self, vector: int, code: int) -> None:
        super().__init__(vector, code)
        self.vector = vector
        self.code = code


class Privileged:
    """Those of one CPU."""

    def __init__(self, engine: KvmEngine, memory: Memory) -> None:
        self._engine = engine
        self._memory = memory
        self._reader: Any = None
        self._by_name: dict[str, Callable[[Any], None]] = {
            "lgdt": self._load_table, "lidt": self._load_table,
            "sgdt": self._store_table, "sidt": self._store_table, "ltr": self._load_task,
            "retfq": self._return, "iretq": self._return, "mov": self._move,
            "cli": self._clear_interrupt, "sti": self._set_interrupt,
            "wrmsr": self._write_msr, "rdmsr": self._read_msr, "hlt": self._halt,
            "invlpg": self._nothing, "wbinvd": self._nothing, "invd": self._nothing,
            "clts": self._nothing, "swapgs": self._swap_gs,
            **dict.fromkeys(_OTHERS, self._refuse),
        }  # fmt: skip

    def execute(self) -> bool:
        """Do what the instruction at RIP does, if it is one of these. Raises `Raised`."""
        engine = self._engine
        rip = engine["rip"]
        code = paging.read(self._memory, engine["cr3"], rip, LONGEST_INSTRUCTION)
        if self._reader is None:
            import capstone

            self._reader = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
            self._reader.detail = True
        instruction = next(self._reader.disasm(code, rip, 1), None)
        if instruction is None or instruction.mnemonic not in self._by_name:
            return False
        engine["rip"] = rip + instruction.size
        try:
            self._by_name[instruction.mnemonic](instruction)
        except BaseException:
            engine["rip"] = rip
            raise
        return True

    def _nothing(self, _instruction: Any) -> None:
        pass

    def _refuse(self, instruction: Any) -> None:
        what = "an LDT" if instruction.mnemonic == "lldt" else instruction.mnemonic.upper()
        raise EngineLimit(f"the guest uses {what}, which {WITHOUT}")

    def _swap_gs(self, _instruction: Any) -> None:
        engine = self._engine
        here, kept = engine["gs_base"], engine["kernel_gs_base"]
        engine["gs_base"], engine["kernel_gs_base"] = kept, here

    def _halt(self, _instruction: Any) -> None:
        self._engine.stop_after_block()

    def _clear_interrupt(self, _instruction: Any) -> None:
        self._engine["rflags"] &= ~_INTERRUPT

    def _set_interrupt(self, _instruction: Any) -> None:
        """POPF could not clear it again: at level 3 it leaves IF alone, and makes no exit."""
        raise EngineLimit(f"the guest enables interrupts, which {WITHOUT}")

    def _load_table(self, instruction: Any) -> None:
        limit, base = struct.unpack("<HQ", self._load(instruction, 10))
        name = "gdtr" if instruction.mnemonic == "lgdt" else "idtr"
        self._engine.set_table(name, base, limit)

    def _store_table(self, instruction: Any) -> None:
        name = "gdtr" if instruction.mnemonic == "sgdt" else "idtr"
        base, limit = self._engine.table(name)
        self._store(
            self._address(instruction, instruction.operands[0]), struct.pack("<HQ", limit, base)
        )

    def _load_task(self, instruction: Any) -> None:
        selector = self._value(instruction, 0) & 0xFFFF
        at = self._descriptor_at(selector)
        low, high = struct.unpack("<QQ", self._read(at, 16))
        if low >> 40 & 0x1F != 9 or not low & _PRESENT:
            raise Raised(_GENERAL_PROTECTION, selector & ~3)
        base = low >> 16 & 0xFFFFFF | low >> 32 & 0xFF000000 | (high & 0xFFFFFFFF) << 32
        limit = low & 0xFFFF | low >> 32 & 0xF0000
        self._store(at, struct.pack("<Q", low | _BUSY))
        self._engine.set_table("tr", base, limit, selector)

    def _return(self, instruction: Any) -> None:
        engine = self._engine
        interrupt = instruction.mnemonic == "iretq"
        count = 5 if interrupt else 2
        words = struct.unpack(f"<{count}Q", self._read(engine["rsp"], 8 * count))
        selector = words[1] & 0xFFFF
        self._check_segment(selector, CODE_DESCRIPTOR)
        if interrupt:
            stack = words[4] & 0xFFFF
            if stack & ~3:
                self._check_segment(stack, DATA_DESCRIPTOR)
            engine["rflags"], engine["rsp"], engine["ss"] = words[2] | 2, words[3], stack
        else:
            released = self._value(instruction, 0) if instruction.operands else 0
            engine["rsp"] = engine["rsp"] + 16 + released & _MASK
        engine["cs"], engine["rip"] = selector, words[0]

    def _move(self, instruction: Any) -> None:
        names = [
            instruction.reg_name(operand.reg) if operand.type == _reg() else ""
            for operand in instruction.operands
        ]
        engine = self._engine
        if names[0] in _SEGMENTS:
            selector = self._value(instruction, 1) & 0xFFFF
            if selector & ~3:
                self._check_segment(selector, DATA_DESCRIPTOR)
            engine[names[0]] = selector
            if names[0] in ("fs", "gs"):
                engine[f"{names[0]}_base"] = self._base_of(selector)
        elif names[0] == "cr2":
            engine["cr2"] = engine[names[1]]
        elif names[1][:2] in ("cr", "dr"):
            engine[names[0]] = engine[names[1]]
        elif names[0][:2] in ("cr", "dr"):
            if engine[names[1]] != engine[names[0]]:
                what = "page tables of its own" if names[0] == "cr3" else names[0].upper()
                raise EngineLimit(f"the guest sets {what}, which {WITHOUT}")
        else:
            raise Raised(_GENERAL_PROTECTION, 0)

    def _write_msr(self, _instruction: Any) -> None:
        engine = self._engine
        number = engine["rcx"] & 0xFFFFFFFF
        value = engine["rax"] & 0xFFFFFFFF | (engine["rdx"] & 0xFFFFFFFF) << 32
        name = _NAMES.get(number)
        if name == "efer" and value != engine["efer"]:
            raise EngineLimit(f"the guest sets EFER, which {WITHOUT}")
        if name is not None:
            engine[name] = value

    def _read_msr(self, _instruction: Any) -> None:
        engine = self._engine
        name = _NAMES.get(engine["rcx"] & 0xFFFFFFFF)
        value = engine[name] if name is not None else 0
        engine["rax"], engine["rdx"] = value & 0xFFFFFFFF, value >> 32

    def _check_segment(self, selector: int, expected: int) -> None:
        """Raises what a CPU would, or `EngineLimit` if it is no flat segment of level 0."""
        if selector & 4:
            raise EngineLimit(f"the guest uses an LDT, which {WITHOUT}")
        (descriptor,) = struct.unpack("<Q", self._read(self._descriptor_at(selector), 8))
        if not descriptor & _PRESENT:
            raise Raised(_NOT_PRESENT, selector & ~3)
        code, wanted = descriptor >> 43 & 1, expected >> 43 & 1
        if code != wanted or selector & 3 or descriptor >> 45 & 3:
            raise EngineLimit(
                f"the guest loads the segment {selector:#x}, which is none of level 0 for 64-bit "
                f"code, and {WITHOUT}"
            )
        if code and descriptor >> 53 & 3 != 1:  # L and not D
            raise EngineLimit(f"the guest runs 32-bit code, which {WITHOUT}")

    def _base_of(self, selector: int) -> int:
        if not selector & ~3:
            return 0
        (descriptor,) = struct.unpack("<Q", self._read(self._descriptor_at(selector), 8))
        return int(descriptor >> 16 & 0xFFFFFF | descriptor >> 32 & 0xFF000000)

    def _descriptor_at(self, selector: int) -> int:
        base, limit = self._engine.table("gdtr")
        if (selector & ~7) + 7 > limit:
            raise Raised(_GENERAL_PROTECTION, selector & ~3)
        return base + (selector & ~7)

    def _read(self, address: int, length: int) -> bytes:
        content = paging.read(self._memory, self._engine["cr3"], address & _MASK, length)
        if len(content) < length:
            self._engine["cr2"] = address + len(content) & _MASK
            raise Raised(_PAGE_FAULT, 0)
        return content

    def _store(self, address: int, content: bytes) -> None:
        for at in range(len(content)):
            try:
                physical = paging.translate(
                    self._memory, self._engine["cr3"], address + at & _MASK, write=True
                )
            except paging.PageFault as fault:
                self._engine["cr2"] = fault.address
                raise Raised(_PAGE_FAULT, fault.code) from None
            self._memory.write(physical, content[at : at + 1])

    def _load(self, instruction: Any, length: int) -> bytes:
        return self._read(self._address(instruction, instruction.operands[0]), length)

    def _address(self, instruction: Any, operand: Any) -> int:
        memory = operand.mem
        address: int = memory.disp
        segment = instruction.reg_name(memory.segment) if memory.segment else ""
        if segment in ("fs", "gs"):
            address += self._engine[f"{segment}_base"]
        if memory.base:
            address += self._register(instruction, memory.base)
        if memory.index:
            address += self._register(instruction, memory.index) * memory.scale
        return address & _MASK

    def _value(self, instruction: Any, place: int) -> int:
        operand = instruction.operands[place]
        if operand.type == _reg():
            return self._register(instruction, operand.reg)
        if operand.type == _immediate():
            return int(operand.imm)
        return int.from_bytes(self._read(self._address(instruction, operand), 2), "little")

    def _register(self, instruction: Any, number: int) -> int:
        name = instruction.reg_name(number)
        return self._engine[_WHOLE.get(name) or name.rstrip("dwb")]


_OTHERS = (
    "lldt", "sldt", "str", "lmsw", "smsw", "retf", "iret", "iretd", "lcall", "ljmp", "sysret",
    "sysretq", "sysexit", "xsetbv", "invpcid", "monitor", "mwait",
)  # fmt: skip
"""Which the engine does not do."""
WITHOUT = "the engine kvm does not have: start it on the engine unicorn"
_WHOLE = {
    f"{prefix}{name}": f"r{name}"
    for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "ip")
    for prefix in ("", "e", "r")
}


def _reg() -> int:
    from capstone import CS_OP_REG

    return int(CS_OP_REG)


def _immediate() -> int:
    from capstone import CS_OP_IMM

    return int(CS_OP_IMM)

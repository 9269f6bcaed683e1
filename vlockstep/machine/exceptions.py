"""Delivery of exceptions and interrupts through the guest's own IDT, as a CPU in long mode does it.

Unicorn reports exceptions but delivers none. The steps are those of the Intel SDM, volume 3,
sections 6.12 to 6.15: gate from the IDT, stack from the TSS if the gate or a change of privilege
asks for one, frame, error code, flags. An exception during delivery becomes a double fault or,
if that cannot be delivered either, a triple fault, where hardware would reset.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from vlockstep.machine import paging
from vlockstep.machine.engine import Engine
from vlockstep.machine.memory import Memory
from vlockstep.machine.paging import PageFault
from vlockstep.machine.registers import RESUME

DOUBLE_FAULT, INVALID_TSS, NOT_PRESENT = 8, 10, 11
BREAKPOINT, STACK_FAULT, GENERAL_PROTECTION, PAGE_FAULT, INVALID_OPCODE = 3, 12, 13, 14, 6
WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17})
_CONTRIBUTORY = frozenset({0, 10, 11, 12, 13})
_FAULTS = frozenset({0, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19})
"""Those after which the instruction is executed again: the frame's RFLAGS have RF set."""

_NAMES = {
    0: "divide error", 1: "debug exception", 3: "breakpoint", 4: "overflow", 5: "bound range",
    6: "invalid opcode", 7: "device not available", 8: "double fault", 10: "invalid TSS",
    11: "segment not present", 12: "stack fault", 13: "general protection", 14: "page fault",
    16: "x87 error", 17: "alignment check", 19: "SIMD exception",
}  # fmt: skip

_IF, _TF, _NT, _VM = 1 << 9, 1 << 8, 1 << 14, 1 << 17
_INTERRUPT_GATE, _TRAP_GATE = 14, 15
_EXTERNAL, _IDT = 1, 2
_CONFORMING = 1 << 42
_INT3 = b"\xcc"
_MASK = (1 << 64) - 1


class TripleFault(Exception):
    """Not even the double fault could be delivered."""


class _Raised(Exception):
    """Delivery itself raised an exception."""

    def __init__(self, vector: int, code: int) -> None:
        super().__init__(vector, code)
        self.vector = vector
        self.code = code


class Taken(NamedTuple):
    """An exception that a handler of the guest takes: raised by the instruction at `rip`, or, if by
    an INT, `software`, or another trap, before that. `code` is its error code, if it has one,
    and `address` that of a page fault."""

    vector: int
    code: int | None
    rip: int
    address: int | None
    software: bool

    def __str__(self) -> str:
        return described(self.vector, self.code, self.address)


class _Gate(NamedTuple):
    offset: int
    selector: int
    ist: int
    kind: int
    privilege: int


def name(vector: int) -> str:
    return f"{_NAMES[vector]} (#{vector})" if vector in _NAMES else f"interrupt {vector}"


def described(vector: int, code: int | None, address: int | None) -> str:
    """With its error code and the address of a page fault, where it has them."""
    at = "" if address is None else f" at address {address:#x}"
    return f"{name(vector)}{at}" + ("" if code is None else f", error code {code:#x}")


def deliver(
    engine: Engine, memory: Memory, vector: int, code: int | None = None, software: bool = False
) -> Taken:
    """Make the guest's handler of `vector` the next thing to execute, or that of what its delivery
    raises. Which it is.

    `code` is the error code, or None for vectors and interrupts without one. `software`: raised
    by an INT instruction, so that the gate's privilege is checked. Raises `TripleFault`.
    """
    first = vector
    while True:
        rip = engine["rip"]
        try:
            _enter(engine, memory, vector, code, software)
            address = engine["cr2"] if vector == PAGE_FAULT and not software else None
            return Taken(vector, code, rip, address, software)
        except _Raised as raised:
            if vector == DOUBLE_FAULT:
                raise TripleFault(f"{name(first)} could not be delivered") from None
            serious = vector in _CONTRIBUTORY or vector == PAGE_FAULT
            if serious and (
                raised.vector in _CONTRIBUTORY
                or (vector == PAGE_FAULT and raised.vector == PAGE_FAULT)
            ):
                vector, code = DOUBLE_FAULT, 0
            else:
                vector, code = raised.vector, raised.code
            if software:
                engine["rip"] -= _int_length(engine, memory, first)
                software = False


def _enter(engine: Engine, memory: Memory, vector: int, code: int | None, software: bool) -> None:
    cr3 = engine["cr3"]
    rip, rsp, rflags = engine["rip"], engine["rsp"], engine["rflags"]
    cs, ss = engine["cs"] & 0xFFFF, engine["ss"] & 0xFFFF
    privilege = cs & 3
    origin = _IDT if software else _IDT | (code is None)

    gate = _gate(engine, memory, cr3, vector, origin)
    if software and gate.privilege < privilege:
        raise _Raised(GENERAL_PROTECTION, vector * 8 + _IDT)
    descriptor = _code_descriptor(engine, memory, cr3, gate.selector)
    new_privilege = descriptor >> 45 & 3
    if new_privilege > privilege:
        raise _Raised(GENERAL_PROTECTION, gate.selector & ~3)
    if descriptor & _CONFORMING:
        new_privilege = privilege
    if gate.ist:
        stack = _tss_word(engine, memory, cr3, 0x24 + 8 * (gate.ist - 1))
    elif new_privilege < privilege:
        stack = _tss_word(engine, memory, cr3, 4 + 8 * new_privilege)
    else:
        stack = rsp
    again = RESUME if vector in _FAULTS and not software else 0
    words = [] if code is None else [code]
    words += [rip, cs, rflags & ~RESUME | again, rsp, ss]
    stack = (stack & ~15) - 8 * len(words) & _MASK
    for index in reversed(range(len(words))):
        _push(engine, memory, cr3, stack + 8 * index & _MASK, words[index])

    engine["rsp"] = stack
    engine["rip"] = gate.offset
    selector = gate.selector & ~3 | new_privilege
    if selector != cs:
        engine.enter_code(selector, descriptor, null_stack=new_privilege < privilege)
    rflags &= ~(_TF | _NT | RESUME | _VM)
    engine["rflags"] = rflags & ~_IF if gate.kind == _INTERRUPT_GATE else rflags


def _int_length(engine: Engine, memory: Memory, vector: int) -> int:
    """The bytes of the INT instruction before RIP, to which one that faults itself goes back."""
    one_byte = paging.read(memory, engine["cr3"], engine["rip"] - 1, 1) == _INT3
    return 1 if vector == BREAKPOINT and one_byte else 2


def _read(engine: Engine, memory: Memory, cr3: int, address: int, length: int) -> bytes:
    content = paging.read(memory, cr3, address, length)
    if len(content) < length:
        engine["cr2"] = fault = address + len(content) & _MASK
        raise _Raised(PAGE_FAULT, _fault_code(memory, cr3, fault))
    return content


def _fault_code(memory: Memory, cr3: int, address: int) -> int:
    try:
        paging.translate(memory, cr3, address)
    except PageFault as fault:
        return fault.code
    return 0


def _push(engine: Engine, memory: Memory, cr3: int, address: int, word: int) -> None:
    """Store one aligned word as the CPU would."""
    try:
        physical = paging.translate(memory, cr3, address, write=True)
    except PageFault as fault:
        if _canonical(address):
            engine["cr2"] = address
            raise _Raised(PAGE_FAULT, fault.code) from None
        raise _Raised(STACK_FAULT, 0) from None
    memory.write(physical, word.to_bytes(8, "little"))


def _canonical(address: int) -> bool:
    return address >> 47 in (0, (1 << 17) - 1)


def _gate(engine: Engine, memory: Memory, cr3: int, vector: int, origin: int) -> _Gate:
    base, limit = engine.table("idtr")
    if vector * 16 + 15 > limit:
        raise _Raised(GENERAL_PROTECTION, vector * 8 + origin)
    low, selector, flags, middle, high = struct.unpack(
        "<HHHHI4x", _read(engine, memory, cr3, base + vector * 16 & _MASK, 16)
    )
    kind = flags >> 8 & 0x1F
    if kind not in (_INTERRUPT_GATE, _TRAP_GATE):
        raise _Raised(GENERAL_PROTECTION, vector * 8 + origin)
    if not flags >> 15:
        raise _Raised(NOT_PRESENT, vector * 8 + origin)
    offset = low | middle << 16 | high << 32
    if not _canonical(offset):
        raise _Raised(GENERAL_PROTECTION, 0)
    return _Gate(offset, selector, flags & 7, kind, flags >> 13 & 3)


def _code_descriptor(engine: Engine, memory: Memory, cr3: int, selector: int) -> int:
    """That of the handler's code segment, after the checks of a far transfer."""
    base, limit = engine.table("gdtr")
    if selector & ~7 == 0:
        raise _Raised(GENERAL_PROTECTION, 0)
    if selector & 4 or (selector & ~7) + 7 > limit:
        raise _Raised(GENERAL_PROTECTION, selector & ~3)
    (descriptor,) = struct.unpack(
        "<Q", _read(engine, memory, cr3, base + (selector & ~7) & _MASK, 8)
    )
    is_code = descriptor >> 43 & 3 == 3
    if not is_code or not descriptor >> 53 & 1:
        raise _Raised(GENERAL_PROTECTION, selector & ~3)
    if not descriptor >> 47 & 1:
        raise _Raised(NOT_PRESENT, selector & ~3)
    return int(descriptor)


def _tss_word(engine: Engine, memory: Memory, cr3: int, offset: int) -> int:
    base, limit = engine.table("tr")
    if offset + 7 > limit:
        raise _Raised(INVALID_TSS, engine["tr"] & 0xFFFC)
    (word,) = struct.unpack("<Q", _read(engine, memory, cr3, base + offset & _MASK, 8))
    return int(word)

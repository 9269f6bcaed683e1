"""A guest with a kernel in ring 0 and a program in ring 3."""

from __future__ import annotations

import struct

from support import (
    DATA,
    GDT,
    HALT,
    IDT,
    LOAD_TABLES,
    POINTERS,
    TEXT,
    halt,
    hypercall,
    make_image,
    place,
)

from vlockstep.machine.image import Image

TIMER, SYSTEM_CALL, LEAVE = 0x20, 0x80, 0x81
PROTECTION, PAGE_FAULT = 13, 14
PML4, PDPT, PD = DATA + 0x1000, DATA + 0x2000, DATA + 0x3000
ON, TSS = DATA, DATA + 0x100
TICKS, CALLS, FAULTS, FAULT_CODE, FAULT_RIP, FRAME = (DATA + 0x200 + 8 * n for n in range(6))
KERNEL_STACK, USER_STACK = DATA + 0x6000, DATA + 0x7000
KERNEL_CODE, USER_DATA, USER_CODE, TASK = 8, 0x1B, 0x23, 0x28
USER = TEXT + 0x1000
KERNEL_ONLY = 0x600000

_GATE, _USER_GATE = 0x8E00, 0xEE00  # interrupt gates
_HANDLERS = {
    TIMER: (0x400, _GATE), SYSTEM_CALL: (0x500, _USER_GATE), LEAVE: (0x600, _USER_GATE),
    PROTECTION: (0x700, _GATE), PAGE_FAULT: (0x700, _GATE),
}  # fmt: skip
_USER_PAGE = 0xE7  # present, writable, user, accessed, dirty, large
_KERNEL_PAGE = 0xE3
_USER_TABLE = 0x27

MAP_FOR_USERS = b"\xb8" + struct.pack("<I", PML4) + b"\x0f\x22\xd8"  # mov eax, PML4; mov cr3, rax
MAPS = {
    PML4: struct.pack("<Q", PDPT | _USER_TABLE),
    PDPT: struct.pack("<Q", PD | _USER_TABLE),
    PD: struct.pack("<4Q", *(n << 21 | _USER_PAGE for n in range(3)), KERNEL_ONLY | _KERNEL_PAGE),
}
"""All memory below KERNEL_ONLY for ring 3, too, writable and executable."""


def _increment(address: int) -> bytes:
    return b"\x48\xff\x04\x25" + struct.pack("<I", address)


def push(value: int) -> bytes:
    return b"\x68" + struct.pack("<I", value)


def user_guest(program: bytes) -> Image:
    """`program` runs in ring 3 at USER with a timer; it calls SYSTEM_CALL and LEAVE by INT. Each
    handler reads CR0, which only ring 0 may. That of faults goes on behind an instruction of one
    byte if the error code is 0, of two if not. The frame of the last system call is at FRAME."""
    enter = b"".join(map(push, (USER_DATA, USER_STACK, 0x202, USER_CODE, USER))) + b"\x48\xcf"
    task = b"\x66\xb8" + struct.pack("<H", TASK) + b"\x0f\x00\xd8"  # mov ax, TASK; ltr ax
    privileged = bytes.fromhex("50 0f20c0 58")  # push rax; mov rax, cr0; pop rax
    copied = b""
    for index in range(5):  # push rax; mov rax, [rsp + ...]; mov [FRAME + ...], rax; pop rax
        copied += b"\x50\x48\x8b\x44\x24" + bytes([8 + 8 * index]) + b"\x48\x89\x04\x25"
        copied += struct.pack("<I", FRAME + 8 * index) + b"\x58"
    fault = _increment(FAULTS) + b"\x50"  # push rax
    for index, address in enumerate((FAULT_CODE, FAULT_RIP)):
        # mov rax, [rsp + ...]; mov [...], rax
        fault += b"\x48\x8b\x44\x24" + bytes([8 + 8 * index]) + b"\x48\x89\x04\x25"
        fault += struct.pack("<I", address)
    # cmp qword [rsp + 8], 1; mov eax, 2; sbb rax, 0; add [rsp + 16], rax; pop rax
    # add rsp, 8; iretq
    fault += bytes.fromhex("48837c240801 b802000000 4883d800 4801442410 58 4883c408 48cf")
    code = {
        0: LOAD_TABLES + MAP_FOR_USERS + task + hypercall(0x40, ON) + b"\xeb\x00" + enter,
        _HANDLERS[TIMER][0]: privileged + _increment(TICKS) + b"\x48\xcf",
        _HANDLERS[SYSTEM_CALL][0]: privileged + copied + _increment(CALLS) + b"\x48\xcf",
        _HANDLERS[LEAVE][0]: halt(),
        _HANDLERS[PROTECTION][0]: privileged + fault,
        USER - TEXT: program,
    }
    gates = {
        vector * 16: struct.pack("<HHHHQ", offset, KERNEL_CODE, kind, TEXT >> 16, 0)
        for vector, (offset, kind) in _HANDLERS.items()
    }
    idt = place(gates, b"\0")
    code_and_data = (0x00AF9B00_0000FFFF, 0x00CF9300_0000FFFF, 0x00CFF300_0000FFFF)
    task_segment = 0x67 | (TSS & 0xFFFFFF) << 16 | 0x89 << 40 | TSS >> 24 << 56
    gdt = struct.pack("<7Q", 0, *code_and_data, 0x00AFFB00_0000FFFF, task_segment, 0)
    data = {
        ON: struct.pack("<QII", 1_000_000, TIMER, 0),
        TSS: struct.pack("<IQ", 0, KERNEL_STACK).ljust(0x68, b"\0"),
        **MAPS,
        GDT: gdt,
        IDT: idt,
        POINTERS: struct.pack("<HQ", len(gdt) - 1, GDT).ljust(16, b"\0")
        + struct.pack("<HQ", len(idt) - 1, IDT),
        HALT: struct.pack("<Qi", 0, 0),
    }
    return make_image(code, data)

"""Numbers and structs of Linux' KVM: Documentation/virt/kvm/api.rst, include/uapi/linux/kvm.h and
arch/x86/include/uapi/asm/kvm.h."""

from __future__ import annotations

import ctypes

API_VERSION = 12


def _none(number: int) -> int:
    return 0xAE00 | number


def _write(number: int, size: int) -> int:
    return 1 << 30 | size << 16 | _none(number)


def _read(number: int, size: int) -> int:
    return 2 << 30 | size << 16 | _none(number)


GET_API_VERSION, CREATE_VM, CHECK_EXTENSION, GET_VCPU_MMAP_SIZE = map(_none, (0, 1, 3, 4))
CREATE_VCPU, RUN = _none(0x41), _none(0x80)
SET_USER_MEMORY_REGION = _write(0x46, 32)
SET_SIGNAL_MASK = _write(0x8B, 4)
SET_CPUID2 = _write(0x90, 8)
GET_SREGS, SET_SREGS = _read(0x83, 312), _write(0x84, 312)
GET_EVENTS, SET_EVENTS = _read(0x9F, 64), _write(0xA0, 64)
GET_XSAVE, SET_XSAVE = _read(0xA4, 4096), _write(0xA5, 4096)

CAP_XSAVE, CAP_SYNC_REGS, CAP_IMMEDIATE_EXIT = 55, 74, 136

EXITS = {
    0: "unknown", 1: "exception", 2: "port", 3: "hypercall", 4: "debug", 5: "halt",
    6: "memory that does not exist", 8: "triple fault", 9: "entry refused", 10: "signal",
    17: "internal error", 24: "system event", 27: "notify", 39: "memory fault",
}  # fmt: skip
EXIT_IO, EXIT_HLT, EXIT_MMIO, EXIT_FAIL_ENTRY, EXIT_INTERNAL_ERROR = 2, 5, 6, 9, 17

# Offsets in kvm_run, which is mapped.
IMMEDIATE_EXIT, EXIT_REASON, EXIT_DATA = 1, 8, 32
VALID_REGISTERS, DIRTY_REGISTERS, REGISTERS = 288, 296, 304
SYNC_REGISTERS = 1
"""Of VALID_REGISTERS and DIRTY_REGISTERS: the general ones."""
GENERAL = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "rip", "rflags",
)  # fmt: skip
"""kvm_regs, a word each."""
EVENTS = 64
"""Bytes of kvm_vcpu_events."""
EVENT_VECTOR = 1
"""Where it has that of the last exception, or of one that is to be delivered yet."""


class Segment(ctypes.Structure):
    """kvm_segment."""

    _fields_ = [
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("selector", ctypes.c_uint16),
        ("type", ctypes.c_uint8),
        ("present", ctypes.c_uint8),
        ("dpl", ctypes.c_uint8),
        ("db", ctypes.c_uint8),
        ("s", ctypes.c_uint8),
        ("l", ctypes.c_uint8),
        ("g", ctypes.c_uint8),
        ("avl", ctypes.c_uint8),
        ("unusable", ctypes.c_uint8),
        ("padding", ctypes.c_uint8),
    ]


class DescriptorTable(ctypes.Structure):
    """kvm_dtable."""

    _fields_ = [
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint16),
        ("padding", ctypes.c_uint16 * 3),
    ]


class SystemRegisters(ctypes.Structure):
    """kvm_sregs."""

    _fields_ = [
        *((name, Segment) for name in ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")),
        ("gdt", DescriptorTable),
        ("idt", DescriptorTable),
        *((n, ctypes.c_uint64) for n in ("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")),
        ("interrupt_bitmap", ctypes.c_uint64 * 4),
    ]


class MemoryRegion(ctypes.Structure):
    """kvm_userspace_memory_region."""

    _fields_ = [
        ("slot", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("guest_address", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
    ]


class CpuidEntry(ctypes.Structure):
    """kvm_cpuid_entry2."""

    _fields_ = [
        ("leaf", ctypes.c_uint32),
        ("subleaf", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("rax", ctypes.c_uint32),
        ("rbx", ctypes.c_uint32),
        ("rcx", ctypes.c_uint32),
        ("rdx", ctypes.c_uint32),
        ("padding", ctypes.c_uint32 * 3),
    ]


MOST_LEAVES = 256
HAS_SUBLEAVES = 1
"""Of the flags."""


class Cpuid(ctypes.Structure):
    """kvm_cpuid2."""

    _fields_ = [
        ("count", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("entries", CpuidEntry * MOST_LEAVES),
    ]


class SignalMask(ctypes.Structure):
    """kvm_signal_mask, with the kernel's own set of signals."""

    _fields_ = [("size", ctypes.c_uint32), ("signals", ctypes.c_uint8 * 8)]


assert ctypes.sizeof(SystemRegisters) == 312 and ctypes.sizeof(MemoryRegion) == 32
assert ctypes.sizeof(CpuidEntry) == 40 and ctypes.sizeof(Segment) == 24

"""What of Unicorn is called through ctypes: its CPU models and registers."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import unicorn
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from vlockstep.errors import HostError
from vlockstep.machine.cpumodels import ANNOUNCED, MODELS, UNICORNS
from vlockstep.machine.hostclock import stop_clock
from vlockstep.machine.registers import MSRS, RESUME, TABLES, WIDE, WORDS, Registers

_TRANSLATED = 32 << 20
"""Bytes of a guest's code as translated, at most; Unicorn would keep 1 GiB of it. When they are
full it begins anew, which no guest sees."""
FEATURES = 1
"""CPUID's leaf of features, which has no subleaves."""
_OSXSAVE = 1 << 27  # in its ECX
_CR4_OSXSAVE = 1 << 18
_PAGE = 4096
_PAE = 1 << 5  # in CR4
_IN_PAGES = 1 << 55
"""Of a segment: G."""


class Table(ctypes.Structure):
    _fields_ = [
        ("selector", ctypes.c_uint16),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    ]


class Segment(ctypes.Structure):
    """A segment register with its hidden parts; `flags` are the upper half of the descriptor."""

    _fields_ = [
        ("selector", ctypes.c_uint32),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    ]

    def load(self, selector: int, descriptor: int) -> None:
        self.selector, self.flags = selector, descriptor >> 32
        self.base = descriptor >> 16 & 0xFFFFFF | descriptor >> 56 << 24
        self.limit = descriptor & 0xFFFF | descriptor >> 32 & 0xF0000
        if descriptor & _IN_PAGES:
            self.limit = self.limit << 12 | 0xFFF


class Msr(ctypes.Structure):
    _fields_ = [("number", ctypes.c_uint32), ("value", ctypes.c_uint64)]


def register_number(name: str) -> int:
    return int(getattr(x86, f"UC_X86_REG_{name.upper()}"))


def check(status: int, what: str) -> None:
    if status != uc_const.UC_ERR_OK:
        raise HostError(f"Unicorn refused to {what}: {uclib.uc_strerror(status).decode()}")


# Three times as fast as the binding's: it takes arguments as they are, and keeps the GIL.
write_batch = ctypes.PyDLL(uclib._name, handle=uclib._handle).uc_reg_write_batch


class RegisterBatch:
    """Buffers to read every register in one call."""

    def __init__(self) -> None:
        self.words = {n: ctypes.c_uint64() for n in WORDS}
        self.wide = {n: (ctypes.c_uint64 * 2)() for n in WIDE}
        self.tables = {n: Table() for n in TABLES}
        self.msrs = {n: Msr(number) for n, number in MSRS.items()}
        numbers = [register_number(n) for n in (*WORDS, *WIDE, *TABLES)]
        numbers += [x86.UC_X86_REG_MSR] * len(MSRS)
        values: list[Any] = [
            *self.words.values(), *self.wide.values(), *self.tables.values(), *self.msrs.values(),
        ]  # fmt: skip
        self._numbers = (ctypes.c_int * len(numbers))(*numbers)
        self._values = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))

    def read(self, handle: Any) -> Registers:
        check(
            uclib.uc_reg_read_batch(handle, self._numbers, self._values, len(self._numbers)),
            "read registers",
        )
        result = {n: v.value for n, v in self.words.items()}
        result["rflags"] &= ~RESUME
        for name, table in self.tables.items():
            result[f"{name}_base"] = table.base
            result[f"{name}_limit"] = table.limit
            if name in ("ldtr", "tr"):
                result[name] = table.selector
        result.update((n, m.value) for n, m in self.msrs.items())
        result.update((n, v[0] | v[1] << 64) for n, v in self.wide.items())
        return Registers(result)


class MsrBatch:
    """Buffers to read model-specific registers, by their numbers, in one call."""

    def __init__(self, numbers: Sequence[int]) -> None:
        count = self._count = len(numbers)
        msrs = (Msr * count)(*map(Msr, numbers))
        self._words = (ctypes.c_uint64 * (2 * count)).from_buffer(msrs)
        first, size = ctypes.addressof(msrs), ctypes.sizeof(Msr)
        self._numbers = (ctypes.c_int * count)(*[x86.UC_X86_REG_MSR] * count)
        self._values = (ctypes.c_void_p * count)(*(first + n * size for n in range(count)))

    def read(self, handle: Any) -> tuple[int, ...]:
        check(
            uclib.uc_reg_read_batch(handle, self._numbers, self._values, self._count),
            "read model-specific registers",
        )
        return tuple(self._words[1::2])


def open_cpu(model: str) -> tuple[Any, Any]:
    """One of `cpumodels.MODELS`, as far as Unicorn knows it."""
    stop_clock(uclib)
    uc = unicorn.Uc(uc_const.UC_ARCH_X86, uc_const.UC_MODE_64)
    name = UNICORNS.get(model, model)
    uc.ctl_set_cpu_model(getattr(x86, f"UC_CPU_X86_{name.upper()}"))
    uc.ctl_set_tcg_buffer_size(_TRANSLATED)
    uc.ctl_exits_enabled(True)  # with no exit addresses: jumping to 0 is a fault, not a stop
    return uc, uc._uch


def keep_open(uc: Any) -> None:
    """Never free it, not even when the process ends: it has crashed."""
    uc._Uc__finalizer.detach()


@lru_cache(maxsize=256)  # a guest may ask for any leaf
def cpuid(model: str, leaf: int, subleaf: int, cr4: int = 0) -> dict[str, int]:
    """What CPUID answers, by register."""
    told = {} if subleaf and leaf != FEATURES else announcements(model).get(leaf, {})
    answer = dict(told or _cpuid(model, leaf, subleaf))
    if leaf == FEATURES and cr4 & _CR4_OSXSAVE:
        answer["rcx"] |= _OSXSAVE
    return answer


@cache
def announcements(model: str) -> dict[int, dict[str, int]]:
    """What CPUID answers instead of what Unicorn's model does, by leaf (subleaf 0) and register,
    while CR4.OSXSAVE is off."""
    told: dict[int, dict[str, int]] = {}
    for feature in sorted(MODELS[model] & ANNOUNCED.keys()):
        leaf, register, bit = ANNOUNCED[feature]
        told.setdefault(leaf, _cpuid(model, leaf))[register] |= 1 << bit
    return told


def _cpuid(model: str, leaf: int, subleaf: int = 0) -> dict[str, int]:
    uc, _ = open_cpu(model)
    uc.mem_map(0, _PAGE)
    uc.mem_write(0, b"\x0f\xa2")
    uc.reg_write(x86.UC_X86_REG_EAX, leaf)
    uc.reg_write(x86.UC_X86_REG_ECX, subleaf)
    uc.reg_write(x86.UC_X86_REG_CR4, _PAE)
    uc.ctl_set_exits([2])
    uc.emu_start(0, 0)
    return {name: uc.reg_read(register_number(name)) for name in ("rax", "rbx", "rcx", "rdx")}

"""What runs at privilege level 0 below a guest, in memory of its own behind the guest's RAM: an
interrupt table whose handlers are HLTs, a task with a stack, and a copy of the tables that the
guest boots with, in which level 3 may use the pages. The guest's RAM stays as on any engine."""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

from vlockstep.machine.kvm.abi import Segment, SystemRegisters
from vlockstep.machine.memory import Memory
from vlockstep.machine.nativecode import address_of

PLACE = 4 << 30
"""Physical address: behind the largest RAM."""
SIZE = 0x20000
_BASE = 0xFFFFFF80_00000000
"""Virtual address; no table of a guest's boot maps it."""
_TABLES, _TABLES_END = 0x1000, 0x11000
_IDT, _GDT, _TSS, _HANDLERS, _RETURN, _STACK = 0x11000, 0x12000, 0x13000, 0x16000, 0x17000, 0x18000
_PAGE, _PRESENT, _WRITE, _USER, _LARGE = 0x1000, 1, 2, 4, 0x80
_ACCESSED, _DIRTY = 0x20, 0x40
_FRAME = 0x000FFFFF_FFFFF000
_TASK, _CODE = 0x20, 0x30
_USER_CODE, USER_DATA = 0x8 | 3, 0x10 | 3
"""Selectors; but for their level the last two are those of a guest at its boot."""
_PORTS = 0x2000
"""Bytes of the map of ports, all of which level 3 may use."""
_TASK_SIZE = 104
_HLT, _IRETQ = 0xF4, b"\x48\xcf"
_HANDLER = 16
_FROM_LEVEL_3 = frozenset({3, 4})
"""INT3 and INTO."""


def user_data() -> Segment:
    """That of level 3."""
    return Segment(0, 0xFFFFFFFF, USER_DATA, 3, 1, 3, 1, 1, 0, 1)


class Taken(NamedTuple):
    """An exception that the shim has taken; `code` is garbage where the vector has none."""

    vector: int
    code: int
    rip: int
    rflags: int
    rsp: int


class Shim:
    def __init__(self, memory: Memory, tables: int) -> None:
        """For a guest that boots with page `tables`."""
        self._area = mmap.mmap(-1, SIZE)
        self.address = address_of(self._area)
        self._lay_out_tables(memory, tables)
        for vector in range(256):
            at = _BASE + _HANDLERS + _HANDLER * vector
            kind = 0x8E00 | (3 << 13 if vector in _FROM_LEVEL_3 else 0)
            gate = (at & 0xFFFF, _CODE, kind, at >> 16 & 0xFFFF, at >> 32, 0)
            struct.pack_into("<HHHHII", self._area, _IDT + 16 * vector, *gate)
            self._area[_HANDLERS + _HANDLER * vector] = _HLT
        self._area[_RETURN : _RETURN + len(_IRETQ)] = _IRETQ
        base, self._limit = _BASE + _TSS, _TASK_SIZE + _PORTS
        task = self._limit | (base & 0xFFFFFF) << 16 | 0x8B << 40 | (base >> 24 & 0xFF) << 56
        user_code, user_data, code = 0x00AFFB00_0000FFFF, 0x00CFF300_0000FFFF, 0x00AF9B00_0000FFFF
        descriptors = (0, user_code, user_data, 0, task, base >> 32, code, 0)
        struct.pack_into("<8Q", self._area, _GDT, *descriptors)
        struct.pack_into("<Q", self._area, _TSS + 4, _BASE + _STACK)
        struct.pack_into("<H", self._area, _TSS + 102, _TASK_SIZE)
        self._area[_TSS + self._limit] = 0xFF

    def install(self, registers: SystemRegisters) -> None:
        """Let a CPU run at level 3 upon it."""
        registers.cr3 = PLACE
        registers.tr = Segment(_BASE + _TSS, self._limit, _TASK, 11, 1)
        registers.gdt.base, registers.gdt.limit = _BASE + _GDT, 63
        registers.idt.base, registers.idt.limit = _BASE + _IDT, 4095
        code = Segment(0, 0xFFFFFFFF, _USER_CODE, 11, 1, 3, 0, 1, 1, 1)
        registers.cs, registers.ldt = code, Segment(unusable=1)
        for name in ("ds", "es", "fs", "gs", "ss"):
            setattr(registers, name, user_data())

    def taken(self, rip: int) -> Taken:
        """At the HLT of a handler, behind which RIP is."""
        vector = (rip - _BASE - _HANDLERS) // _HANDLER
        words = struct.unpack_from("<6Q", self._area, _STACK - 48)
        code, rip, _, rflags, rsp, _ = words
        return Taken(vector, code, rip, rflags, rsp)

    def holds(self, rip: int) -> bool:
        return _BASE <= rip < _BASE + SIZE

    def returning(self, rip: int) -> tuple[int, int, int] | None:
        """RIP, RFLAGS and RSP of the guest to which the CPU is about to return from here, if it
        is."""
        if rip != _BASE + _RETURN:
            return None
        rip, _, rflags, rsp, _ = struct.unpack_from("<5Q", self._area, _STACK - 40)
        return rip, rflags, rsp

    def close(self) -> None:
        """No CPU runs upon it any more."""
        self._area.close()

    def leave(self, rip: int, rflags: int, rsp: int) -> tuple[int, int]:
        """RIP and RSP at which the CPU, at level 0, goes on with the guest there."""
        frame = (rip, _USER_CODE, rflags, rsp, USER_DATA)
        struct.pack_into("<5Q", self._area, _STACK - 40, *frame)
        return _BASE + _RETURN, _BASE + _STACK - 40

    def _lay_out_tables(self, memory: Memory, tables: int) -> None:
        free = iter(range(_TABLES, _TABLES_END, _PAGE))

        def copy(table: int, to: int, level: int) -> None:
            for index, entry in enumerate(struct.unpack_from("<512Q", memory.ram, table)):
                if not entry & _PRESENT:
                    continue
                if level and not entry & _LARGE:
                    page = next(free)
                    copy(entry & _FRAME, page, level - 1)
                    entry = entry & ~_FRAME | PLACE + page
                struct.pack_into("<Q", self._area, to + 8 * index, entry | _USER)

        copy(tables, 0, 3)
        upper, middle, lower = next(free), next(free), next(free)
        directory = _PRESENT | _WRITE | _ACCESSED
        for at, to in ((_PAGE - 8, upper), (upper, middle), (middle, lower)):
            struct.pack_into("<Q", self._area, at, PLACE + to | directory)
        pages = (PLACE + at | directory | _DIRTY for at in range(0, SIZE, _PAGE))
        struct.pack_into(f"<{SIZE // _PAGE}Q", self._area, lower, *pages)

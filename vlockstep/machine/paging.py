"""Page tables: those a guest boots with, and a walk of those it uses now."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from vlockstep.errors import ImageError
from vlockstep.machine.memory import Memory

PAGE = 0x1000
LARGE_PAGE = 0x200000

_PML4, _PDPT, _PD = 0x2000, 0x3000, 0x4000
_PT_FIRST, _PT_END = 0x8000, 0x10000

PRESENT, WRITE, USER = 1, 2, 4
_ACCESSED, _DIRTY, _LARGE = 0x20, 0x40, 0x80
_NX = 1 << 63
_FRAME = 0x000FFFFF_FFFFF000

# Accessed and dirty are set from the start, so that the CPU never writes to these tables.
_TABLE = PRESENT | WRITE | _ACCESSED
_READ_ONLY = PRESENT | _ACCESSED | _DIRTY | _NX
_READ_WRITE = _READ_ONLY | WRITE
_EXECUTE = PRESENT | _ACCESSED | _DIRTY
_ALL = _EXECUTE | WRITE


class PageFault(Exception):
    """A walk failed at `address`; `code` is the error code that the CPU would push."""

    def __init__(self, address: int, code: int) -> None:
        super().__init__(f"page fault at {address:#x}")
        self.address = address
        self.code = code


def build(
    memory: Memory, segments: Iterable[tuple[int, int, bool, bool]], executable_heap: bool = False
) -> int:
    """Write an identity map of all memory and return its CR3.

    `segments` are `(start, end, writable, executable)`. Whatever no segment covers above 1 MiB, the
    heap and the stack, is writable. It is executable only where the image wants it so: Unicorn is
    twice as fast for stores to other pages.
    """
    heap = _ALL if executable_heap else _READ_WRITE
    flags: dict[int, int] = {}
    for start, end, writable, executable in segments:
        entry = _EXECUTE if executable else _READ_WRITE if writable else _READ_ONLY
        for page in range(start // PAGE, -(-end // PAGE)):
            if flags.setdefault(page, entry) != entry:
                raise ImageError(
                    f"the page at {page * PAGE:#x} belongs to segments of different permissions; "
                    "link the image with page-aligned segments"
                )
    flags.update(dict.fromkeys(range(0x10), 0))
    flags.update(dict.fromkeys(range(0x10, 0x100), _READ_ONLY))

    put = memory.packer("<Q")
    next_table = _PT_FIRST
    put(_PML4, _PDPT | _TABLE)
    for gib in range(-(-memory.size >> 30)):
        put(_PDPT + 8 * gib, (_PD + PAGE * gib) | _TABLE)
    special = {page // (LARGE_PAGE // PAGE) for page in flags}
    for region in range(memory.size // LARGE_PAGE):
        if region not in special:
            put(_PD + 8 * region, region * LARGE_PAGE | heap | _LARGE)
            continue
        first = region * (LARGE_PAGE // PAGE)
        entries = [flags.get(page, heap) for page in range(first, first + 512)]
        if len(set(entries)) == 1:
            put(_PD + 8 * region, region * LARGE_PAGE | entries[0] | _LARGE)
            continue
        if next_table == _PT_END:
            raise ImageError(
                "the image mixes permissions in more than 8 regions of 2 MiB; "
                "place segments of equal permissions next to each other"
            )
        put(_PD + 8 * region, next_table | _TABLE)
        for i, entry in enumerate(entries):
            put(next_table + 8 * i, (first + i) * PAGE | entry if entry else 0)
        next_table += PAGE
    return _PML4


def translate(
    memory: Memory, cr3: int, address: int, write: bool = False, user: bool = False
) -> int:
    """The physical address of `address`, by a walk with CR0.WP set, in supervisor mode if not as a
    `user`.

    Raises `PageFault` if it is not mapped, not canonical, not writable, not a user's or beyond RAM.
    """
    denied = WRITE if write else 0
    if not -(1 << 47) <= (address ^ (1 << 63)) - (1 << 63) < 1 << 47:
        raise PageFault(address, denied)
    table = cr3 & _FRAME
    for shift in (39, 30, 21, 12):
        slot = table + 8 * (address >> shift & 0x1FF)
        if slot + 8 > memory.size:
            raise PageFault(address, denied)
        (entry,) = struct.unpack_from("<Q", memory.ram, slot)
        if not entry & PRESENT:
            raise PageFault(address, denied)
        if write and not entry & WRITE:
            raise PageFault(address, PRESENT | WRITE)
        if user and not entry & USER:
            raise PageFault(address, denied | PRESENT | USER)
        if shift == 12 or (entry & _LARGE and shift < 39):
            offset = (1 << shift) - 1
            physical: int = (entry & _FRAME & ~offset) | (address & offset)
            if physical >= memory.size:
                raise PageFault(address, denied)
            return physical
        table = entry & _FRAME
    raise AssertionError("a walk ends at its last level")


def read(memory: Memory, cr3: int, address: int, length: int, user: bool = False) -> bytes:
    """Up to `length` bytes at a virtual address: fewer where the mapping ends, or for a `user`
    where that is not a user's."""
    result = b""
    while len(result) < length:
        at = address + len(result) & (1 << 64) - 1
        try:
            physical = translate(memory, cr3, at, user=user)
        except PageFault:
            break
        step = min(length - len(result), PAGE - at % PAGE)
        result += memory.ram[physical : physical + step]
    return result

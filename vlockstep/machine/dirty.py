"""Which pages of a guest's RAM were written since the last look, while the guest runs.

Whoever keeps a copy of the RAM, all zeros at first, stores in it after each scan what `read`
gives of the pages that `scan` told. Once nobody writes any more, a scan makes the copy equal.

There are two ways, both exact. On Linux from 6.7 on, the kernel protects pages and notes who
writes: the guest pays for the first write to a page after a scan, a microsecond, and nothing else.
Anywhere else the RAM is compared with a copy of it, which takes as much memory again, and for each
scan 0.1 s per GiB that the guest has touched. Then the copy alone is what the scan has seen: RAM
may have changed since, and may change back before the next scan. So read by `read`, unless the
guest stands still.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import sys
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from fcntl import ioctl
from typing import Protocol

from vlockstep.errors import HostError
from vlockstep.machine.memory import Memory

PROTECTION = "asynchronous write protection"
"""How pages are found where the guest hardly pays for that."""
_PAGE = mmap.PAGESIZE
_CHUNK = 1 << 16

# Of Linux: userfaultfd(2), ioctl_userfaultfd(2), and "Pagemap Scan" of its admin guide.
_USERFAULTFD = {"x86_64": 323, "aarch64": 282}
_USER_MODE_ONLY = 1
_API, _API_VERSION = 0xC018AA3F, 0xAA
_FAULT_FLAG, _SHARED_MEMORY, _UNPOPULATED, _ASYNCHRONOUS = 1 << 0, 1 << 12, 1 << 13, 1 << 15
_REGISTER, _UNREGISTER, _WRITE_PROTECT = 0xC020AA00, 0x8010AA01, 1 << 1
_PAGEMAP_SCAN, _SCAN_SIZE, _WALK_END = 0xC0606610, 96, 4
_PROTECT_MATCHING, _CHECK_ASYNCHRONOUS = 1, 2
_ALL, _WRITTEN = 0, 1 << 1
_REGION_WORDS, _REGIONS = 3, 4096

Ranges = list[tuple[int, int]]
"""`(start, end)` of each."""


class DirtyPages(Protocol):
    """The pages of one `Memory` that are written. For one thread, beside the guest's."""

    @property
    def way(self) -> str:
        """How they are found, for people."""

    def scan(self) -> list[tuple[int, int]]:
        """`(start, end)` of the pages written since the scan before, in order and disjoint; the
        first tells all that may hold anything but zeros. A write that comes meanwhile is told by
        this scan or by the next."""

    def read(self, start: int, end: int) -> bytes:
        """The content that the last scan told of. What RAM holds later, the next scan will tell."""

    def close(self) -> None:
        """Look no more: the guest pays nothing from now on. The memory may be closed already."""


def track(memory: Memory, native: bool = True) -> DirtyPages:
    """Find written pages as this host can, or if not `native` as any host can. Linux protects a
    memory for one at a time; others compare meanwhile."""
    if native:
        with suppress(OSError):
            return _Protection(memory)
    return _Comparison(memory)


class _Protection:
    """Pages are protected, and the kernel resolves the fault of whoever writes, the kernel itself
    included, by noting it in the page table. No thread and no signal takes part."""

    way = PROTECTION

    def __init__(self, memory: Memory) -> None:
        """Raises `OSError` where it cannot be done."""
        self._memory = memory
        self._regions = array("Q", bytes(8 * _REGION_WORDS * _REGIONS))
        self._all_told = False
        with ExitStack() as opened:
            faults = _userfaultfd()
            opened.callback(os.close, faults)
            features = _FAULT_FLAG | _SHARED_MEMORY | _UNPOPULATED | _ASYNCHRONOUS
            ioctl(faults, _API, array("Q", (_API_VERSION, features, 0)))
            place = memory.address, memory.size
            ioctl(faults, _REGISTER, array("Q", (*place, _WRITE_PROTECT, 0)))
            opened.callback(self._unregister, faults)
            self._pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
            opened.callback(os.close, self._pagemap)
            self._protect(memory.address + _PAGE)  # to see whether it can be done
            self._opened = opened.pop_all()

    def scan(self) -> list[tuple[int, int]]:
        assert not self._memory.closed
        try:
            if self._all_told:
                return _joined(self._written())
            # What is written from here on is told next time, what was before is in an extent.
            self._protect(self._memory.address + self._memory.size)
        except OSError as error:
            self._all_told = False
            raise HostError(
                f"cannot tell which pages the guest has written ({error.strerror}); "
                "the host may be out of memory"
            ) from error
        self._all_told = True
        return list(self._memory.extents())

    def read(self, start: int, end: int) -> bytes:
        return self._memory.peek(start, end - start)

    def close(self) -> None:
        self._opened.close()

    def _unregister(self, faults: int) -> None:
        if not self._memory.closed:
            ioctl(faults, _UNREGISTER, array("Q", (self._memory.address, self._memory.size)))

    def _protect(self, end: int) -> None:
        """All pages up to `end`, whether or not there is anything in them."""
        self._walk(self._memory.address, end, _ALL, regions=0)

    def _written(self) -> Iterator[tuple[int, int]]:
        """Written pages, which are protected again in the same breath."""
        base = at = self._memory.address
        while at < base + self._memory.size:
            found, at = self._walk(at, base + self._memory.size, _WRITTEN, _REGIONS)
            words = self._regions[: _REGION_WORDS * found]
            for start, end in zip(words[0::_REGION_WORDS], words[1::_REGION_WORDS], strict=True):
                yield start - base, end - base

    def _walk(self, start: int, end: int, category: int, regions: int) -> tuple[int, int]:
        """Protect pages of a category; how many regions of them are listed, and how far it got.

        With this category and no other, the kernel counts a page as written, too, that has left the
        page table since. It would not if it were asked for more.
        """
        flags = _PROTECT_MATCHING | _CHECK_ASYNCHRONOUS
        listed = self._regions.buffer_info()[0] if regions else 0
        request = array(
            "Q", (_SCAN_SIZE, flags, start, end, 0, listed, regions, 0, 0, category, 0, category)
        )
        found = ioctl(self._pagemap, _PAGEMAP_SCAN, request)
        return found, request[_WALK_END]


def _userfaultfd() -> int:
    number = _USERFAULTFD.get(platform.machine())
    if sys.platform != "linux" or number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result: int = ctypes.CDLL(None, use_errno=True).syscall(number, os.O_CLOEXEC | _USER_MODE_ONLY)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class _Comparison:
    """The RAM is compared with a copy, in which it is as the last scan has found it."""

    way = "comparison with a copy"

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        try:
            private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            self._copy = mmap.mmap(-1, memory.size, flags=private)
        except OSError as error:
            raise HostError(
                f"cannot reserve {memory.size >> 20} MiB for a copy of guest memory "
                f"({error.strerror}); this host needs it to tell which pages a guest has written"
            ) from error
        self._pin: ctypes.c_char | None = ctypes.c_char.from_buffer(self._copy)
        self._address = ctypes.addressof(self._pin)
        self._compare = ctypes.CDLL(None).memcmp
        self._compare.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]

    def scan(self) -> list[tuple[int, int]]:
        assert not self._memory.closed
        return _joined(self._changed())

    def read(self, start: int, end: int) -> bytes:
        return self._copy[start:end]

    def close(self) -> None:
        self._pin = None
        self._copy.close()

    def _changed(self) -> Iterator[tuple[int, int]]:
        for start, end in self._memory.extents():
            for chunk in range(start, end, _CHUNK):
                chunk_end = min(chunk + _CHUNK, end)
                if self._equal(chunk, chunk_end):
                    continue
                for page in range(chunk, chunk_end, _PAGE):
                    following = page + _PAGE
                    if not self._equal(page, following):
                        self._copy[page:following] = self._memory.ram[page:following]
                        yield page, following

    def _equal(self, start: int, end: int) -> bool:
        here, there = self._memory.address + start, self._address + start
        return not self._compare(here, there, end - start)


def _joined(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in pieces:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined


def size_of(ranges: Iterable[tuple[int, int]]) -> int:
    """Bytes."""
    return sum(end - start for start, end in ranges)


def merged(ranges: Ranges) -> Ranges:
    """In order and without overlaps."""
    found: Ranges = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found

"""Guest RAM: one memory mapping that both the CPU engine and Python see."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial

from vlockstep.errors import HostError, UsageError

READ_FLOOR = 0x10000
"""Below it lie the tender's tables, which the guest does not see."""
WRITE_FLOOR = 0x100000
"""Below it everything the guest sees is read-only."""

_POPULATE = 23
"""MADV_POPULATE_WRITE of Linux 5.14."""
_CHUNK = 1 << 16
_ZEROS = bytes(_CHUNK)


class BadPointer(Exception):
    """An address a guest passed does not lie in its memory."""


class Memory:
    """`size` bytes of guest RAM, zero at first.

    On Linux the mapping is a memfd, so that pages never touched stay holes and cost nothing when
    the RAM is digested or dumped.

    `ram` is a view that refuses to be written to: `write` and what `packer` returns are the
    only ways to store anything from outside the CPU.
    """

    def __init__(self, size: int, base: Memory | None = None) -> None:
        """On a `base` it is an overlay: what is not written here is what stands there. Its extents
        are those of the base."""
        self.size = size
        self.read_only: list[tuple[int, int]] = []
        self._fd = -1
        self._base = base
        try:
            if base is not None and base._fd >= 0:
                self._mapping = mmap.mmap(base._fd, size, flags=mmap.MAP_PRIVATE)
            elif base is not None:
                self._mapping = mmap.mmap(-1, size)
            elif hasattr(os, "memfd_create"):
                self._fd = os.memfd_create("vlockstep-ram")
                os.ftruncate(self._fd, size)
                self._mapping = mmap.mmap(self._fd, size)
            else:
                self._mapping = mmap.mmap(-1, size)
        except OSError as error:
            self._close_fd()
            raise HostError(
                f"cannot reserve {size >> 20} MiB of guest memory ({error.strerror}); "
                "give the guest less",
                key=("memory",),
            ) from error
        self._pin: ctypes.c_char | None = ctypes.c_char.from_buffer(self._mapping)
        self.address = ctypes.addressof(self._pin)
        self.ram = memoryview(self._mapping).toreadonly()

    @property
    def closed(self) -> bool:
        return self._mapping.closed

    def close(self) -> None:
        """Give the memory back. The engine that uses it must be closed first."""
        self._pin = None
        self.ram.release()
        self._mapping.close()
        self._close_fd()

    def __del__(self) -> None:
        """Who was stopped in the midst of something may not have closed it."""
        self._close_fd()

    def _close_fd(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, address: int, length: int) -> bytes:
        """Bytes a guest names in a hypercall."""
        if address < READ_FLOOR or address + length > self.size:
            raise BadPointer(f"{length} bytes at {address:#x} are outside guest memory")
        return self._mapping[address : address + length]

    def peek(self, address: int, length: int) -> bytes:
        """Any bytes of RAM, for who looks at the guest. Raises `UsageError` outside of it."""
        if address < 0 or length < 0 or address + length > self.size:
            raise UsageError(
                f"{length} bytes at {address:#x} are not in the guest's RAM of {self.size:#x} bytes"
            )
        return self._mapping[address : address + length]

    def peek_into(self, address: int, target: memoryview) -> None:
        """Copy RAM from `address` on over all of `target`, with nothing in between."""
        target[:] = self.ram[address : address + len(target)]

    def write(self, address: int, content: bytes) -> None:
        """Store `content`, all of which lies in RAM."""
        self._mapping[address : address + len(content)] = content

    def fill(self, address: int, content: bytes) -> None:
        """As `write`, where RAM was never touched: its pages are made at once, not one by one as
        each is found to be missing. Takes a fifth less time."""
        if self._fd >= 0 and address % mmap.PAGESIZE == 0:
            with suppress(OSError):  # an older kernel
                self._mapping.madvise(_POPULATE, address, len(content))
        self.write(address, content)

    def clear(self) -> None:
        """Hold zeros everywhere. They are written, for pages punched out of the mapping would not
        count as such."""
        for address, content in self.chunks():
            self.write(address, bytes(len(content)))

    def revert(self) -> None:
        """Drop all that was written to an overlay."""
        assert self._base is not None
        if self._base._fd >= 0:
            self._mapping.madvise(mmap.MADV_DONTNEED)
        else:
            self._mapping[:] = self._base.ram

    def replace(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        """Hold these `(address, content)`, and zeros everywhere else."""
        self.clear()
        for address, content in pieces:
            self.write(address, content)

    def packer(self, layout: str) -> Callable[..., None]:
        """A function of an address and values that stores them there as `struct` lays them out."""
        return partial(struct.Struct(layout).pack_into, self._mapping)

    def writable(self, address: int, length: int) -> None:
        """Check that a guest may have `length` bytes at `address` filled in."""
        end = address + length
        if address < WRITE_FLOOR or end > self.size:
            raise BadPointer(f"{length} bytes at {address:#x} are outside writable guest memory")
        for low, high in self.read_only:
            if address < high and low < end:
                raise BadPointer(f"{length} bytes at {address:#x} are read-only in this image")

    @property
    def used(self) -> int:
        """Bytes that may be anything but zeros."""
        return sum(end - start for start, end in self.extents())

    def extents(self) -> Iterator[tuple[int, int]]:
        """`(start, end)` of the ranges that may hold anything but zeros, in order."""
        if self._fd < 0:
            yield from [(0, self.size)] if self._base is None else self._base.extents()
            return
        start = 0
        while start < self.size:
            try:
                start = os.lseek(self._fd, start, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(self._fd, start, os.SEEK_HOLE)
            yield start, end
            start = end

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """`(address, content)` of every aligned chunk that is not all zeros, in order."""
        done = 0
        for start, end in self.extents():
            for address in range(max(done, start - start % _CHUNK), end, _CHUNK):
                content = self._mapping[address : address + _CHUNK]
                if content != _ZEROS:
                    yield address, content
                done = address + _CHUNK

    def digest(self) -> bytes:
        """16 bytes that are equal for equal contents, whichever pages were ever touched."""
        digest = hashlib.blake2b(digest_size=16)
        for address, content in self.chunks():
            digest.update(address.to_bytes(8, "little"))
            digest.update(content)
        return digest.digest()

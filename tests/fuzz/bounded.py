"""A machine for hostile guests: it ends an endless one, and its RAM lies between guard pages."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from vlockstep.machine import machine as machines
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.memory import Memory
from vlockstep.machine.position import Position

MAX_EXITS, MAX_BLOCKS = 200, 500

_GUARD = 1 << 30
_PROT_NONE, _MAP_FIXED = 0, 0x10
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def bounded_machine(image: Image, config: GuestConfig) -> Machine:
    """A machine that stops after so many exits, or so many blocks without one: the guest is given
    up then, which is no bug, and equal in every execution."""
    machine = Machine(image, config, count_blocks=True)
    bound(machine)
    return machine


def bound(machine: Machine) -> None:
    """The same for one that is somewhere already."""

    def check() -> None:
        if machine.exits == MAX_EXITS or machine.position.blocks == MAX_BLOCKS:
            machine.stop()

    for exits in range(machine.exits, MAX_EXITS):
        machine.break_at(Position(exits, MAX_BLOCKS), check, exact=False)
    machine.break_at(Position(MAX_EXITS), check)


class GuardedMemory(Memory):
    """The CPU sees the RAM at a second address, with a gigabyte on either side that nobody may
    touch: the process dies of what would read or write the host's memory."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._reserved = size + 2 * _GUARD
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._start = self._map(None, self._reserved, _PROT_NONE, private, -1)
        shared = mmap.MAP_SHARED | _MAP_FIXED
        access = mmap.PROT_READ | mmap.PROT_WRITE
        self.address = self._map(self._start + _GUARD, size, access, shared, self._fd)

    def close(self) -> None:
        super().close()
        _libc.munmap(self._start, self._reserved)

    @staticmethod
    def _map(address: int | None, size: int, access: int, flags: int, fd: int) -> int:
        result = int(_libc.mmap(address, size, access, flags, fd, 0))
        assert address in (None, result), "mmap failed"
        return result


@contextmanager
def guarded() -> Iterator[None]:
    """Machines made meanwhile have a `GuardedMemory`."""
    with patch.object(machines, "Memory", GuardedMemory):
        yield

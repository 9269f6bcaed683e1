"""A copy of a guest's RAM, most of which is made while the guest runs."""

from __future__ import annotations

from vlockstep.machine.config import MIB
from vlockstep.machine.dirty import Ranges, merged, size_of
from vlockstep.machine.interface import GuestMachine
from vlockstep.machine.memory import Memory

_ROUNDS = 8
_LITTLE = 4 * MIB
_STEP = MIB


class RamCopy:
    """`approach`, hold the guest, and `complete`: then `memory` is what the guest's is. Rounds copy
    what was written in the round before, until that is little or they are many. It can be brought
    up to date so again and again; `changed` is what was copied since `forget`, and in the beginning
    all that may be anything but zeros."""

    def __init__(self, machine: GuestMachine) -> None:
        self.memory = Memory(machine.memory.size)
        self._ranges: Ranges = [*machine.memory.extents()]
        self._pending: Ranges = []
        """Told by a scan, and not copied yet."""
        try:
            self._pages = machine.track()
        except BaseException:
            self.memory.close()
            raise

    def approach(self) -> None:
        for _ in range(_ROUNDS):
            self._scan()
            if self._copy() <= _LITTLE:
                return

    def complete(self, limit: int | None = None) -> bool:
        """The guest stands still. False if it has written more than `limit` bytes: then the copy is
        not what its RAM is, and is to approach that anew."""
        self._scan()
        if limit is not None and size_of(self._pending) > limit:
            return False
        self._copy()
        return True

    @property
    def changed(self) -> Ranges:
        """`(start, end)`, in order and disjoint."""
        return self._ranges

    def forget(self) -> None:
        self._ranges = []

    def close(self) -> None:
        self._pages.close()
        self.memory.close()

    def _scan(self) -> None:
        self._pending = merged(self._pending + self._pages.scan())

    def _copy(self) -> int:
        """How many bytes."""
        ranges, self._pending = self._pending, []
        for start, end in ranges:
            for at in range(start, end, _STEP):
                self.memory.write(at, self._pages.read(at, min(at + _STEP, end)))
        self._ranges = merged(self._ranges + ranges)
        return size_of(ranges)

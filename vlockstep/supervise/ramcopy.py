"""A copy of a guest's RAM, most of which is made while the guest runs."""

from __future__ import annotations

from vlockstep.machine.config import MIB
from vlockstep.machine.interface import GuestMachine
from vlockstep.machine.memory import Memory

_ROUNDS = 8
_LITTLE = 4 * MIB
_STEP = MIB


class RamCopy:
    """`approach`, hold the guest, and `complete`: then `memory` is what the guest's is. Rounds copy
    what was written in the round before, until that is little or they are many."""

    def __init__(self, machine: GuestMachine) -> None:
        self.memory = Memory(machine.memory.size)
        try:
            self._pages = machine.track()
        except BaseException:
            self.memory.close()
            raise

    def approach(self) -> None:
        for _ in range(_ROUNDS):
            if self._copy() <= _LITTLE:
                return

    def complete(self) -> None:
        """The guest stands still."""
        self._copy()

    def close(self) -> None:
        self._pages.close()
        self.memory.close()

    def _copy(self) -> int:
        """How many bytes."""
        size = 0
        for start, end in self._pages.scan():
            size += end - start
            for at in range(start, end, _STEP):
                self.memory.write(at, self._pages.read(at, min(at + _STEP, end)))
        return size

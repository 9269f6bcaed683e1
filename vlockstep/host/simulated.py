"""A World in virtual time: everything that is chance elsewhere comes from a seed here."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from vlockstep.host.live import BlockDevice, Console, Continuation
from vlockstep.machine.blockcounter import NEVER
from vlockstep.machine.position import Position
from vlockstep.machine.world import Outcome

_EPOCH = 1_700_000_000_000_000_000
_LONGEST_SLEEP = 3_600_000_000_000
"""Nanoseconds after which a guest that would sleep for ever is woken."""
_MEAN_BLOCKS_BETWEEN_INTERRUPTS = 20_000


class SimulatedWorld:
    """Clocks advance by random steps at each reading, sleeping takes no time, and timer
    interrupts come after a random number of blocks. Equal seeds give equal executions."""

    def __init__(
        self,
        seed: int,
        console: Console,
        disks: Mapping[int, BlockDevice] | None = None,
        *,
        start: Continuation | None = None,
        console_offset: int = 0,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        start = start or Continuation()
        self._pause = pause
        self._generation = start.generation
        self._not_before = start.not_before
        self._random = random.Random(seed)
        self._console = console
        self._disks = disks or {}
        self._cycles = start.clock[0]
        self._skew = max(start.clock[1], _EPOCH) - start.clock[0]
        self.console_offset = console_offset
        self._vector = 0
        self._next: Position | None = None

    # Inputs

    def cycles(self, at: int) -> int:
        self._cycles += self._random.randint(20, 2000)
        return self._cycles

    def walltime(self, at: int) -> int:
        return self.cycles(at) + self._skew

    def generation(self, at: int) -> int:
        return self._generation()

    def random(self, at: int) -> int:
        return self._random.getrandbits(64)

    def poll(self, at: int, timeout: int) -> int:
        self._pause()
        self._cycles += min(timeout, _LONGEST_SLEEP)
        return 0

    def net_read(self, at: int, handle: int, limit: int) -> bytes | None:
        return None

    def block_read(self, at: int, handle: int, offset: int, length: int) -> bytes | None:
        return self._disks[handle].read(offset, length)

    def stop_at(self, position: Position) -> int | None:
        if not self._vector:
            return None
        if self._next is None or self._next.exits != position.exits:
            self._schedule(position)
        assert self._next is not None
        return self._next.blocks

    def interrupt(self, position: Position, enabled: bool) -> int | None:
        self._pause()
        if self._next is None or position < self._next:
            return None
        if not enabled:
            self._next = Position(position.exits, position.blocks + self._random.randint(1, 64))
            return None
        self._schedule(position)
        return self._vector

    def wait_interrupt(self, position: Position) -> int:
        return self._vector

    # Outputs

    def console(self, at: int, data: bytes) -> None:
        self._console.write(self.console_offset, data)
        self.console_offset += len(data)

    def net_write(self, at: int, handle: int, frame: bytes) -> None:
        pass

    def block_write(self, at: int, handle: int, offset: int, data: bytes) -> None:
        self._disks[handle].write(offset, data)

    def timer(self, at: int, period: int, vector: int, kick: Callable[[], None]) -> None:
        self._vector = vector if period else 0
        self._next = None

    def end(self, outcome: Outcome) -> None:
        pass

    # Others

    def wake(self) -> None:
        pass

    def clock(self) -> tuple[int, int]:
        return self._cycles, self._cycles + self._skew

    def leave(self) -> None:
        pass

    def _schedule(self, position: Position) -> None:
        step = self._random.randint(1, 2 * _MEAN_BLOCKS_BETWEEN_INTERRUPTS)
        self._next = Position(position.exits, position.blocks + step)
        if self._next < self._not_before:
            same = position.exits == self._not_before.exits
            self._next = self._not_before if same else Position(position.exits, NEVER)

"""A World that passes everything through another one and logs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vlockstep.machine.interface import Probe
from vlockstep.machine.position import Position
from vlockstep.machine.world import Outcome, World
from vlockstep.replay.entry import (
    SLICE,
    Checkpoint,
    End,
    Entry,
    Kind,
    Value,
    block_write_digest,
    output_digest,
    slice_digest,
    slice_of,
)

# Looking up a member of an enumeration takes 0.1 µs; these are looked up for every entry.
(
    _CYCLES,
    _WALLTIME,
    _POLL,
    _NET_READ,
    _BLOCK_READ,
    _CONSOLE,
    _NET_WRITE,
    _BLOCK_WRITE,
    _INTERRUPT,
    _END,
    _GENERATION,
    _RANDOM,
) = map(int, Kind)

CHECKPOINT_INTERVAL = 512
"""Entries from one checkpoint of the registers to the next."""
MEMORY_INTERVAL = 8
"""Every so many checkpoints, one digests a slice of RAM too."""


class Cadence(NamedTuple):
    """Where a Recorder stands from one checkpoint to the next."""

    until_checkpoint: int = 1
    """Entries."""
    until_memory: int = MEMORY_INTERVAL
    """Checkpoints."""
    slice: int = 0
    """Address of the slice of RAM that was digested last."""

    def after(self, entry: Entry) -> Cadence:
        """Where the Recorder stands that has made this entry next; another one than before, if it
        made a checkpoint that this one would not have made."""
        checkpoint = entry[4]
        left, until_memory, slice = self
        if not checkpoint:
            return Cadence(max(1, left - 1), until_memory, slice)
        before = MEMORY_INTERVAL if left > 1 else until_memory
        address = slice_of(checkpoint)
        if address is not None:
            return Cadence(CHECKPOINT_INTERVAL, MEMORY_INTERVAL, address)
        return Cadence(CHECKPOINT_INTERVAL, before - 1, 0 if left > 1 else slice)


_START = Cadence()


class Recorder:
    """Logs each input with its value and each output with its digest, in order, through `append`.

    An output is logged before it is made. `local` are the handles of block devices of which each
    replica has its own copy: their reads are logged as digests. From time to time an entry carries
    a checkpoint of the guest's state. One that goes on from `cadence` makes the entries that the
    Recorder would have made whose `cadence` it was.
    """

    def __init__(
        self,
        world: World,
        machine: Probe,
        append: Callable[[Entry], None],
        local: frozenset[int] = frozenset(),
        cadence: Cadence = _START,
    ) -> None:
        self._world = world
        self._machine = machine
        self._append = append
        self._local = local
        self._until_checkpoint, self._until_memory, self._slice = cadence

    @property
    def cadence(self) -> Cadence:
        return Cadence(self._until_checkpoint, self._until_memory, self._slice)

    # Inputs

    def cycles(self, at: int) -> int:
        value = self._world.cycles(at)
        self._until_checkpoint = left = self._until_checkpoint - 1
        self._append((_CYCLES, at, 0, value, b"" if left else self._checkpoint()))
        return value

    def walltime(self, at: int) -> int:
        value = self._world.walltime(at)
        self._log(_WALLTIME, at, value)
        return value

    def generation(self, at: int) -> int:
        generation = self._world.generation(at)
        self._log(_GENERATION, at, generation)
        return generation

    def random(self, at: int) -> int:
        value = self._world.random(at)
        self._log(_RANDOM, at, value)
        return value

    def poll(self, at: int, timeout: int) -> int:
        ready = self._world.poll(at, timeout)
        self._log(_POLL, at, ready)
        return ready

    def net_read(self, at: int, handle: int, limit: int) -> bytes | None:
        frame = self._world.net_read(at, handle, limit)
        self._log(_NET_READ, at, (handle, frame))
        return frame

    def block_read(self, at: int, handle: int, offset: int, length: int) -> bytes | None:
        data = self._world.block_read(at, handle, offset, length)
        local = handle in self._local and data is not None
        self._log(_BLOCK_READ, at, output_digest(data or b"") if local else data)
        return data

    def stop_at(self, position: Position) -> int | None:
        return self._world.stop_at(position)

    def interrupt(self, position: Position, enabled: bool) -> int | None:
        vector = self._world.interrupt(position, enabled)
        if vector is not None:
            self._log(_INTERRUPT, position.exits, vector, position.blocks)
        return vector

    def wait_interrupt(self, position: Position) -> int:
        vector = self._world.wait_interrupt(position)
        self._log(_INTERRUPT, position.exits, vector, position.blocks)
        return vector

    # Outputs

    def console(self, at: int, data: bytes) -> None:
        self._log(_CONSOLE, at, output_digest(data))
        self._world.console(at, data)

    def net_write(self, at: int, handle: int, frame: bytes) -> None:
        self._log(_NET_WRITE, at, output_digest(frame))
        self._world.net_write(at, handle, frame)

    def block_write(self, at: int, handle: int, offset: int, data: bytes) -> None:
        self._log(_BLOCK_WRITE, at, block_write_digest(handle, offset, data))
        self._world.block_write(at, handle, offset, data)

    def timer(self, at: int, period: int, vector: int, kick: Callable[[], None]) -> None:
        self._world.timer(at, period, vector, kick)

    def end(self, outcome: Outcome) -> None:
        at = outcome.position
        self._append((_END, at.exits, at.blocks, End.of(outcome).pack(), b""))
        self._world.end(outcome)

    # Logging

    def _log(self, kind: int, exits: int, value: Value, blocks: int = 0) -> None:
        self._until_checkpoint = left = self._until_checkpoint - 1
        self._append((kind, exits, blocks, value, b"" if left else self._checkpoint()))

    def _checkpoint(self) -> bytes:
        self._until_checkpoint = CHECKPOINT_INTERVAL
        registers = self._machine.registers()
        self._until_memory -= 1
        if self._until_memory:
            return Checkpoint(registers).pack()
        self._until_memory = MEMORY_INTERVAL
        address = self._next_slice()
        return Checkpoint(registers, address, slice_digest(self._machine.memory, address)).pack()

    def _next_slice(self) -> int:
        """The next slice of RAM in turn that holds anything."""
        used = {
            address
            for low, high in self._machine.memory.extents()
            for address in range(low - low % SLICE, high, SLICE)
        }
        later = [address for address in used if address > self._slice]
        self._slice = min(later or used, default=0)
        return self._slice

"""Outputs between the guest and the world: held back until they may leave, or are forgotten."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from vlockstep.ft.handoff import Appended
from vlockstep.machine.position import Position
from vlockstep.machine.world import Outcome
from vlockstep.replay.entry import Kind
from vlockstep.replay.live import BlockDevice, Console, NetDevice


class Output(NamedTuple):
    """`sequence` is that of its entry, `offset` the place on the disk or in the console stream."""

    sequence: int
    kind: Kind
    handle: int
    offset: int
    data: bytes


class Inputs(Protocol):
    """The input side of a World, on whatever a primary runs."""

    def cycles(self, at: int) -> int: ...
    def walltime(self, at: int) -> int: ...
    def generation(self, at: int) -> int: ...
    def poll(self, at: int, timeout: int) -> int: ...
    def net_read(self, at: int, handle: int, limit: int) -> bytes | None: ...
    def stop_at(self, position: Position) -> int | None: ...
    def interrupt(self, position: Position, enabled: bool) -> int | None: ...
    def wait_interrupt(self, position: Position) -> int: ...
    def timer(self, at: int, period: int, vector: int, kick: Callable[[], None]) -> None: ...

    def wake(self) -> None:
        """Let the guest look again if it waits. From any thread."""

    def clock(self) -> tuple[int, int]:
        """Where the guest's clocks stand: cycles, and ns since the epoch."""

    def leave(self) -> None:
        """Another World takes over."""


class OutputQueue:
    """Outputs in order. The guest's thread adds and reads through; another releases or forgets.

    An output stays in the queue until it is made, and nobody waits for it meanwhile: a frame may
    wake who answers it before its `write` returns.
    """

    def __init__(
        self,
        console: Console,
        disks: Mapping[int, BlockDevice],
        nics: Mapping[int, NetDevice] | None = None,
        about_to_perform: Callable[[Output], None] = lambda output: None,
        performed: Callable[[Output], None] = lambda output: None,
    ) -> None:
        self._console = console
        self._disks = disks
        self._nics = nics or {}
        self._about_to_perform = about_to_perform
        self._performed = performed
        self._lock = threading.Lock()
        self._queue: deque[Output] = deque()
        self._console_offset = 0
        self._forgotten = 0
        self.bytes = 0
        """Queued; what limits the queue is the protocol's business."""

    def add(self, sequence: int, kind: Kind, handle: int, offset: int, data: bytes) -> None:
        """Queue an output. Console text gets its place in the stream here."""
        with self._lock:
            if kind is Kind.CONSOLE:
                offset = self._console_offset
                self._console_offset += len(data)
            if sequence < self._forgotten:
                return
            assert not self._queue or self._queue[-1].sequence < sequence
            self._queue.append(Output(sequence, kind, handle, offset, data))
            self.bytes += len(data)

    def release(self, end: int, permitted: Callable[[], bool]) -> int:
        """Make the outputs of entries before `end`, each only if `permitted` just before.

        Returns `end`, or the entry of the first output that was not permitted any more.
        """
        while self._queue and self._queue[0].sequence < end:
            output = self._queue[0]
            self._about_to_perform(output)
            if not permitted():
                return output.sequence
            self._perform(output)
            with self._lock:
                self._queue.popleft()
                self.bytes -= len(output.data)
            self._performed(output)
        return end

    def forget(self, end: int) -> None:
        """Drop all outputs of entries before `end`, also those to come: another replica has made
        them."""
        with self._lock:
            self._forgotten = end
            while self._queue and self._queue[0].sequence < end:
                self.bytes -= len(self._queue.popleft().data)

    def read_block(self, handle: int, offset: int, length: int) -> bytes | None:
        """What the guest must find on its disk: the disk's content under the queued writes."""
        with self._lock:
            data = self._disks[handle].read(offset, length)
            if data is None:
                return None
            for write in self._queue:
                if write.kind is not Kind.BLOCK_WRITE or write.handle != handle:
                    continue
                low = max(offset, write.offset)
                high = min(offset + length, write.offset + len(write.data))
                if low < high:
                    piece = write.data[low - write.offset : high - write.offset]
                    data = data[: low - offset] + piece + data[high - offset :]
            return data

    def _perform(self, output: Output) -> None:
        match output.kind:
            case Kind.CONSOLE:
                self._console.write(output.offset, output.data)
            case Kind.BLOCK_WRITE:
                self._disks[output.handle].write(output.offset, output.data)
            case Kind.NET_WRITE:
                self._nics[output.handle].write(output.data)


class ProtectedWorld:
    """The World of a primary: inputs from this host, outputs into the queue.

    It stands behind a Recorder, so the entry of an output has just been appended. Disks in
    `local` are written at once.
    """

    def __init__(
        self,
        inputs: Inputs,
        queue: OutputQueue,
        appended: Appended,
        local: Mapping[int, BlockDevice],
    ) -> None:
        self._inputs = inputs
        self._queue = queue
        self._appended = appended
        self._local = local
        self.cycles = inputs.cycles
        self.walltime = inputs.walltime
        self.generation = inputs.generation
        self.poll = inputs.poll
        self.net_read = inputs.net_read
        self.stop_at = inputs.stop_at
        self.interrupt = inputs.interrupt
        self.wait_interrupt = inputs.wait_interrupt
        self.timer = inputs.timer

    def block_read(self, at: int, handle: int, offset: int, length: int) -> bytes | None:
        if handle in self._local:
            return self._local[handle].read(offset, length)
        return self._queue.read_block(handle, offset, length)

    def console(self, at: int, data: bytes) -> None:
        self._add(Kind.CONSOLE, 0, 0, data)

    def net_write(self, at: int, handle: int, frame: bytes) -> None:
        self._add(Kind.NET_WRITE, handle, 0, frame)

    def block_write(self, at: int, handle: int, offset: int, data: bytes) -> None:
        if handle in self._local:
            self._local[handle].write(offset, data)
            self._appended.made()
        else:
            self._add(Kind.BLOCK_WRITE, handle, offset, data)

    def end(self, outcome: Outcome) -> None:
        self._add(Kind.END, 0, 0, b"")
        self._inputs.leave()

    def _add(self, kind: Kind, handle: int, offset: int, data: bytes) -> None:
        self._queue.add(self._appended.next - 1, kind, handle, offset, data)
        self._appended.made()

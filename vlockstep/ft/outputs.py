"""Outputs between the guest and the world: held back until they may leave, or are forgotten."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from typing import NamedTuple, Protocol

from vlockstep.errors import NoRoom
from vlockstep.ft.handoff import EntryOutbox
from vlockstep.host.background import Background
from vlockstep.host.live import BlockDevice, Console, NetDevice
from vlockstep.machine.position import Position
from vlockstep.machine.world import Outcome
from vlockstep.replay.entry import Kind

_WAITING = (Kind.CONSOLE, Kind.BLOCK_WRITE)
_TOLD_EVERY = 16
_OVERHEAD = 256
"""Bytes that an output takes besides its data."""


class Output(NamedTuple):
    """`sequence` is that of its entry, `offset` the place on the disk or in the console stream."""

    sequence: int
    kind: Kind
    handle: int
    offset: int
    data: bytes

    @property
    def size(self) -> int:
        """Of it in memory, or a little more."""
        return _OVERHEAD + len(self.data)


class Inputs(Protocol):
    """The input side of a World, on whatever a primary runs."""

    def cycles(self, at: int) -> int: ...
    def walltime(self, at: int) -> int: ...
    def generation(self, at: int) -> int: ...
    def random(self, at: int) -> int: ...
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
    """Outputs in order. The guest's thread adds and reads through; the protocol's thread permits or
    forgets.

    What may wait for a file is made in the background, and so is all that comes behind it; the
    rest is made by who permits it. An output stays in the queue
    until it is made, and nobody waits for it meanwhile: a frame may wake who answers it before its
    `write` returns. `progressed` is called when there is something new to look at.
    """

    def __init__(
        self,
        console: Console,
        disks: Mapping[int, BlockDevice],
        nics: Mapping[int, NetDevice],
        *,
        now: Callable[[], int],
        background: Background,
        progressed: Callable[[], None],
        about_to_make: Callable[[Output], None] | None = None,
        made: Callable[[Output], None] | None = None,
    ) -> None:
        self._console = console
        self._disks = disks
        self._nics = nics
        self._now = now
        self._background = background
        self._progressed = progressed
        self._about_to_make = about_to_make
        self._made = made
        self._lock = threading.Lock()
        self._queue: deque[Output] = deque()
        self._console_offset = 0
        self._forgotten = 0
        self._end = 0
        self._until = 0
        self._busy = False
        """The background has the queue's head."""
        self._untold = 0
        self._closed = False
        self.making: int | None = None
        """The entry of the output that is being made."""
        self.bytes = 0
        """That the queue takes; what limits it is the protocol's business."""
        self.expired = False
        """An output was not made, since it was too late for that."""
        self.no_room: NoRoom | None = None
        """Why an output was not made, which waits for `retry`, and all behind it."""
        self.failure: Exception | None = None
        """An output could not be made, and so nothing behind it will be."""

    # The guest's thread

    def add(self, sequence: int, kind: Kind, handle: int, offset: int, data: bytes) -> None:
        """Queue an output. Console text gets its place in the stream here."""
        with self._lock:
            if kind is Kind.CONSOLE:
                offset = self._console_offset
                self._console_offset += len(data)
            if sequence < self._forgotten:
                return
            assert not self._queue or self._queue[-1].sequence < sequence
            output = Output(sequence, kind, handle, offset, data)
            self._queue.append(output)
            self.bytes += output.size

    def waiting(self) -> tuple[Output, ...]:
        """Those that wait to be made."""
        with self._lock:
            return tuple(self._queue)

    @property
    def printed(self) -> int:
        """Bytes of text so far."""
        return self._console_offset

    def go_on(self, printed: int, outputs: Iterable[Output]) -> None:
        """With what a guest has printed, and with outputs of it that wait. Before it runs here."""
        self._console_offset = printed
        for output in outputs:
            self._queue.append(output)
            self.bytes += output.size

    def read_block(self, handle: int, offset: int, length: int) -> bytes | None:
        """What the guest must find on its disk: the disk's content under the queued writes. They
        are looked up first: what leaves the queue meanwhile is on the disk."""
        with self._lock:
            writes = [w for w in self._queue if w.kind is Kind.BLOCK_WRITE and w.handle == handle]
        data = self._disks[handle].read(offset, length)
        if data is None:
            return None
        for write in writes:
            low = max(offset, write.offset)
            high = min(offset + length, write.offset + len(write.data))
            if low < high:
                piece = write.data[low - write.offset : high - write.offset]
                data = data[: low - offset] + piece + data[high - offset :]
        return data

    # The protocol's thread

    def permit(self, end: int, until: int) -> None:
        """Make the outputs of entries before `end`, each only if the clock is before `until` just
        before."""
        with self._lock:
            self._end, self._until = end, until
        self._go_on()

    def retry(self) -> None:
        """There may be room by now."""
        self.no_room = None
        self._go_on()

    def _go_on(self) -> None:
        while outputs := self._ready():
            for output in outputs:
                if output.kind in _WAITING:
                    self._busy = True
                    self._background.submit(self._work)
                    return
                if not self._make(output):
                    return

    @property
    def done(self) -> int:
        """All outputs of permitted entries before this one are made."""
        with self._lock:
            self._untold = 0
            return min(self._end, self._queue[0].sequence) if self._queue else self._end

    def __len__(self) -> int:
        """How many wait to be made."""
        return len(self._queue)

    def forget(self, end: int) -> None:
        """Drop all outputs of entries before `end`, also those to come: another replica has made
        them."""
        with self._lock:
            self._forgotten = end
            while self._queue and self._queue[0].sequence < end:
                self.bytes -= self._queue.popleft().size

    def close(self) -> None:
        """Begin no other output."""
        with self._lock:
            self._closed = True

    def settle(self, seconds: float) -> bool:
        """Once closed: whether the output that was begun, if one was, has come to its end after
        this time at the most."""
        return self._background.drain(seconds)

    # Either that thread, or the background while it is busy

    def _ready(self) -> list[Output]:
        """The outputs that are permitted, if nobody else is at them."""
        with self._lock:
            if self._busy or self.no_room is not None or self._closed:
                return []
            return [*takewhile(lambda output: output.sequence < self._end, self._queue)]

    @property
    def _permitted(self) -> bool:
        """Whether there is an output to be made; the lock is held."""
        return not self._closed and bool(self._queue) and self._queue[0].sequence < self._end

    def _make(self, output: Output) -> bool:
        """Whether it was made."""
        self.making = output.sequence
        try:
            return self._make_in_time(output)
        finally:
            self.making = None

    def _make_in_time(self, output: Output) -> bool:
        if self._about_to_make is not None:
            self._about_to_make(output)
        if self._now() >= self._until:
            self.expired = True
            return False
        match output.kind:
            case Kind.NET_WRITE:
                self._nics[output.handle].write(output.data)
            case Kind.CONSOLE:
                self._console.write(output.offset, output.data)
            case Kind.BLOCK_WRITE:
                self._disks[output.handle].write(output.offset, output.data)
        with self._lock:
            self._queue.popleft()
            self.bytes -= output.size
            self._untold += 1
        if self._made is not None:
            self._made(output)
        return True

    def _work(self) -> None:
        """Make one output, and go on with the next."""
        with self._lock:
            output = None if self._closed else self._queue[0]
        made = False
        try:
            made = output is not None and self._make(output)
        except NoRoom as error:
            self.no_room = error
        except Exception as error:
            self.failure = error
        with self._lock:
            in_time = made or self._now() < self._until  # it may have been prolonged meanwhile
            stuck = self.failure is not None or self.no_room is not None
            going_on = in_time and self._permitted and not stuck
            self._busy = going_on or self.failure is not None
            tell = not going_on or self._untold == _TOLD_EVERY
        if going_on:
            self._background.submit(self._work)
        if tell:
            self._progressed()


class ProtectedWorld:
    """The World of a primary: inputs from this host, outputs into the queue.

    It stands behind a Recorder, so the entry of an output has just been outbox. Disks in
    `local` are written at once.
    """

    def __init__(
        self,
        inputs: Inputs,
        queue: OutputQueue,
        outbox: EntryOutbox,
        local: Mapping[int, BlockDevice],
    ) -> None:
        self._inputs = inputs
        self._queue = queue
        self._outbox = outbox
        self._local = local
        self.cycles = inputs.cycles
        self.walltime = inputs.walltime
        self.generation = inputs.generation
        self.random = inputs.random
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
            self._outbox.queued()
        else:
            self._add(Kind.BLOCK_WRITE, handle, offset, data)

    def end(self, outcome: Outcome) -> None:
        self._add(Kind.END, 0, 0, b"")
        self._inputs.leave()

    def _add(self, kind: Kind, handle: int, offset: int, data: bytes) -> None:
        self._queue.add(self._outbox.next - 1, kind, handle, offset, data)
        self._outbox.queued()

"""The World of a guest that runs for real: host clocks, files, timers."""

from __future__ import annotations

import contextlib
import random
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from vlockstep.machine.blockcounter import NEVER
from vlockstep.machine.position import BOOT, Position
from vlockstep.machine.world import Outcome

_MASK = (1 << 64) - 1
_MAX_WAIT = 3600.0
_MAX_BACKOFF = 4096


class Console(Protocol):
    def write(self, offset: int, data: bytes) -> None:
        """`data` belongs at `offset` of the guest's console stream."""


class BlockDevice(Protocol):
    def read(self, offset: int, length: int) -> bytes | None: ...

    def write(self, offset: int, data: bytes) -> None: ...


class NetDevice(Protocol):
    def read(self, limit: int) -> bytes | None:
        """A waiting frame, or None."""

    def write(self, frame: bytes) -> None: ...

    def waiting(self) -> bool: ...

    def descriptors(self) -> tuple[int, ...]:
        """What becomes readable when a frame comes, after `waiting` has said no."""


@dataclass(frozen=True)
class Continuation:
    """Where an execution goes on that another World began.

    The guest's clocks stand at `clock`, (cycles, ns since the epoch), and never go back. Before
    the position `not_before` no interrupt comes. `waited` is an exit in which the guest waits
    already, and since when by `time.monotonic_ns`. `generation` tells which primary rules.
    """

    clock: tuple[int, int] = (0, 0)
    not_before: Position = BOOT
    waited: tuple[int, int] | None = None
    generation: Callable[[], int] = lambda: 0

    def waiting_since(self, at: int, now: int) -> int:
        """When the wait began in which the guest is in exit `at`, at the latest `now`."""
        return self.waited[1] if self.waited is not None and self.waited[0] == at else now


class Bell:
    """Wakes one thread that waits, also for file descriptors to become readable.

    Whoever waits clears it, looks whether there is cause to go on, and only then waits.
    """

    def __init__(self, descriptors: Iterable[int] = ()) -> None:
        self._receive, self._send = socket.socketpair()
        self._receive.setblocking(False)
        self._rung = False
        self._poll = select.poll()
        for descriptor in (self._receive.fileno(), *descriptors):
            self._poll.register(descriptor, select.POLLIN)

    def ring(self) -> None:
        if not self._rung:
            self._rung = True
            self._send.send(b"!")

    def clear(self) -> None:
        if self._rung:
            with contextlib.suppress(BlockingIOError):
                self._receive.recv(16)
            self._rung = False

    def wait(self, seconds: float) -> None:
        """Sleeps whole milliseconds, unless woken. A descriptor that fails is left out from then
        on."""
        for descriptor, event in self._poll.poll(-(-seconds * 1000 // 1)):
            if descriptor == self._receive.fileno():
                self._rung = True
            elif event != select.POLLIN:
                self._poll.unregister(descriptor)


class LiveWorld:
    """Inputs from this host, outputs to it.

    `console_offset` is how much console text there has been. `pause` is called in every round of
    a wait, and may block or raise `WorldChanged`; `wake` starts a round.
    """

    def __init__(
        self,
        console: Console,
        disks: Mapping[int, BlockDevice] | None = None,
        nics: Mapping[int, NetDevice] | None = None,
        *,
        start: Continuation | None = None,
        console_offset: int = 0,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self._start = start = start or Continuation()
        self._console = console
        self._disks = disks or {}
        self._nics = nics or {}
        now = time.perf_counter_ns()
        self._zero = now - start.clock[0]
        self._wall_zero = start.clock[1] - now
        self.console_offset = console_offset
        self.polls: tuple[int, int] = (-1, 0)
        """The exit in which the guest polls, or did last, and since when by `time.monotonic_ns`."""
        self._bell = Bell(fd for nic in self._nics.values() for fd in nic.descriptors())
        self._pause = pause
        self._ticker: _Ticker | None = None
        self._backoff = 1
        self._waiting_since_exit = -1

    # Inputs

    def cycles(self, at: int) -> int:
        return time.perf_counter_ns() - self._zero & _MASK

    def walltime(self, at: int) -> int:
        """Follows the host's when that is set forward, and goes on steadily when it is set back."""
        wall = time.time_ns()
        now = time.perf_counter_ns()  # after it, so that a pause between them makes no difference
        self._wall_zero = max(self._wall_zero, wall - now)
        return now + self._wall_zero & _MASK

    def poll(self, at: int, timeout: int) -> int:
        since = self._start.waiting_since(at, time.monotonic_ns())
        self.polls = at, since
        deadline = (since + timeout) / 1e9
        while True:
            self._bell.clear()
            self._pause()
            ready = 0
            for handle, nic in self._nics.items():
                if nic.waiting():
                    ready |= 1 << handle
            left = deadline - time.monotonic()
            if ready or left <= 0:
                return ready
            self._bell.wait(min(left, _MAX_WAIT))

    def generation(self, at: int) -> int:
        return self._start.generation()

    def random(self, at: int) -> int:
        return secrets.randbits(64)

    def net_read(self, at: int, handle: int, limit: int) -> bytes | None:
        return self._nics[handle].read(limit)

    def block_read(self, at: int, handle: int, offset: int, length: int) -> bytes | None:
        return self._disks[handle].read(offset, length)

    def stop_at(self, position: Position) -> int | None:
        ticker = self._ticker
        if ticker is None or not ticker.pending:
            return None
        not_before = self._start.not_before
        if position < not_before:
            return not_before.blocks if position.exits == not_before.exits else NEVER
        if position.exits != self._waiting_since_exit:
            self._waiting_since_exit, self._backoff = position.exits, 1
            return position.blocks
        # The guest has interrupts off. Random steps, so that no pattern of its own hides from us.
        self._backoff = min(2 * self._backoff, _MAX_BACKOFF)
        return position.blocks + random.randint(1, self._backoff)

    def interrupt(self, position: Position, enabled: bool) -> int | None:
        self._pause()
        ticker = self._ticker
        if ticker is None or not ticker.pending or not enabled:
            return None
        return None if position < self._start.not_before else ticker.take()

    def wait_interrupt(self, position: Position) -> int:
        assert self._ticker is not None
        while True:
            self._bell.clear()
            self._pause()
            if self._ticker.pending:
                return self._ticker.take()
            self._bell.wait(_MAX_WAIT)

    # Outputs

    def console(self, at: int, data: bytes) -> None:
        self._console.write(self.console_offset, data)
        self.console_offset += len(data)

    def net_write(self, at: int, handle: int, frame: bytes) -> None:
        self._nics[handle].write(frame)

    def block_write(self, at: int, handle: int, offset: int, data: bytes) -> None:
        self._disks[handle].write(offset, data)

    def timer(self, at: int, period: int, vector: int, kick: Callable[[], None]) -> None:
        if self._ticker is not None:
            self._ticker.stop()

        def notify() -> None:
            kick()
            self._bell.ring()

        self._ticker = _Ticker(period / 1e9, vector, notify) if period else None

    def end(self, outcome: Outcome) -> None:
        self.timer(0, 0, 0, lambda: None)

    # Others

    def wake(self) -> None:
        """Let the guest look again if it waits here. From any thread."""
        self._bell.ring()

    def clock(self) -> tuple[int, int]:
        """Where the guest's clocks stand, for whoever runs it next."""
        return self.cycles(0), self.walltime(0)

    def leave(self) -> None:
        """Another World takes over: stop the timer."""
        if self._ticker is not None:
            self._ticker.stop()


class _Ticker:
    """A thread that raises a periodic interrupt: sets `pending` and calls `notify`.

    A tick that finds the one before it still pending is merged with it.
    """

    def __init__(self, period: float, vector: int, notify: Callable[[], None]) -> None:
        self.pending = False
        self._vector = vector
        self._period = period
        self._notify = notify
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guest-timer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic() + self._period
        while not self._stopped.wait(min(max(0.0, due - time.monotonic()), _MAX_WAIT)):
            if time.monotonic() < due:
                continue
            self.pending = True
            self._notify()
            due = max(due + self._period, time.monotonic())

    def take(self) -> int:
        self.pending = False
        return self._vector

    def stop(self) -> None:
        self._stopped.set()

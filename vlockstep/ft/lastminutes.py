"""The log of a guest's last minutes, kept while it runs: a recording if it fails.

Its keyframes have the whole RAM, most of which is copied while the guest runs and compressed
elsewhere, so that the guest's thread is held for a millisecond or so. See `replay.lastlog` for the
files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from vlockstep.ft.keptlog import KeptLog
from vlockstep.ft.keyframing import Followed, Keyframing
from vlockstep.ft.ownreads import OwnReads
from vlockstep.host.background import Background
from vlockstep.machine.basis import Basis
from vlockstep.machine.interface import GuestMachine
from vlockstep.machine.machine import Machine
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Outcome, World
from vlockstep.protocol.journal import Batch
from vlockstep.protocol.timing import SECOND
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, data_size
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.keyframes import Clocked, state_before, state_here
from vlockstep.replay.lastlog import next_path
from vlockstep.replay.recorder import Cadence, Recorder

SPAN = 60 * SECOND
"""Nanoseconds that a log goes back at least, once the guest has run for so long."""
SIZE = 256 << 20
"""Bytes behind which it need not."""
_MANY, _MUCH = 2048, 1 << 18
"""Entries, and bytes of data in them, that do not wait for company."""


def new_path(name: str) -> Path:
    """Of the log of a guest of that name, in the working directory: another one for each run,
    however soon it follows."""
    return Path(f"{name}-{datetime.now():%Y%m%dT%H%M%S.%f}.vlog")


class LastMinutes:
    """Of `guest`, from entry `next` on; if that is not the first since `boot`, from a keyframe
    soon. What cannot be done costs the log, and nothing else: `tell` is told.

    `taken` and `made` are called in the guest's thread, the rest of what is public in turns.
    """

    def __init__(
        self,
        path: Path,
        guest: Followed,
        background: Callable[[str], Background],
        tell: Callable[[str], None],
        basis: Basis,
        *,
        next: int = 0,
        boot: bool = True,
        span: int = SPAN,
        size: int = SIZE,
        reads: OwnReads | None = None,
    ) -> None:
        """All that the guest reads is in its entries, or in `reads`."""
        self.path = path
        machine = guest.machine
        config = machine.config
        blocks = {name: replace(disk, local=False) for name, disk in config.blocks.items()}
        self._background = background("last keyframes")
        self._tell = tell
        self._log = KeptLog(
            path,
            replace(config, blocks=blocks),  # so it says
            background("last minutes"),
            tell,
            machine.image.path,
            basis,
            next,
            boot,
            reads,
        )
        self._made = Keyframing(
            guest, self._log, self._background, span, tell, last=True, size=size
        )
        self._first_in = span if boot else 0
        self.taken, self.made = self._made.taken, self._made.made

    def begin(self, now: int) -> None:
        """The guest runs from now on."""
        self._made.begin(now + self._first_in)

    def keep(self, now: int, batches: Iterable[Batch]) -> None:
        self._log.keep(now, batches)

    def deadline(self) -> int:
        """When to `turn` at the latest."""
        return min(self._made.deadline(), self._log.deadline())

    def turn(self, now: int) -> None:
        self._log.turn(now)
        self._made.turn(now)

    def show(self, told: Callable[[Path, int], None]) -> None:
        """As `KeptLog.show`."""
        self._log.show(told)

    def stop(self) -> None:
        """There is no more use for later states."""
        self._made.stop()

    def end(self, failed: bool, what: str = "what led to this") -> None:
        """The guest has ended: keep the log if it has `failed`, and there is one."""
        self._made.stop()
        self._log.close()
        kept = failed and not self._log.lost and self.path.exists()
        if not kept:
            for path in (self.path, next_path(self.path)):
                with suppress(OSError):
                    path.unlink()
        if failed:
            self._tell(
                f"{what} was recorded: vlockstep debug {self.path}"
                if kept
                else f"{what} was not recorded"
            )


def has_failed(end: Outcome | GuestError | None) -> bool:
    """Whether a guest that ended so has failed or aborted."""
    outcome = end.outcome if isinstance(end, GuestError) else end
    return outcome is not None and (bool(outcome.reason) or outcome.aborted)


class RecordedWorld(World, Clocked, Protocol):
    """What is recorded."""

    def wake(self) -> None:
        """Let who is to visit the guest in, though it waits. From any thread."""


class LastMinutesAlone:
    """The same of a guest that no replica executes: its World is `recorder`, which passes on to
    `world`. When it gets another World, and has to `leave`, the log is of what was before."""

    def __init__(
        self,
        path: Path,
        machine: Machine,
        world: RecordedWorld,
        background: Callable[[str], Background],
        tell: Callable[[str], None],
        basis: Basis,
        *,
        next: int = 0,
        span: int = SPAN,
        size: int = SIZE,
    ) -> None:
        self.machine: GuestMachine = machine
        self._machine = machine
        self._span = span
        self._left_at: int | None = None
        self.recorder = Recorder(world, machine, self._append)
        self._world = world
        self._next = next
        self._first = next
        """Of those that were not kept yet."""
        self._entries: list[Entry] = []
        self._bytes = 0
        self._lock = threading.Lock()
        self._over = False
        self._minutes = LastMinutes(
            path,
            self,
            background,
            tell,
            basis,
            next=next,
            boot=not next,
            span=span,
            size=size,
        )
        self._minutes.begin(time.monotonic_ns())

    def keyframe_before(self, entry: Entry, sequence: int, cadence: Cadence) -> Keyframe | None:
        raise AssertionError("it follows nobody")

    def live_keyframe(self, entry: Entry, sequence: int) -> Keyframe | None:
        world = self._world
        clock, printed = world.clock(), world.console_offset
        return state_before(entry, self.machine, sequence, Cadence(), clock, printed)

    def keyframe_here(self) -> Keyframe | None:
        if self._machine.world is not self.recorder:
            return None
        world = self._world
        return state_here(self.machine, self._next, world.clock(), world.console_offset)

    def wake(self) -> None:
        self._world.wake()

    def _append(self, entry: Entry) -> None:
        """In the guest's thread."""
        self._minutes.made(entry, self._next)
        with self._lock:
            if self._over:
                return
            self._entries.append(entry)
            self._bytes += data_size(entry[3])
            self._next += 1
        if len(self._entries) >= _MANY or self._bytes >= _MUCH:
            self.flush()

    def flush(self) -> None:
        """From time to time, in any thread."""
        with self._lock:
            if self._over:
                return
            entries, first = self._entries, self._first
            self._entries, self._bytes, self._first = [], 0, self._next
            now = time.monotonic_ns()
            self._minutes.keep(now, _batches(first, entries))
            self._minutes.turn(now)

    def show(self, told: Callable[[Path, int], None]) -> None:
        """As `KeptLog.show`."""
        self.flush()
        with self._lock:
            if not self._over:
                self._minutes.show(told)

    def leave(self) -> None:
        """The guest has another World. From time to time, in any thread."""
        with self._lock:
            if self._left_at is None and not self._over:
                self._left_at = time.monotonic_ns()
                self._minutes.stop()

    def end(self, failed: bool) -> None:
        """It makes no more entries that count. If it has left long ago, the log of where it is goes
        back far enough, and this one is dropped."""
        self.flush()
        with self._lock:
            self._over = True
        left = self._left_at
        if left is None:
            self._minutes.end(failed)
        else:
            recent = time.monotonic_ns() - left < self._span
            self._minutes.end(failed and recent, "what it did before it was protected")


def _batches(first: int, entries: list[Entry]) -> list[Batch]:
    made = codec.batches(first, entries) if entries else ()
    return [Batch(at, end, 0, content) for at, end, content in made]

"""The log of the last minutes of a guest, kept while it runs: a recording if something goes wrong.

Two files are written at once. The older one begins with the guest's whole state of some time ago,
or at boot; the younger one, whose name has `.next` behind it, with a later state. When that goes
back far enough it replaces the older one, and another is begun. So at each moment the older file is
a recording, whatever ends this process.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from vlockstep.errors import HostError
from vlockstep.machine.basis import Basis
from vlockstep.machine.machine import Machine
from vlockstep.machine.world import World
from vlockstep.replay.entry import Entry
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.keyframes import Clocked, memory_of, state_before
from vlockstep.replay.logfile import LogWriter
from vlockstep.replay.recorder import Cadence, Recorder

SPAN = 60.0
"""Seconds that a log goes back at least, once the guest has run for so long."""
SIZE = 256 << 20
"""Bytes behind which it need not."""
_MOST = 4
"""Times that, behind which no log is kept of a guest whose state cannot be taken."""


class RecordedWorld(World, Clocked, Protocol):
    """What is recorded."""


class LastLog:
    """Of the guest in `machine`, if its World is `recorder`, which passes on to `world`. A log that
    cannot be written any more is given up, which `problem` tells; the guest does not notice."""

    def __init__(
        self,
        path: Path,
        machine: Machine,
        world: RecordedWorld,
        basis: Basis,
        span: float = SPAN,
        size: int = SIZE,
    ) -> None:
        self.path = path
        self.problem = ""
        self.recorder = Recorder(world, machine, self._append)
        self._world = world
        self._machine, self._basis = machine, basis
        self._span, self._size = span, size
        self._lock = threading.Lock()
        self._sequence = 0
        self._older: LogWriter | None = self._open(path, 0)
        self._younger: LogWriter | None = None
        self._began = time.monotonic()
        self._states = (0, 0)
        """Bytes of the states with which the two begin, the younger one's last."""
        self._due = False

    def _append(self, entry: Entry) -> None:
        """In the guest's thread."""
        with self._lock:
            if self._older is None:
                return
            try:
                if self._due:
                    self._renew(entry)
                self._older.append(entry)
                if self._younger is not None:
                    self._younger.append(entry)
            except HostError as error:
                self._give_up(str(error))
            self._sequence += 1

    def flush(self) -> None:
        """From time to time, in any thread."""
        with self._lock:
            if self._older is None:
                return
            try:
                self._older.flush()
                if self._younger is not None:
                    self._younger.flush()
            except HostError as error:
                self._give_up(str(error))
                return
            youngest, (first, second) = self._younger or self._older, self._states
            long = time.monotonic() - self._began >= self._span
            self._due = long or youngest.written - second >= self._size
            if self._older.written - first > _MOST * self._size:
                self._give_up("the guest's state could not be taken for too long")

    def keep(self) -> bool:
        """Complete the log; whether there is one. The guest makes no more entries."""
        with self._lock:
            kept = self._older is not None
            try:
                if self._older is not None:
                    self._older.close()
            except HostError as error:
                self._give_up(str(error))
                return False
            self._older = None
            self._drop_younger()
            return kept

    def __enter__(self) -> LastLog:
        return self

    def __exit__(self, *_: object) -> None:
        """What was not kept is dropped."""
        with self._lock:
            self._give_up("")

    @property
    def _next_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.next")

    def _open(self, path: Path, first: int) -> LogWriter:
        machine = self._machine
        return LogWriter(path, machine.config, machine.image.path, first, self._basis)

    def _renew(self, entry: Entry) -> None:
        """Begin another log before this entry, if the guest's state can be taken there."""
        keyframe = self._state_before(entry)
        if keyframe is None:
            return
        if self._younger is not None:
            assert self._older is not None
            self._older.close()
            try:
                self._next_path.replace(self.path)
            except OSError as error:
                raise HostError(f"cannot write the log {self.path}: {error.strerror}") from error
            self._older, self._younger = self._younger, None
        self._younger = self._open(self._next_path, keyframe.sequence)
        self._younger.keyframe(keyframe)
        self._states = self._states[1], self._younger.written
        self._began, self._due = time.monotonic(), False

    def _state_before(self, entry: Entry) -> Keyframe | None:
        left, *others = self.recorder.cadence  # behind the entry
        cadence, world, memory = Cadence(left + 1, *others), self._world, self._machine.memory
        found = state_before(
            entry, self._machine, self._sequence, cadence, world.clock(), world.console_offset
        )
        if found is None:
            return None
        pieces = memory_of(memory.extents(), lambda at, end: memory.peek(at, end - at))
        return replace(found, memory=pieces)

    def _give_up(self, why: str) -> None:
        self.problem = why
        if self._older is not None:
            older, self._older = self._older, None
            with suppress(HostError):
                older.close()
            with suppress(OSError):
                self.path.unlink()
        self._drop_younger()

    def _drop_younger(self) -> None:
        if self._younger is not None:
            younger, self._younger = self._younger, None
            with suppress(HostError):
                younger.close()
            with suppress(OSError):
                self._next_path.unlink()

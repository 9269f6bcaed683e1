"""Keyframes for the log from which a guest can be resumed, made while it runs as a primary's.

Most of its RAM is copied while it runs. Its thread copies the rest, at a place where there can be a
keyframe, which is little; the copy is compressed elsewhere, and given up.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from vlockstep.errors import VlockstepError
from vlockstep.ft.resumelog import ResumeLog
from vlockstep.host.background import Background
from vlockstep.host.room import expect_room
from vlockstep.machine.config import MIB
from vlockstep.machine.interface import GuestMachine
from vlockstep.machine.ramcopy import RamCopy
from vlockstep.protocol.actions import NEVER
from vlockstep.replay.entry import Entry
from vlockstep.replay.frames import MAX_CONTENT
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.keyframes import memory_of

_LITTLE = 4 * MIB
"""Bytes that the guest's thread copies at most, in about a millisecond."""
_TRIES = 3
_PATIENCE = 5.0
"""Seconds for one that is being made in the end."""


class Live(Protocol):
    """A guest that is a primary's; a `Guest` is one."""

    machine: GuestMachine

    def live_keyframe(self, entry: Entry, sequence: int) -> Keyframe | None:
        """In its thread, where it is about to make that entry: the state before, without RAM; None
        if there is none to be taken."""


class ResumePoints:
    """Makes one when `log` has grown by `growth` bytes, and by as much as the last one took, but
    not within `interval` ns of the one before, unless the log has come to half of its limit.

    What goes wrong costs keyframes, and nothing else: `tell` is told. `made` is called in the
    guest's thread, and the rest of what is public in turns; `wake` lets one come.
    """

    def __init__(
        self,
        guest: Live,
        log: ResumeLog,
        background: Background,
        *,
        growth: int,
        interval: int,
        wake: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        self._guest = guest
        self._log = log
        self._background = background
        self._growth = growth
        self._interval = interval
        self._wake = wake
        self._tell = tell
        self._done: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        """What has come of work elsewhere."""
        self._at: int | None = None
        self._since = self._tries = self._size = 0
        self.busy = False
        """One is being made."""
        self._over = False
        self._lock = threading.Lock()
        """Who has it may look for a place, or call that off."""
        self._wanted = False
        self._copy: RamCopy | None = None

    def deadline(self) -> int:
        """When to `turn` at the latest."""
        waits = not (self.busy or self._over) and self._at is not None and self._grown
        return self._at if waits and self._at is not None else NEVER

    def turn(self, now: int) -> None:
        while not self._done.empty():
            self._done.get()()
        if self._log.given_up:
            self.stop()
        if self._at is None:
            self._at = now + self._interval
        if self.busy or self._over or not self._grown:
            return
        if now >= self._at or self._log.written >= self._log.limit // 2:
            self.busy, self._at, self._tries = True, now + self._interval, _TRIES
            self._since = self._log.written
            self._submit(self._approach)

    def stop(self) -> None:
        """There is no more use for them."""
        if not self._over:
            with self._lock:
                self._over, self._wanted = True, False
            self._background.submit(self._drop)

    def close(self) -> None:
        """Nobody works at one any more, or for much longer."""
        self.stop()
        self._background.drain(_PATIENCE)
        self._drop()

    @property
    def _grown(self) -> bool:
        return not self._log.placing and self._log.grown >= max(self._growth, self._size)

    def _taken(self, keyframe: Keyframe | None) -> None:
        """None if the guest has written more than it can copy in a moment."""
        self._tries -= 1
        if keyframe is not None:
            self._submit(lambda: self._complete(keyframe))
        elif self._tries:
            self._submit(self._approach)
        else:
            self.busy = False
            self._background.submit(self._drop)

    def _made(self, keyframe: Keyframe) -> None:
        self.busy, self._size = False, keyframe.size
        if self._size > min(self._log.limit // 2, MAX_CONTENT - MIB):
            self._failed(f"one of {self._size // MIB} MiB is too large")
        elif not self._over:
            self._log.place(keyframe, self._since)

    def _failed(self, why: str) -> None:
        if not self._over:
            self._tell(f"the log of the guest gets no keyframes any more: {why}")
            self.stop()

    # In the guest's thread

    def made(self, entry: Entry, sequence: int) -> None:
        """It is about to make an entry."""
        if self._wanted:
            self._look(entry, sequence)

    def _look(self, entry: Entry, sequence: int) -> None:
        with self._lock:
            if not self._wanted:
                return
            try:
                found = self._guest.live_keyframe(entry, sequence)
                if found is None:
                    return
                assert self._copy is not None
                answer = partial(self._taken, found if self._copy.complete(_LITTLE) else None)
            except Exception as error:  # the guest has no part in it
                answer = partial(self._failed, f"{type(error).__name__}: {error}")
            self._wanted = False
        self._done.put(answer)
        self._wake()

    # In the background

    def _submit(self, work: Callable[[], None]) -> None:
        def job() -> None:
            try:
                work()
            except VlockstepError as error:
                self._done.put(partial(self._failed, str(error)))
                self._wake()

        self._background.submit(job)

    def _approach(self) -> None:
        if self._over:
            return
        if self._copy is None:
            machine = self._guest.machine
            expect_room(machine.memory.used, what="a copy of the guest's RAM")
            self._copy = RamCopy(machine)
        self._copy.approach()
        with self._lock:
            self._wanted = not self._over

    def _complete(self, keyframe: Keyframe) -> None:
        copy = self._copy
        if copy is not None:
            memory = memory_of(copy.changed, lambda at, end: copy.memory.peek(at, end - at))
            self._drop()
            self._done.put(partial(self._made, replace(keyframe, memory=memory)))
            self._wake()

    def _drop(self) -> None:
        if self._copy is not None:
            self._copy.close()
            self._copy = None

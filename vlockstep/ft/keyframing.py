"""Keyframes in the log of a replica: while it follows a primary, where nobody waits for it; in that
of its last minutes whatever it is.

A copy of the guest's RAM, all zeros at first, gets what the guest has written, round by round while
that runs. Its guest's thread copies the last of it, at a place where there can be a keyframe, which
is little; what was copied since the keyframe before is compressed elsewhere.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol, TypeVar

from vlockstep.errors import HostError, VlockstepError
from vlockstep.ft.keptlog import KeptLog
from vlockstep.host.background import Background
from vlockstep.host.room import expect_room
from vlockstep.machine.config import MIB
from vlockstep.machine.interface import GuestMachine
from vlockstep.machine.ramcopy import RamCopy
from vlockstep.machine.state import of_guest
from vlockstep.protocol.actions import NEVER
from vlockstep.replay.entry import Entry
from vlockstep.replay.frames import MAX_CONTENT
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.keyframes import Counting, Wholes, memory_of
from vlockstep.replay.recorder import Cadence

_T = TypeVar("_T")
_LITTLE = 4 * MIB
"""Bytes that the guest's thread copies at most, in about a millisecond."""
_TRIES = 3
_SECONDS = 10.0
"""In which the guest comes to a place where there can be one, and the log to where it belongs."""
_SOON = 0.5
"""After so long without a place at an entry it is visited wherever it is, and so often."""
_OVERHEAD = MIB
"""Bytes of a keyframe besides RAM, at most."""


class _TooMuch(Exception):
    """The guest has written more than it can copy in a moment."""


class Followed(Protocol):
    """A guest that follows; a `Guest` is one."""

    machine: GuestMachine

    def keyframe_before(self, entry: Entry, sequence: int, cadence: Cadence) -> Keyframe | None:
        """In its thread, where it takes that entry: the state before, without RAM; None if there is
        none to be taken."""

    def live_keyframe(self, entry: Entry, sequence: int) -> Keyframe | None:
        """The same, where it is about to make that entry."""

    def keyframe_here(self) -> Keyframe | None:
        """In its thread, where its machine is visited: as `state_here`."""

    def wake(self) -> None:
        """Let in who is to visit its machine, though it waits."""


class Keyframing:
    """Makes keyframes of `guest` every `interval` ns while it follows, and has `log` keep them; and
    if that is only of the `last` minutes, each with the whole RAM, whenever it has grown by `size`
    bytes. What goes wrong costs a keyframe, or all of them, and nothing else: `tell` is told.

    `taken` and `made` are called in the guest's thread, and the rest of what is public in turns.
    """

    def __init__(
        self,
        guest: Followed,
        log: KeptLog,
        background: Background,
        interval: int,
        tell: Callable[[str], None],
        last: bool = False,
        size: int = NEVER,
    ) -> None:
        self._guest = guest
        self._log = log
        self._background = background
        self._interval = interval
        self._tell = tell
        self._last, self._size = last, size
        self._since = 0
        """So large was the log at the last one."""
        self._cadence = Cadence()
        self._at = NEVER
        self._following = self._busy = self._missed = False
        self._lock = threading.Lock()
        """Who has it may look for a place, or call that off."""
        self._wanted: int | None = None
        """The first entry before which there may be one."""
        self._answers: queue.SimpleQueue[Keyframe | Exception | None] = queue.SimpleQueue()
        self._copy: RamCopy | None = None
        self._counting = Counting(guest.machine)

    def follow(self, now: int) -> None:
        """The guest executes what a primary's does, from now on."""
        self._cadence = Cadence()
        self._following, self._at = True, now + self._interval

    def begin(self, now: int) -> None:
        """Whatever it does."""
        self._following, self._at = True, now

    def stop(self) -> None:
        """It does not any more, and pays nothing for keyframes."""
        if self._following:
            self._following, self._at = False, NEVER
            self._counting.stop()
            self._answers.put(None)
            self._background.submit(self._drop)

    def deadline(self) -> int:
        """When to `turn` at the latest."""
        return NEVER if self._busy else self._at

    def turn(self, now: int) -> None:
        if self._log.lost:
            self.stop()
        large = self._log.written - self._since >= self._size and self._following
        if (now >= self._at or large) and not self._busy:
            self._since = self._log.written
            self._busy, self._at = True, now + self._interval
            self._background.submit(self._work)

    # In the guest's thread

    def taken(self, entry: Entry, sequence: int) -> None:
        """It takes an entry, and has not executed it."""
        wanted = self._wanted
        if wanted is not None and sequence >= wanted:
            self._look(lambda: self._guest.keyframe_before(entry, sequence, self._cadence))
        self._cadence = self._cadence.after(entry)

    def made(self, entry: Entry, sequence: int) -> None:
        """It is about to make an entry."""
        wanted = self._wanted
        if wanted is not None and sequence >= wanted:
            self._look(lambda: self._guest.live_keyframe(entry, sequence))

    def _come(self) -> None:
        """It is visited, between two entries."""
        self._look(self._here)

    def _here(self) -> Keyframe | None:
        found, wanted = self._guest.keyframe_here(), self._wanted
        late = found is not None and wanted is not None and found.sequence >= wanted
        return found if late else None

    def _look(self, find: Callable[[], Keyframe | None]) -> None:
        with self._lock:
            if self._wanted is None:
                return
            found: Keyframe | Exception | None
            try:
                found = find()
                if found is None:
                    return
                assert self._copy is not None
                if not self._copy.complete(_LITTLE):
                    found = _TooMuch()
            except Exception as error:  # the guest has no part in it
                found = error
            self._wanted = None
            self._answers.put(found)

    # In the background

    def _work(self) -> None:
        try:
            made = self._make()
            if self._last:
                self._drop()
            elif not made and self._following and not self._missed:
                self._missed = True
                self._tell(
                    "there was no place for a keyframe in the log in time, or the guest writes "
                    "too fast; it is tried again from time to time"
                )
        except VlockstepError as error:
            self._give_up(str(error))
        except Exception as error:
            self._give_up(f"{type(error).__name__}: {error}")
        self._busy = False

    def _give_up(self, why: str) -> None:
        self._log.release()
        self._drop()
        self._following, self._at = False, NEVER
        self._counting.stop()
        self._tell(f"the log gets no keyframes any more: {why}")

    def _drop(self) -> None:
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    def _make(self) -> bool:
        self._answers = queue.SimpleQueue()
        if not self._following:
            return False
        copy = self._copy
        if copy is None:
            machine = self._guest.machine
            expect_room(machine.memory.used, what="a copy of the guest's RAM")
            copy = self._copy = RamCopy(machine)
            self._wholes = Wholes()
        copy.approach()
        held: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._log.hold(held.put)
        first = _get(held)
        keyframe = None if first is None else self._find(copy, first)
        if keyframe is None:
            self._log.release()
            return False
        ram = copy.memory
        ranges = [*ram.extents()] if self._wholes.due else copy.changed
        memory = memory_of(ranges, lambda start, end: ram.peek(start, end - start))
        size = sum(map(len, memory)) + _OVERHEAD
        if size > MAX_CONTENT:
            raise HostError(f"one of {size // MIB} MiB is too large for a log")
        placed: queue.SimpleQueue[bool] = queue.SimpleQueue()
        state, config = keyframe.machine, self._log.config
        if config != self._guest.machine.config:
            state = of_guest(state, config)
        keyframe = replace(keyframe, machine=state, memory=memory)
        self._log.place(self._wholes.note(keyframe), placed.put)
        if not _get(placed):
            self._log.release()
            return False
        copy.forget()
        return True

    def _find(self, copy: RamCopy, first: int) -> Keyframe | None:
        """At the first place before that entry or a later one, with the copy of RAM as of there."""
        for _ in range(_TRIES):
            self._wanted = max(first, 1)  # a log that begins with entry 0 begins at boot
            found = self._await()
            with self._lock:
                self._wanted = None
                if found is None and not self._answers.empty():  # it came just now
                    found = self._answers.get()
            if isinstance(found, _TooMuch):
                copy.approach()
                continue
            if isinstance(found, Exception):
                raise found
            return found
        return None

    def _await(self) -> Keyframe | Exception | None:
        """What it finds where it makes or takes an entry; or where it is, if that takes long."""
        machine, deadline = self._guest.machine, time.monotonic() + _SECONDS
        found = _get(self._answers, _SOON)
        if found is not None:
            self._counting.found(at_entry=True)
            return found
        try:
            while found is None and self._following and time.monotonic() < deadline:
                machine.visit(self._come)
                self._guest.wake()
                found = _get(self._answers, _SOON)
        finally:
            machine.call_off(self._come)
        if found is not None:
            self._counting.found(at_entry=False)
        else:
            self._counting.missed()
            if not self._following:  # `stop` came first
                self._counting.stop()
        return found


def _get(answers: queue.SimpleQueue[_T], seconds: float = _SECONDS) -> _T | None:
    """None if there is none in time."""
    with suppress(queue.Empty):
        return answers.get(timeout=seconds)
    return None

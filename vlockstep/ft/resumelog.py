"""The log from which a guest can be resumed elsewhere, while its primary runs.

To the protocol it is a member which cannot execute: no output leaves before all entries up to its
own are in the log, and are there whatever befalls this host. So it is written and synced at once
when outputs wait, and all that the guest makes meanwhile goes with the next sync.

From time to time a note tells up to where outputs have been made, and are there for good: who
resumes makes only those again that come behind. So the guest can go on at a keyframe before which
all outputs were; what comes before that is needed only where it cannot be restored.

What cannot be written any more is given up: it is removed first, for good, and only then outputs
leave without it. So whoever finds it finds all that was released.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from vlockstep.errors import HostError, VlockstepError
from vlockstep.host.background import Background
from vlockstep.machine.config import MIB, GuestConfig
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.journal import Batch
from vlockstep.protocol.timing import MILLISECOND, SECOND
from vlockstep.replay.entry import Entry
from vlockstep.replay.keyframe import Keyframe

_FLUSH = 100 * MILLISECOND
"""Entries for which no output waits wait so long for company."""
_MUCH = 1 << 18
"""So many bytes do not wait."""
_SETTLE = SECOND
"""How often it is seen to that what was released is there for good."""
_AGAIN = SECOND
"""After so long it is tried again to remove what could not be removed."""
_OVERHEAD = 256
"""Bytes of memory that a batch takes besides its content, about."""
_PATIENCE = 10.0
"""Seconds that the file has in the end."""


class ResumeFile(Protocol):
    """Where it is kept, by who alone writes there. What it cannot do it tells by a `HostError`."""

    @property
    def written(self) -> int:
        """Bytes."""

    def write(self, batches: Iterable[Batch]) -> None: ...

    def note_released(self, released: int) -> None:
        """Outputs of entries before this one were made, and are there for good."""

    def place(self, keyframe: Keyframe) -> None:
        """Keep that, too, of all RAM; its entry was written, and what comes before is released."""

    def renew(self, keyframe: Keyframe, since: int) -> ResumeFile:
        """One that has the keyframe and what is behind it, which was written when this had `since`
        bytes or more, has taken the place of this, which is closed. At no moment there is none. If
        that fails, it is unknown which one there is, and this is to be removed."""

    def sync(self) -> None:
        """All that was written is there, whatever befalls this host."""

    def remove(self) -> None:
        """For good, whether it is there or not."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class History:
    """What the log of a guest's last owner says: all entries before `next`. Those before `released`
    have no output that was not made; of the others `outputs` have one. The guest `ended` with that
    entry, if it did. So much text was `printed` on its console before it booted. Only `engine`
    executes it as its owner did, if that is not None."""

    next: int
    released: int
    outputs: tuple[int, ...]
    ended: int | None
    printed: int
    entries: Callable[[], Iterator[Entry]]
    """From the first one on, or from that of the keyframe."""
    keyframe: Keyframe | None = None
    """At which it can go on here."""
    engine: str | None = None


class ResumeStore(Protocol):
    """Where such logs are: one for each owner, by its instance."""

    def begin(self, config: GuestConfig, printed: int) -> ResumeFile:
        """That of this replica, of a guest that boots."""

    def forget_others(self) -> None:
        """Remove those that were there before this replica claimed, which it did with success."""


class ResumeLog:
    """Keeps entries from `next` on in `file`, or in what that makes, of `limit` bytes at the most.

    `settle` lets what was released be there for good; `wake` is called when there is something to
    look at, and `tell` when the log is given up. All that is public is for turns.
    """

    def __init__(
        self,
        file: ResumeFile | Callable[[], ResumeFile],
        background: Callable[[str], Background],
        *,
        next: int,
        limit: int,
        settle: Callable[[], None],
        wake: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        self.kept: int | None = next
        """Entries before this one are there for good; None if it is given up, and removed."""
        self.limit = limit
        self.waiting = 0
        """Bytes that wait for the file."""
        self._file = file
        self._writing = background("resume")
        self._settling = background("settle")
        self._settle = settle
        self._wake = wake
        self._tell = tell
        self._done: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        """What has come of work in the background."""
        self._batches: list[Batch] = []
        self._writes = self._settles = False
        self._flush_at = self._settle_at = NEVER
        self._again_at = 0
        """When to try to remove it, once it is given up."""
        self._released = self._settled = self._noted = 0
        """What was released is asked to be there for good, is, and the file tells so."""
        self._keyframe: tuple[Keyframe, int] | None = None
        """That is to be placed, and where in the file to look for what is behind it."""
        self._placed_at = 0
        """Bytes of the file when one was placed last."""
        self._problem = ""
        """Why it is given up."""

    @property
    def written(self) -> int:
        """Bytes in the file."""
        return 0 if callable(self._file) else self._file.written

    @property
    def given_up(self) -> bool:
        """It takes no entries any more."""
        return bool(self._problem)

    def keep(self, now: int, batches: Iterable[Batch]) -> None:
        if self._problem:
            return
        for batch in batches:
            self._batches.append(batch)
            self.waiting += _size(batch)
            self._flush_at = min(self._flush_at, now + _FLUSH)

    @property
    def grown(self) -> int:
        """Bytes since a keyframe was placed, or all."""
        return self.written - self._placed_at

    @property
    def placing(self) -> bool:
        """It has a keyframe that is not in the file yet."""
        return self._keyframe is not None

    def place(self, keyframe: Keyframe, since: int) -> None:
        """When what comes before it is there for good; what is behind it was written when there
        were `since` bytes or more."""
        if not self._problem:
            self._keyframe = keyframe, since

    def deadline(self) -> int:
        """When to `turn` at the latest."""
        if self._problem:
            return NEVER if self._writes or self.kept is None else self._again_at
        return min(NEVER if self._writes else self._flush_at, self._settle_at)

    def turn(self, now: int, released: int, outputs: bool) -> None:
        """Outputs of entries before `released` were made; if `outputs`, some that were not wait."""
        while not self._done.empty():
            self._done.get()()
        if self._problem:
            if not self._writes and self.kept is not None and now >= self._again_at:
                self._remove(now)
            return
        if self.kept is not None:
            self._see_released(now, min(released, self.kept))
        due = now >= self._flush_at or self.waiting >= _MUCH or self._settled > self._noted
        due |= self._places
        if not self._writes and (due or (outputs and self._batches)):
            self._write()

    def give_up(self, reason: str) -> None:
        """Nobody is to resume the guest from it any more."""
        if not self._problem:
            self._problem = reason
            self._batches, self.waiting, self._keyframe = [], 0, None
            self._wake()

    def tidy(self, tidy: Callable[[], None]) -> None:
        """Let this be done aside."""
        self._settling.submit(tidy)

    def close(self, remove: bool) -> None:
        """Leave it as it is, or `remove` it; but that is not waited for long. If that fails,
        nothing was released that it lacks."""
        self._settling.drain(_PATIENCE)
        if self.kept is not None:
            gone = remove or bool(self._problem)

            def close() -> None:
                with suppress(HostError):
                    self._close(gone)

            self._writing.submit(close)
            self._writing.drain(_PATIENCE)

    @property
    def _places(self) -> bool:
        """It is time for the keyframe."""
        if self._keyframe is None or self.kept is None:
            return False
        return self._keyframe[0].sequence <= min(self._settled, self.kept)

    def _see_released(self, now: int, released: int) -> None:
        if released > self._released and not self._settles:
            if self._settle_at == NEVER:
                self._settle_at = now + _SETTLE
            elif now >= self._settle_at:
                self._settle_at, self._settles, self._released = NEVER, True, released
                self._submit(self._settling, self._settle, lambda: self._see_settled(released))

    def _see_settled(self, released: int) -> None:
        self._settles, self._settled = False, released

    def _write(self) -> None:
        batches, size, settled = self._batches, self.waiting, self._settled
        self._batches, self._flush_at, self._writes = [], NEVER, True
        keyframe = self._keyframe if self._places else None

        def written() -> None:
            self._writes, self._noted = False, settled
            if keyframe is not None:
                self._keyframe = None
            if not self._problem:
                self.waiting -= size
                self.kept = batches[-1].end if batches else self.kept

        self._submit(self._writing, lambda: self._put(batches, settled, keyframe), written)

    def _remove(self, now: int) -> None:
        self._writes, self._again_at = True, now + _AGAIN

        def removed() -> None:
            self._writes, self.kept = False, None
            self._tell(f"{self._problem}; if the guest is started again elsewhere, it boots")

        self._submit(self._writing, lambda: self._close(remove=True), removed)

    def _submit(
        self, background: Background, work: Callable[[], None], then: Callable[[], None]
    ) -> None:
        """Let the background do this; `then` follows in a turn, or else it is given up."""

        def job() -> None:
            try:
                work()
            except VlockstepError as error:
                self._done.put(partial(self._failed, str(error)))
            else:
                self._done.put(then)
            self._wake()

        background.submit(job)

    def _failed(self, problem: str) -> None:
        self._writes = self._settles = False
        self.give_up(problem)

    # In the background

    def _put(
        self, batches: list[Batch], settled: int, keyframe: tuple[Keyframe, int] | None
    ) -> None:
        if callable(self._file):
            self._file = self._file()
        if self._file.written + sum(len(batch.content) for batch in batches) > self.limit:
            raise HostError(f"the log of the guest has come to {self.limit / MIB:g} MiB")
        self._file.write(batches)
        if settled > self._noted:
            self._file.note_released(settled)
        if keyframe is not None:
            self._place(self._file, *keyframe, settled)
        self._file.sync()

    def _place(self, file: ResumeFile, keyframe: Keyframe, since: int, settled: int) -> None:
        """While there is room, what comes before it is kept, too: who cannot restore it needs
        that."""
        if file.written + keyframe.size <= self.limit // 2:
            file.place(keyframe)
        else:
            file = self._file = file.renew(keyframe, since)
            file.note_released(settled)
        self._placed_at = file.written

    def _close(self, remove: bool) -> None:
        if callable(self._file):
            return  # it was never there
        if remove:
            self._file.remove()
        else:
            self._file.close()


def _size(batch: Batch) -> int:
    return _OVERHEAD + len(batch.content)

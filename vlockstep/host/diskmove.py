"""A disk of a guest that runs moves to another file.

Theory of operation

The copy is made by a mirror (see there) into a file without a name of its own, compared with the
disk, flushed, and then gets its name. All this time the guest reads the old file, and writes go to
both, to the old one first. The *switch* comes last: from one access of the guest's to the next the
new file is the disk, and the old one is let go.

So at any moment of a crash there is one file to go on from. If the new one is there under its name
it is the disk, whole: until the switch both are equal, after it there is no other. If it is not
there, the old one is the disk. Whatever fails before the switch, a full target or a cancelled move
among it, leaves the guest on the old file, and nothing of the new one.

This is true of a disk that one process writes. Replicas that share a disk must all find it in the
same file: their `Agreement` comes between the new file's name and the switch, and decides. Until it
has decided the old file is the disk; what is written meanwhile is in both, or is not written.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from vlockstep.errors import HostError
from vlockstep.files.appearing import appearing
from vlockstep.host.devices import Disk, DiskFile
from vlockstep.host.mirror import Mirror, let_go

_PIECE = 1 << 20
_CALLED_OFF = "the move was called off"


class Phase(Enum):
    """Where a move is."""

    COPYING = "copying"
    COMPARING = "comparing"
    AGREEING = "letting the other replicas find it"
    SWITCHING = "switching"


@dataclass(frozen=True)
class HowFar:
    """So many bytes of those that are no holes."""

    phase: Phase
    bytes: int
    total: int


class Undecided(HostError):
    """Which file is the disk is not known here."""


class Agreement(Protocol):
    """That of replicas on the file in which a disk is that they share. It waits for them."""

    def begin(self) -> None:
        """Before anything is copied. Raises `UsageError` if the disk cannot be moved here."""

    def reach(self, path: Path, token: int) -> None:
        """Let all others open the file, which is locked with this token. Raises `HostError`."""

    def decide(self) -> None:
        """Let the new file be the disk. Raises `HostError` if it is not, `Undecided` if that is not
        known."""

    def keep(self, reason: str) -> None:
        """It comes to nothing."""

    def done(self) -> None:
        """The old file is not used any more."""

    def cancel(self, reason: str) -> None:
        """Let `reach` raise. From another thread."""

    def abandon(self) -> None:
        """Let nobody wait any longer. From another thread."""


class DiskMove:
    """Moves `disk` to a new file at `path`, with at most `rate` bytes a second; a file that is
    there is replaced only if it `may_replace` it. `tell` is told how far it is. With an `agreement`
    the disk is one that replicas share."""

    def __init__(
        self,
        disk: Disk,
        path: Path,
        tell: Callable[[HowFar], None] = lambda how_far: None,
        rate: int | None = None,
        may_replace: bool = False,
        agreement: Agreement | None = None,
    ) -> None:
        self.copied = 0
        """Bytes."""
        self._disk = disk
        self._path = path
        self._tell = tell
        self._rate = rate
        self._may_replace = may_replace
        self._agreement = agreement
        self._total = 0
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._committed = False

    def cancel(self) -> bool:
        """Leave the disk where it is; false if that can no more be had."""
        with self._lock:
            if not self._committed:
                self._cancelled.set()
                if self._agreement is not None:
                    self._agreement.cancel(_CALLED_OFF)
            return not self._committed

    def abandon(self) -> None:
        """Leave the disk where it is, or do not know where it is: nobody uses it any more."""
        if not self.cancel() and self._agreement is not None:
            self._agreement.abandon()

    def run(self) -> None:
        """To the end. Raises `VlockstepError`, and then the guest is where it was, unless that is
        `Undecided`."""
        target: DiskFile | None = None
        mirror: Mirror | None = None
        try:
            if self._agreement is not None:
                self._agreement.begin()
            with appearing(self._path, f"the disk {self._path}", self._may_replace) as draft:
                os.truncate(draft, self._disk.capacity)
                target = DiskFile(draft, self._disk.group, called=self._path)
                self._total = sum(end - start for start, end in self._disk.extents())
                mirror = self._disk.mirror(target)
                self._copy(mirror)
                target.sync()
                target.forget()
                self._compare(mirror, target)
                if self._agreement is None:
                    self._commit()
            if self._agreement is None:
                self._switch(mirror, target)
            else:
                self._move_all(self._agreement, mirror, target)
        except Undecided:
            raise  # both files are written as long as anything is
        except BaseException:
            if mirror is not None:
                self._disk.end(mirror)
            if target is not None:
                target.close()
            raise

    def _move_all(self, agreement: Agreement, mirror: Mirror, target: DiskFile) -> None:
        try:
            self._go_on(mirror, Phase.AGREEING, self._total)
            if target.lock.token is None:
                raise HostError("it cannot be locked, and so no other replica can verify it")
            agreement.reach(self._path, target.lock.token)
            self._commit()
            self._disk.bind(mirror)
            target.sync()  # what is written from now on `Disk.sync` keeps in both
            agreement.decide()
        except Undecided:
            raise
        except BaseException as error:
            agreement.keep(str(error))
            if target.lock.is_on(self._path):
                self._unlink()
            raise
        try:
            before = self._disk.switch(mirror, target)
        except HostError as error:
            raise Undecided(f"it is to be {self._path}, which fails: {error}") from error
        agreement.done()
        let_go(before)

    def _copy(self, mirror: Mirror) -> None:
        began = time.monotonic()
        while not mirror.over:
            mirror.step()
            self.copied = mirror.copied
            self._go_on(mirror, Phase.COPYING, self.copied)
            if self._rate is not None:
                self._cancelled.wait(began + self.copied / self._rate - time.monotonic())
        self._go_on(mirror, Phase.COPYING, self.copied)

    def _compare(self, mirror: Mirror, target: DiskFile) -> None:
        """What is read from the target is what is read from the disk; both are held meanwhile."""
        disk, at, compared = self._disk, 0, 0
        while (extent := disk.storage.extent(at)) is not None:
            start, end = extent[0], min(extent[1], extent[0] + _PIECE)
            with disk.ranges.held(start, end):
                there = target.read(start, end - start)
                if there is None or there != disk.storage.read(start, end - start):
                    raise mirror.failure or HostError(
                        f"{self._path} does not hold what was written to it"
                    )
            at, compared = end, compared + end - start
            self._go_on(mirror, Phase.COMPARING, compared)

    def _go_on(self, mirror: Mirror, phase: Phase, count: int) -> None:
        if mirror.failure is not None:
            raise mirror.failure
        if self._cancelled.is_set():
            raise HostError(_CALLED_OFF)
        self._total = max(self._total, count)
        self._tell(HowFar(phase, count, self._total))

    def _commit(self) -> None:
        with self._lock:
            if self._cancelled.is_set():
                raise HostError(_CALLED_OFF)
            self._committed = True
        self._tell(HowFar(Phase.SWITCHING, self._total, self._total))

    def _switch(self, mirror: Mirror, target: DiskFile) -> None:
        try:
            before = self._disk.switch(mirror, target)
        except BaseException:
            self._unlink()
            raise
        let_go(before)

    def _unlink(self) -> None:
        with suppress(OSError):
            self._path.unlink()

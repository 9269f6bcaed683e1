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

This is true of a disk that one process writes. Replicas that share a disk would all have to find
the new file.
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

from vlockstep.errors import HostError
from vlockstep.files.appearing import appearing
from vlockstep.host.devices import Disk, DiskFile
from vlockstep.host.mirror import Mirror

_PIECE = 1 << 20


class Phase(Enum):
    """Where a move is."""

    COPYING = "copying"
    COMPARING = "comparing"
    SWITCHING = "switching"


@dataclass(frozen=True)
class HowFar:
    """So many bytes of those that are no holes."""

    phase: Phase
    bytes: int
    total: int


class DiskMove:
    """Moves `disk` to a new file at `path`, with at most `rate` bytes a second; a file that is
    there is replaced only if it `may_replace` it. `tell` is told how far it is."""

    def __init__(
        self,
        disk: Disk,
        path: Path,
        tell: Callable[[HowFar], None] = lambda how_far: None,
        rate: int | None = None,
        may_replace: bool = False,
    ) -> None:
        self.copied = 0
        """Bytes."""
        self._disk = disk
        self._path = path
        self._tell = tell
        self._rate = rate
        self._may_replace = may_replace
        self._total = 0
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._committed = False

    def cancel(self) -> bool:
        """Leave the disk where it is; false if that can no more be had."""
        with self._lock:
            if not self._committed:
                self._cancelled.set()
            return not self._committed

    def run(self) -> None:
        """To the end. Raises `VlockstepError`, and then the guest is where it was."""
        target: DiskFile | None = None
        mirror: Mirror | None = None
        try:
            with appearing(self._path, f"the disk {self._path}", self._may_replace) as draft:
                os.truncate(draft, self._disk.capacity)
                target = DiskFile(draft, self._disk.group, called=self._path)
                self._total = sum(end - start for start, end in self._disk.extents())
                mirror = self._disk.mirror(target)
                self._copy(mirror)
                target.sync()
                target.forget()
                self._compare(mirror, target)
                self._commit()
            self._switch(mirror, target)
        except BaseException:
            if mirror is not None:
                self._disk.end(mirror)
            if target is not None:
                target.close()
            raise

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
            raise HostError("the move was called off")
        self._total = max(self._total, count)
        self._tell(HowFar(phase, count, self._total))

    def _commit(self) -> None:
        with self._lock:
            if self._cancelled.is_set():
                raise HostError("the move was called off")
            self._committed = True
        self._tell(HowFar(Phase.SWITCHING, self._total, self._total))

    def _switch(self, mirror: Mirror, target: DiskFile) -> None:
        try:
            before = self._disk.switch(mirror, target)
        except BaseException:
            with suppress(OSError):
                self._path.unlink()
            raise
        before.close()

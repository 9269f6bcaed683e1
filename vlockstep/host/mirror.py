"""A disk that can be copied while a guest writes to it: one pass, whatever the guest does.

Theory of operation

A *mirror* goes over the disk once, from start to end, piece by piece, behind a *cursor*. Below the
cursor the copy equals the disk, and a write there goes to both; above it a write goes to the disk
alone, since its place is still to be copied. Nothing is ever copied twice, so the pass ends however
fast the guest writes, and from then on both are equal all the time.

What makes this exact is that of two who are at overlapping ranges of the disk, the one who came
first goes first: a write that falls into the piece under copy waits for it, and a piece waits for a
write that was begun in it. So a write knows which part of it lies below the cursor, and that does
not change while it is made. Who writes elsewhere waits for nobody.

A hole is not read, and a piece of zeros not written: a copy begins with zeros everywhere. A mirror
whose target fails has ended, with its `failure`, and the disk is what it was: a guest's write is
made on the disk first, and nothing that becomes of a mirror is told to the guest, unless it is
*bound*: then either may be the disk soon, and who cannot write to both must not go on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import takewhile
from typing import Any, Protocol

from vlockstep.errors import HostError, UsageError, VlockstepError

PIECE = 1 << 16
"""Bytes that are copied at once at most; a piece of so many zeros is not written."""
_ZEROS = bytes(PIECE)


class Storage(Protocol):
    """What holds a disk's bytes."""

    @property
    def capacity(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes | None:
        """None if the host cannot read there."""

    def write(self, offset: int, data: bytes) -> None:
        """Raises `VlockstepError`."""

    def extent(self, offset: int) -> tuple[int, int] | None:
        """Start and end of what comes next from there on that is no hole; None if nothing does."""

    def clear(self) -> None:
        """Let all of it be zeros, and a hole where there can be one. Raises `VlockstepError`."""

    def close(self) -> None: ...


def let_go(storage: Storage) -> None:
    """Nobody uses it any more, whatever becomes of that."""
    with suppress(OSError):
        storage.close()


class Target(Protocol):
    """Where a mirror copies to; it is all zeros in the beginning."""

    def write(self, offset: int, data: bytes) -> None:
        """Raises `VlockstepError`."""


class Condition(Protocol):
    """As `threading.Condition`."""

    def __enter__(self) -> object: ...
    def __exit__(self, *exc: Any) -> object: ...
    def wait(self) -> object: ...
    def notify_all(self) -> None: ...


class Ranges:
    """Ranges of a disk that somebody is at. Of those that overlap who came first goes first."""

    def __init__(self, condition: Condition | None = None) -> None:
        self._condition = condition or threading.Condition()
        self._queue: deque[_Range] = deque()

    @contextmanager
    def held(self, start: int, end: int) -> Iterator[None]:
        """Wait for those who came before. For one range at a time."""
        mine = _Range(start, end)
        try:
            with self._condition:
                self._queue.append(mine)
                while any(map(mine.overlaps, takewhile(lambda r: r is not mine, self._queue))):
                    self._condition.wait()
            yield
        finally:
            with self._condition:
                self._queue.remove(mine)
                self._condition.notify_all()


class _Range:
    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end

    def overlaps(self, other: _Range) -> bool:
        return self.start < other.end and other.start < self.end


class MirroredDisk:
    """A block device of which mirrors can be made. The guest's thread, whoever makes outputs, and
    those who copy may use it at once."""

    def __init__(self, storage: Storage, condition: Condition | None = None) -> None:
        self.storage = storage
        self.ranges = Ranges(condition)
        self.filled = True
        """It holds what it is to hold, and not yet a part of that."""
        self._mirrors: tuple[Mirror, ...] = ()

    @property
    def capacity(self) -> int:
        return self.storage.capacity

    def read(self, offset: int, length: int) -> bytes | None:
        """None if the host cannot read there."""
        with self.ranges.held(offset, offset + length):
            return self.storage.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Raises `HostError`: a replica that cannot write must not go on."""
        with self.ranges.held(offset, offset + len(data)):
            self.storage.write(offset, data)
            for mirror in self._mirrors:
                mirror.written(offset, data)
                if mirror.bound and mirror.failure is not None:
                    raise HostError(str(mirror.failure)) from mirror.failure

    def empty(self) -> None:
        """Let it hold zeros, to be filled with something else: mirrors of what it held have failed.
        Raises `VlockstepError`."""
        with self._all_held():
            for mirror in self._mirrors:
                mirror.failure = mirror.failure or HostError("the disk was emptied meanwhile")
            self.storage.clear()

    def fill(self, offset: int, data: bytes) -> None:
        """After `empty`, with what it is to hold. Raises `VlockstepError`."""
        self.storage.write(offset, data)

    def mirror(self, target: Target) -> Mirror:
        """A new one; its steps are for the caller. Raises `UsageError` while it is filled."""
        if not self.filled:
            raise UsageError("the disk is being filled: wait until the guest runs here")
        with self._all_held():
            mirror = Mirror(self, target)
            self._mirrors = (*self._mirrors, mirror)
        return mirror

    def end(self, mirror: Mirror) -> None:
        """Write no more to its target. What was begun before is done then."""
        with self._all_held():
            self._mirrors = tuple(m for m in self._mirrors if m is not mirror)

    def bind(self, mirror: Mirror) -> None:
        """From now on what is written is in both, or a write raises. The mirror has copied
        everything. Raises its failure."""
        with self._all_held():
            _check(mirror)
            mirror.bound = True

    def in_use(self) -> list[object]:
        """What holds its bytes at the moment, and what bound mirrors write to."""
        with self._all_held():
            return [self.storage, *(m.target for m in self._mirrors if m.bound)]

    def switch(self, mirror: Mirror, storage: Storage) -> Storage:
        """Go on with the storage to which the mirror has copied everything, and with that alone;
        what was used until now. Raises the failure of the mirror."""
        with self._all_held():
            _check(mirror)
            self._mirrors = tuple(m for m in self._mirrors if m is not mirror)
            return self._replace(storage)

    def go_on_with(self, storage: Storage) -> Storage:
        """With what another replica has made equal, and alone uses; what was used until now. Nobody
        writes here meanwhile."""
        with self._all_held():
            return self._replace(storage)

    def _replace(self, storage: Storage) -> Storage:
        before, self.storage = self.storage, storage
        return before

    def _all_held(self) -> AbstractContextManager[None]:
        return self.ranges.held(0, self.capacity)


def _check(mirror: Mirror) -> None:
    if mirror.failure is not None:
        raise mirror.failure
    assert mirror.over


class Mirror:
    """One pass over a disk, see above. `step` is for one thread at a time."""

    def __init__(self, disk: MirroredDisk, target: Target) -> None:
        self.cursor = 0
        """Below it the target equals the disk."""
        self.copied = 0
        """Bytes read."""
        self.bound = False
        """A write that the target has not got, too, raises."""
        self.failure: VlockstepError | None = None
        """Why the target does not equal the disk, and will not."""
        self._disk = disk
        self.target = target

    @property
    def over(self) -> bool:
        """Nothing is left to be copied."""
        return self.failure is not None or self.cursor == self._disk.capacity

    def step(self) -> None:
        """Copy the next piece."""
        disk = self._disk
        with disk.ranges.held(self.cursor, disk.capacity):
            start, end = disk.storage.extent(self.cursor) or (disk.capacity, disk.capacity)
            self.cursor = start
        end = min(end, start - start % PIECE + PIECE)
        if start < end:
            with disk.ranges.held(start, end):
                self._copy(start, end)
                self.cursor = end

    def written(self, offset: int, data: bytes) -> None:
        """The disk has got `data`, whose place is held."""
        below = self.cursor - offset
        if below > 0:
            self._write(offset, data[:below])

    def _copy(self, start: int, end: int) -> None:
        data = self._disk.storage.read(start, end - start)
        self.copied += end - start
        if data is None:
            self.failure = HostError("the disk cannot be read")
        elif data != _ZEROS[: len(data)]:
            self._write(start, data)

    def _write(self, offset: int, data: bytes) -> None:
        if self.failure is None:
            try:
                self.target.write(offset, data)
            except VlockstepError as error:
                self.failure = error

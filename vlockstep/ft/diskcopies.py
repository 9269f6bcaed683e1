"""Disks of which each replica has its own copy, on their way to one that joins.

The primary mirrors each of them (see `host.mirror`) into a queue: what it holds, piece by piece,
and what the guest writes meanwhile, in the order in which the disk gets it. Where the guest's state
is taken, everything that it has written is in the queue, and nothing is added any more: so at that
place the newcomer's disks become what the primary's were there, and nothing of them is copied while
the guest is held. A hole is not sent: the newcomer has emptied its disks.

Disks are read and written in the background; the thread of the protocol only sends what is there.
What is copied waits for room in the queue. What the guest writes does not: who looks lets the guest
wait while the queue is `crowded`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from vlockstep.errors import HostError, VlockstepError
from vlockstep.host.background import Background
from vlockstep.host.mirror import Mirror, MirroredDisk
from vlockstep.protocol.messages import Blocks
from vlockstep.wire.codec import MessageError

PIECE = 1 << 18
"""Bytes that go in one message at most."""
_ROOM = 1 << 22
"""So many may wait to be sent before more is read."""
_CROWD = 1 << 24
"""So many, and the guest waits."""


class Piece(NamedTuple):
    """Of a disk."""

    handle: int
    offset: int
    content: bytes


class DiskCopies:
    """The primary's side. `background` reads, and `wake` is called when there is more to send."""

    def __init__(
        self,
        disks: Mapping[int, MirroredDisk],
        background: Background,
        wake: Callable[[], None],
    ) -> None:
        self._disks = disks
        self._background = background
        self._wake = wake
        self._mirrors: list[tuple[MirroredDisk, Mirror]] = []
        self._begun = self._working = self._complete = False
        self._lock = threading.Lock()
        self._pieces: deque[Piece] = deque()
        self.waiting = 0
        """Bytes that wait to be sent."""
        self._reading()

    @property
    def over(self) -> bool:
        """What the disks held is sent or waits to be; what comes now the guest has written."""
        return self._begun and all(mirror.over for _, mirror in self._mirrors)

    @property
    def crowded(self) -> bool:
        return self.waiting > _CROWD

    @property
    def empty(self) -> bool:
        """Nothing waits to be sent."""
        return not self._pieces

    def next(self) -> Piece | None:
        """What is to be sent next, if there is something. Raises `VlockstepError` if a disk cannot
        be read."""
        for _, mirror in self._mirrors:
            if mirror.failure is not None:
                raise mirror.failure
        with self._lock:
            piece = self._pieces.popleft() if self._pieces else None
            self.waiting -= len(piece.content) if piece else 0
        if not self._working and not self._complete and not self.over and self.waiting < _ROOM:
            self._reading()
        return piece

    def complete(self) -> None:
        """Add nothing any more. In the thread of who writes to the disks, between two writes."""
        with self._lock:
            self._complete = True
        self._background.submit(self._end)

    def close(self) -> None:
        """Send nothing any more."""
        self.complete()
        with self._lock:
            self._pieces.clear()
            self.waiting = 0

    def _reading(self) -> None:
        self._working = True
        self._background.submit(self._read)

    # In the background

    def _read(self) -> None:
        if not self._begun:
            self._mirrors = [
                (disk, disk.mirror(_Queue(partial(self._add, handle))))
                for handle, disk in self._disks.items()
                if not self._complete
            ]
            self._begun = True
        for _, mirror in self._mirrors:
            while not mirror.over and self.waiting < _ROOM and not self._complete:
                mirror.step()
        self._working = False
        self._wake()

    def _end(self) -> None:
        for disk, mirror in self._mirrors:
            disk.end(mirror)

    # There, or in the guest's thread

    def _add(self, handle: int, offset: int, data: bytes) -> None:
        with self._lock:
            if not self._complete:
                for start in range(0, len(data), PIECE):
                    self._pieces.append(Piece(handle, offset + start, data[start : start + PIECE]))
                self.waiting += len(data)


class _Queue:
    """The target of a mirror."""

    def __init__(self, add: Callable[[int, bytes], None]) -> None:
        self.write = add


class DiskLoading:
    """The newcomer's side: empties its disks, and fills them."""

    def __init__(
        self,
        disks: Mapping[int, MirroredDisk],
        background: Background,
        wake: Callable[[], None],
    ) -> None:
        self.written = 0
        """How many `Blocks`."""
        self.failure: VlockstepError | None = None
        """Why a disk could not be filled."""
        self._disks = disks
        self._background = background
        self._wake = wake
        self._full = len(disks)
        """How many disks are still to be emptied."""
        for disk in disks.values():
            disk.filled = False
            background.submit(partial(self._do, disk.empty, 0, 1))

    @property
    def emptied(self) -> bool:
        """What the disks held before is gone: before that nobody may write to them."""
        return not self._full

    def take(self, blocks: Blocks) -> None:
        """Write them, later. Raises `MessageError` for what is not of these disks."""
        disk = self._disks.get(blocks.handle)
        if disk is None or blocks.offset + blocks.size > disk.capacity:
            raise MessageError("blocks of a disk that is not there")
        if (blocks.content and len(blocks.content) != blocks.size) or blocks.size > PIECE:
            raise MessageError("blocks of a disk that are not as long as they say")
        content = blocks.content or bytes(blocks.size)
        write = partial(disk.fill, blocks.offset, content)
        self._background.submit(partial(self._do, write, 1))

    def complete(self) -> None:
        """The disks are what the primary's were."""
        for disk in self._disks.values():
            disk.filled = True

    # In the background

    def _do(self, job: Callable[[], None], blocks: int = 0, emptied: int = 0) -> None:
        try:
            if self.failure is None:
                job()
        except VlockstepError as error:
            self.failure = error
        except OSError as error:
            self.failure = HostError(f"a disk cannot be filled: {error.strerror}")
        self.written += blocks
        self._full -= emptied
        self._wake()

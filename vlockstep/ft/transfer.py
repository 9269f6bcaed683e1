"""The state of a running guest on its way to a replica that joins.

What disks hold of which each replica has its own copy comes first, see `diskcopies`: that is much,
and most of it stays as it is. Then the RAM, round by round, and by turns with it what the guest
writes to those disks meanwhile. When that is over, `rounds` decides.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from vlockstep.errors import StateError, VlockstepError
from vlockstep.ft.diskcopies import DiskCopies, Piece
from vlockstep.ft.gueststate import GuestState
from vlockstep.ft.rounds import CopiedRest, Precopy, Round, Rounds, SentRest
from vlockstep.machine.dirty import DirtyPages, Ranges, merged, size_of
from vlockstep.machine.interface import GuestMachine, GuestMemory
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.messages import Blocks, Message, Pages, Rest
from vlockstep.protocol.timing import MILLISECOND, SECOND
from vlockstep.wire.codec import MessageError

PIECE = 1 << 20
"""Bytes of RAM that go in one message at most."""
_ZEROS = bytes(PIECE)
_COMMON = 1 << 24
"""Bytes of what may be allocated all the time."""
_OVERHEAD = 64
"""Bytes of a message besides the piece."""


@dataclass(frozen=True)
class TransferLimits:
    """How a guest's state is sent. Sizes are in bytes of RAM, and times in nanoseconds."""

    pause: int = 5 * MILLISECOND
    """For which the guest may be held while the last of its RAM is copied; for longer if it writes
    about as fast as its RAM is sent."""
    bandwidth: int = 0
    """Bytes a second that the network may carry of it; 0 if that does not matter. What is to go
    through so little is compressed."""
    window: int = 1 << 23
    """On their way at most."""
    piece: int = PIECE
    """In one message, `PIECE` at most."""
    rounds: int = 30
    """After so many the guest is held, whatever it has written, or does not move if it would stand
    for too long."""


class Running(Protocol):
    """A guest that runs; a `Guest` is one."""

    machine: GuestMachine

    def visit(self, visitor: Callable[[], bool] | None, stay: bool = False) -> None: ...

    def capture(self) -> GuestState: ...


class _Stage(Enum):
    """What the host's thread and the guest's have to agree upon."""

    SENDING = auto()
    ASKED = auto()  # the guest is to take its state where it can
    TAKING = auto()  # it does, and nobody else looks at its pages
    TOO_MUCH = auto()  # there was too much to copy
    TAKEN = auto()
    CLOSED = auto()


class Transfer:
    """Sends the state of `guest` to the replica `to`: its RAM while it runs, round by round, then
    what was written meanwhile and all the rest as they are at one place, where the guest is held
    for as long as it takes to copy them in memory, or by `precopy` stands from then on.

    Everything happens in the host's thread but for `_capture`. `origin` tells under which
    generation the entry before another one was made.
    """

    def __init__(
        self,
        guest: Running,
        to: str,
        send: Callable[[Message], None],
        origin: Callable[[int], int],
        now: Callable[[], int],
        limits: TransferLimits,
        disks: DiskCopies | None = None,
        precopy: Precopy | None = None,
    ) -> None:
        expect_pieces()
        self.to = to
        self._limits = limits
        self._disks = disks
        self._guest = guest
        self._memory: GuestMemory = guest.machine.memory
        self._send = send
        self._origin = origin
        self._now = now
        self._dirty: DirtyPages = guest.machine.track()
        self._ranges: deque[tuple[int, int]] = deque()
        """What is to be sent, as it is by then."""
        self._to_send = 0
        """Bytes in these."""
        try:
            self._want(self._dirty.scan())
        except VlockstepError:
            self._dirty.close()
            raise
        self._copies: deque[tuple[int, memoryview]] = deque()
        """What is to be sent, as it was."""
        self._room = bytearray()
        """For the copies."""
        self._pending: Ranges = []
        """What is to be copied where the guest is held."""
        self._stage = _Stage.SENDING
        self._lock = threading.Lock()
        self._failure: VlockstepError | None = None
        """Why the state cannot be taken."""
        self.precopy = precopy
        self._rounds: Rounds = (
            CopiedRest(limits.pause, limits.rounds, self._to_send)
            if precopy is None
            else SentRest(precopy, limits.rounds)
        )
        self._began = now()
        self._got = 0
        """Bytes that the newcomer took, since this round began."""
        self._sizes: deque[int] = deque()
        """Of the pieces on their way."""
        self._flying = self._count = self._taken = 0
        self._free_at = 0
        """From when on the bandwidth permits another piece."""
        self._pack: Callable[[bytes], bytes] = _packer() if limits.bandwidth else bytes
        self._end_of_round = 0
        """Behind its last piece."""
        self._ram_is_next = True
        self.state: GuestState | None = None
        """As it was taken."""
        self.bytes = self.rounds = self.pause = 0
        """Bytes of RAM sent, rounds, and nanoseconds for which the guest was held to be copied."""
        self.expected_pause: int | None = None
        """Nanoseconds for which what was left after the last round would hold the guest."""
        self.stands_since: int | None = None
        """Since when the guest stands, if it is to stand."""
        self.disk_bytes = 0
        """Sent of disks."""
        self.sent = False

    @property
    def copies_disks(self) -> bool:
        """It is at what the disks held."""
        return self._disks is not None and not self._disks.over

    @property
    def crowded(self) -> bool:
        """The guest writes to its disks faster than that is sent."""
        return self._disks is not None and self._disks.crowded

    def took(self, count: int) -> bool:
        """The newcomer has so many pieces; whether it had fewer before. Raises `MessageError` if
        there are not as many."""
        if not self._taken <= count <= self._count:
            raise MessageError("an answer to pages that were never sent")
        more = count > self._taken
        for _ in range(count - self._taken):
            size = self._sizes.popleft()
            self._flying -= size
            self._got += size
        self._taken = count
        return more

    def pump(self) -> None:
        """Send what may be sent. Raises a `VlockstepError` if the state cannot be taken."""
        if self._stage is _Stage.CLOSED:
            return
        if self._failure is not None:
            raise self._failure
        if self._stage is _Stage.TOO_MUCH:
            self._guest.visit(None)
            self._stage = _Stage.SENDING
            self._begin_round(self._pending)
        while self._may_send and self._send_next():
            pass
        if self._copies or self._ranges or self.sent:
            return
        if self._stage is _Stage.TAKEN:
            if self._disks is None or (self._disks.empty and not self._flying):
                self._send_rest()
        elif self._stage is _Stage.SENDING and self._round_taken:
            self._next_round()

    @property
    def _may_send(self) -> bool:
        """Whether newcomer and network have room for a piece."""
        return self._flying < self._limits.window and self._now() >= self._free_at

    def deadline(self) -> int:
        """When to `pump` again, or look whether the guest is `throttled`, at the latest."""
        now = self._now()
        free = self._free_at if self._free_at > now else NEVER
        return min(free, self._rounds.throttle.next(now) if self.state is None else NEVER)

    @property
    def left(self) -> int:
        """Bytes of RAM that this round has still to bring, and what of disks is on its way."""
        return self._to_send + self._flying

    @property
    def throttle(self) -> int:
        """By how many percent the guest was slowed."""
        return self._rounds.throttle.percent

    @property
    def throttled(self) -> bool:
        """The guest is to wait now."""
        return self.state is None and self._rounds.throttle.stands(self._now())

    def _send_rest(self) -> None:
        assert self.state is not None
        state, self.sent = self.state, True
        self._send(Rest(self._count, state.next, self._origin(state.next), state.pack()))
        self._dirty.close()

    def close(self) -> None:
        """Send nothing any more."""
        self._guest.visit(None)
        with self._lock:
            before, self._stage = self._stage, _Stage.CLOSED
        if before is not _Stage.TAKING:
            self._dirty.close()
        if self._disks is not None:
            self._disks.close()
        self.sent = True

    def _send_next(self) -> bool:
        """Send a piece of RAM, or of a disk, by turns; False if there is none."""
        piece = None if self._disks is None else self._next_of_disks(self._disks)
        if piece is not None:
            self._send_blocks(piece)
        elif self._copies:
            address, copy = self._copies.popleft()
            self._send_pages(address, bytes(copy))
        elif self._ranges and not self.copies_disks:
            self._send_pages(*self._next_piece())
        else:
            return False
        return True

    def _next_of_disks(self, disks: DiskCopies) -> Piece | None:
        wait = self._ram_is_next and disks.over and (self._copies or self._ranges)
        return None if wait else disks.next()

    def _next_piece(self) -> tuple[int, bytes]:
        start, end = self._ranges[0]
        piece = self._limits.piece
        middle = min(end, start - start % piece + piece)
        if middle == end:
            self._ranges.popleft()
        else:
            self._ranges[0] = middle, end
        before = self._now()
        self._to_send -= middle - start
        content = self._dirty.read(start, middle)
        self._rounds.copied(middle - start, self._now() - before)
        return start, content

    def _send_pages(self, address: int, content: bytes) -> None:
        size = len(content)
        packed = self._pack(content) if any_set(content) else b""
        content = packed if len(packed) < size else content
        self._sending(Pages(self._count, address, size, content))
        self.bytes += size
        self._end_of_round = self._count
        self._ram_is_next = False

    def _send_blocks(self, piece: Piece) -> None:
        size = len(piece.content)
        content = piece.content if any_set(piece.content) else b""
        self._sending(Blocks(self._count, piece.handle, piece.offset, size, content))
        self.disk_bytes += size
        self._ram_is_next = True

    def _sending(self, message: Pages | Blocks) -> None:
        self._send(message)
        if self._limits.bandwidth:
            sent = len(message.content) + _OVERHEAD
            self._free_at = self._now() + sent * SECOND // self._limits.bandwidth
        self._count += 1
        self._sizes.append(message.size)
        self._flying += message.size

    # Rounds

    def _next_round(self) -> None:
        ranges = self._dirty.scan()
        left, now = self._left(ranges), self._now()
        over = self._rounds.over(now, Round(self._got, now - self._began, left, self.rounds))
        self.expected_pause = self._rounds.pause(left)
        if over:
            self._pending = ranges
            if not self._rounds.stays:
                self._room = _touched(left + left // 4)
            self._stage = _Stage.ASKED
            self._guest.visit(self._capture, self._rounds.stays)
        else:
            self._begin_round(ranges)

    def _left(self, ranges: Ranges) -> int:
        """Bytes that are to be copied, or sent, where the guest is held."""
        blocks = self._disks.waiting if self._disks is not None and self._rounds.stays else 0
        return size_of(ranges) + blocks

    def _want(self, ranges: Ranges) -> None:
        self._ranges.extend(ranges)
        self._to_send += size_of(ranges)

    def _begin_round(self, ranges: Ranges) -> None:
        self.rounds += 1
        self._began, self._got = self._now(), 0
        self._want(ranges)
        self.pump()

    @property
    def _round_taken(self) -> bool:
        """The newcomer has all that this round is to bring."""
        return self._taken >= self._end_of_round and not self.copies_disks

    # In the guest's thread

    def _capture(self) -> bool:
        """Take the state where the guest is; False if that cannot be done here."""
        with self._lock:
            if self._stage is not _Stage.ASKED:
                return False
            self._stage = _Stage.TAKING
        after = _Stage.ASKED
        try:
            after = self._take()
        except StateError:
            pass  # not here
        except VlockstepError as error:
            self._failure = error
        with self._lock:
            closed = self._stage is _Stage.CLOSED
            if not closed:
                self._stage = after
        if closed:
            self._dirty.close()
        return after is _Stage.TAKEN

    def _take(self) -> _Stage:
        before = self._now()
        ranges = self._pending = merged([*self._pending, *self._dirty.scan()])
        if self._rounds.too_much(self._left(ranges), self.rounds):
            return _Stage.TOO_MUCH
        self.state = self._guest.capture()
        if self._disks is not None:
            self._disks.complete()
        if self._rounds.stays:
            self._want(ranges)
            self.stands_since = before
        else:
            self._copy(ranges)
            self.pause = self._now() - before
        return _Stage.TAKEN

    def _copy(self, ranges: Ranges) -> None:
        size = size_of(ranges)
        room = self._room if size <= len(self._room) else bytearray(size)
        free, self._room = memoryview(room), bytearray()
        for start, end in ranges:
            for address in range(start, end, self._limits.piece):
                length = min(end - address, self._limits.piece)
                copy, free = free[:length], free[length:]
                self._memory.peek_into(address, copy)
                self._copies.append((address, copy))


def _packer() -> Callable[[bytes], bytes]:
    """Who is not in a hurry does without the memory that this takes."""
    from zstandard import ZstdCompressor

    return ZstdCompressor(level=1).compress


def any_set(content: bytes) -> bool:
    """Whether it is not all zeros."""
    return content != _ZEROS[: len(content)]


def expect_pieces() -> None:
    """Let the C library keep the memory of each piece for the next: after a large block was freed,
    it takes such blocks for common. It would return each to the system, to have it zeroed again."""
    bytes(_COMMON)


def _touched(size: int) -> bytearray:
    """Memory that the system has really given, so that writing to it does not wait for that."""
    return bytearray(b"\1") * size

"""Disks of each replica's own, on their way to one that joins: there they are what they were here,
where the guest's state was taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.errors import HostError, UsageError, VlockstepError
from vlockstep.ft import diskcopies
from vlockstep.ft.diskcopies import PIECE, DiskCopies, DiskLoading
from vlockstep.ft.gueststate import GuestState
from vlockstep.ft.loading import Loading
from vlockstep.ft.transfer import Transfer, TransferLimits
from vlockstep.host.background import Job
from vlockstep.host.mirror import MirroredDisk
from vlockstep.protocol.messages import Blocks, Message, Pages, Rest, Took
from vlockstep.wire.codec import MessageError

UNIT = 1 << 16
CAPACITY = 8 * UNIT
HANDLE = 3


class Jobs:
    """A background that works when it is told to."""

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def drain(self, seconds: float) -> bool:
        raise AssertionError

    def work(self) -> None:
        if self.jobs:
            self.jobs.popleft()()


class Bytes:
    """What holds a disk's bytes; units that were never written are holes."""

    def __init__(self) -> None:
        self.capacity = CAPACITY
        self.content = bytearray(CAPACITY)
        self.written: set[int] = set()
        self.broken = False

    def read(self, offset: int, length: int) -> bytes | None:
        return None if self.broken else bytes(self.content[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        if self.broken:
            raise HostError("No space left")
        self.content[offset : offset + len(data)] = data
        self.written |= set(range(offset // UNIT, (offset + len(data) - 1) // UNIT + 1))

    def extent(self, offset: int) -> tuple[int, int] | None:
        unit = min((n for n in self.written if (n + 1) * UNIT > offset), default=None)
        return None if unit is None else (max(offset, unit * UNIT), (unit + 1) * UNIT)

    def clear(self) -> None:
        self.content[:] = bytes(CAPACITY)
        self.written.clear()

    def close(self) -> None: ...


class Ram:
    """The guest's program is in it, and no page of it is ever written again."""

    size = 1 << 12

    def __init__(self) -> None:
        self.written = [(0, self.size)]

    def scan(self) -> list[tuple[int, int]]:
        written, self.written = self.written, []
        return written

    def read(self, start: int, end: int) -> bytes:
        return b"\x90" * (end - start)

    def fill(self, address: int, content: bytes) -> None: ...

    def close(self) -> None: ...


class Join:
    """A guest with a disk, and a newcomer with one that is not empty."""

    def __init__(self) -> None:
        self.here, self.there = Jobs(), Jobs()
        self.disk, self.copy = MirroredDisk(Bytes()), MirroredDisk(Bytes())
        self.copy.write(5 * UNIT, b"of an earlier guest")
        self.messages: deque[Message] = deque()
        self.sent: list[Message] = []
        self.answers: deque[Took] = deque()
        self.visitor: Callable[[], bool] | None = None
        self.machine: Any = self
        self.memory = Ram()
        self.state: GuestState | None = None
        self.then: bytes | None = None
        """The disk where the guest's state was taken."""
        self.got: GuestState | None = None
        self.copies = DiskCopies({HANDLE: self.disk}, self.here, lambda: None)
        self.transfer = Transfer(
            self, "b", self._send, lambda next: 2, lambda: 0, TransferLimits(), self.copies
        )
        self.loading = Loading(
            self.memory,  # type: ignore[arg-type]
            self._answer,
            DiskLoading({HANDLE: self.copy}, self.there, lambda: None),
        )

    # As a guest

    def track(self) -> Ram:
        return self.memory

    def visit(self, visitor: Callable[[], bool] | None, stay: bool = False) -> None:
        self.visitor = visitor

    def capture(self) -> GuestState:
        self.then = bytes(self.disk.read(0, CAPACITY) or b"")
        return GuestState(7, b"machine", (1, 2), 3, ())

    # What happens

    def run(self) -> None:
        if self.visitor is not None and self.visitor():
            self.visitor = None

    def pump(self) -> None:
        self.transfer.pump()

    def arrive(self) -> None:
        if self.messages:
            message = self.messages.popleft()
            if isinstance(message, Rest):
                self.got = self.loading.complete(message)
            else:
                assert isinstance(message, Blocks | Pages)
                self.loading.take(message)

    def look(self) -> None:
        self.loading.look()

    def answer(self) -> None:
        if self.answers:
            self.transfer.took(self.answers.popleft().count)
            self.transfer.pump()

    def finish(self) -> None:
        here = self.here.work, self.run, self.pump, self.answer
        events = *here, self.arrive, self.there.work, self.look
        for _ in range(1000):
            if self.got is not None:
                return
            for event in events:
                event()
                if self.then is not None:
                    self.disk.write(UNIT // 2, b"what comes later is not sent")
        raise AssertionError("it never ends")

    def _send(self, message: Message) -> None:
        self.messages.append(message)
        self.sent.append(message)

    def _answer(self, message: Message) -> None:
        assert isinstance(message, Took)
        self.answers.append(message)


EVENTS = ["write", "work here", "pump", "arrive", "work there", "look", "answer", "run"]
HAPPENING = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.integers(0, CAPACITY - 1), st.integers(0, 255)),
    max_size=60,
)


@given(st.sets(st.integers(0, 7)), HAPPENING)
def test_the_copy_is_what_the_disk_was_at_that_place(
    units: set[int], happening: list[tuple[str, int, int]]
) -> None:
    join = Join()
    for unit in units:
        join.disk.write(unit * UNIT, bytes([unit]) * UNIT)
    for what, offset, value in happening:
        match what:
            case "write":
                length = min(CAPACITY - offset, 100 + 1000 * value)
                join.disk.write(offset, bytes([value]) * length)
            case "work here":
                join.here.work()
            case "work there":
                join.there.work()
            case _:
                getattr(join, what)()
    join.finish()
    assert join.got is not None and join.copy.storage.read(0, CAPACITY) == join.then
    while join.here.jobs:
        join.here.work()
    assert not join.messages and join.copies.empty


def test_nothing_is_sent_of_holes_and_zeros() -> None:
    join = Join()
    join.disk.write(2 * UNIT, b"x" * UNIT)
    join.disk.write(4 * UNIT, bytes(UNIT))
    join.finish()
    assert [(m.offset, m.size) for m in join.sent if isinstance(m, Blocks)] == [(2 * UNIT, UNIT)]
    assert join.transfer.disk_bytes == UNIT
    assert isinstance(join.copy.storage, Bytes) and join.copy.storage.written == {2}


def test_zeros_that_the_guest_writes_are_sent_as_such() -> None:
    join = Join()
    join.disk.write(0, b"x" * UNIT)
    join.here.work()
    join.disk.write(0, bytes(UNIT))
    join.finish()
    assert [bool(m.content) for m in join.sent if isinstance(m, Blocks)] == [True, False]
    assert join.then == bytes(CAPACITY) == join.copy.storage.read(0, CAPACITY)


def test_what_is_copied_waits_for_room_and_a_guest_that_writes_makes_a_crowd(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diskcopies, "_ROOM", 2 * UNIT)
    monkeypatch.setattr(diskcopies, "_CROWD", 4 * UNIT)
    join = Join()
    join.disk.write(0, b"x" * CAPACITY)
    join.here.work()
    assert not join.transfer.crowded and join.transfer.copies_disks
    for _ in range(3):
        join.disk.write(0, b"y" * UNIT)
    assert join.transfer.crowded
    join.finish()
    assert not join.transfer.crowded
    assert join.copy.storage.read(0, CAPACITY) == join.then


def test_a_transfer_that_is_given_up_lets_the_disk_be() -> None:
    join = Join()
    join.disk.write(0, b"x" * CAPACITY)
    join.here.work()
    join.transfer.close()
    join.disk.write(0, b"y" * CAPACITY)
    assert join.copies.empty and not join.transfer.crowded
    while join.here.jobs:
        join.here.work()
    join.transfer.pump()
    assert not join.sent


def test_a_disk_that_cannot_be_read_ends_the_transfer() -> None:
    join = Join()
    join.disk.write(0, b"x")
    assert isinstance(join.disk.storage, Bytes)
    join.disk.storage.broken = True
    join.here.work()
    with pytest.raises(HostError, match="cannot be read"):
        join.pump()


def test_a_disk_that_is_full_ends_the_loading() -> None:
    join = Join()
    join.disk.write(0, b"x")
    assert isinstance(join.copy.storage, Bytes)
    with pytest.raises(HostError, match="No space left"):
        for event in (join.there.work, join.here.work, join.pump):
            event()
        join.copy.storage.broken = True
        for event in (join.arrive, join.arrive, join.there.work, join.look):
            event()
    assert [took.count for took in join.answers] == [1], "of RAM; nobody is told of the disk's"


def test_a_disk_that_is_being_filled_is_not_moved() -> None:
    join = Join()
    with pytest.raises(UsageError, match="being filled"):
        join.copy.mirror(join.copy.storage)
    join.finish()
    join.copy.mirror(join.copy.storage)


@pytest.mark.parametrize(
    "blocks",
    [
        Blocks(1, HANDLE, 0, 1, b"x"),
        Blocks(0, HANDLE + 1, 0, 1, b"x"),
        Blocks(0, HANDLE, CAPACITY, 1, b"x"),
        Blocks(0, HANDLE, 0, 2, b"x"),
        Blocks(0, HANDLE, 0, PIECE + 1, b""),
    ],
)
def test_blocks_that_cannot_be(blocks: Blocks) -> None:
    with pytest.raises(MessageError):
        Join().loading.take(blocks)
    with pytest.raises(VlockstepError):
        Loading(Ram(), lambda message: None).take(blocks)  # type: ignore[arg-type]

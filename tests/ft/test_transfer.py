"""A guest's state on its way to a replica that joins: what is sent is what the guest was."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.errors import HostError, StateError
from vlockstep.ft.gueststate import GuestState
from vlockstep.ft.loading import Loading
from vlockstep.ft.outputs import Output
from vlockstep.ft.rounds import Precopy
from vlockstep.ft.transfer import PIECE, Transfer, TransferLimits
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.messages import Message, Pages, Rest, Took
from vlockstep.protocol.timing import MILLISECOND, SECOND
from vlockstep.replay.entry import Kind
from vlockstep.wire.codec import MessageError

PAGE = 4096
SIZE = 16 * PAGE
RATE = 2
"""Bytes copied in a nanosecond, as a transfer assumes that has measured none."""


class Memory:
    """RAM that knows which of its pages were written; also `DirtyPages` of it."""

    way = "a list of them"

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.content = bytearray(size)
        self.written: set[int] = set()
        self.closed = 0
        self.failure: Exception | None = None

    def peek(self, address: int, length: int) -> bytes:
        assert length > 0 and address + length <= self.size
        return bytes(self.content[address : address + length])

    def peek_into(self, address: int, target: memoryview) -> None:
        target[:] = self.peek(address, len(target))

    def fill(self, address: int, content: bytes) -> None:
        self.write(address, content)

    def write(self, address: int, content: bytes) -> None:
        self.content[address : address + len(content)] = content
        self.written.update(range(address // PAGE, (address + len(content) - 1) // PAGE + 1))

    def scan(self) -> list[tuple[int, int]]:
        assert not self.closed
        if self.failure is not None:
            raise self.failure
        pages, self.written = sorted(self.written), set()
        return [(page * PAGE, (page + 1) * PAGE) for page in pages]

    def read(self, start: int, end: int) -> bytes:
        return self.peek(start, end - start)

    def close(self) -> None:
        self.closed += 1


class Guest:
    """It runs, and is visited, when it is told to."""

    def __init__(self, pages: int) -> None:
        """It has written so many pages."""
        self.memory = Memory()
        for page in range(pages):
            self.memory.write(page * PAGE, b"boot")
        self.machine: Any = self
        self.visitor: Callable[[], bool] | None = None
        self.stays = False
        """It stands where its state is taken."""
        self.refuses = 0
        """How many times its state cannot be taken."""
        self.startled = False
        """It writes only when it is to be visited."""
        self.state: GuestState | None = None
        self.content = b""
        """Its RAM when its state was taken."""

    def track(self) -> Memory:
        return self.memory

    def visit(self, visitor: Callable[[], bool] | None, stay: bool = False) -> None:
        self.visitor, self.stays = visitor, stay

    def capture(self) -> GuestState:
        if self.refuses:
            self.refuses -= 1
            raise StateError("not here")
        self.state = GuestState(7, b"machine", (1, 2), 3, ())
        self.content = bytes(self.memory.content)
        return self.state

    def run(self) -> None:
        """To the next place where it can be stopped."""
        if self.startled:
            self.memory.write(0, bytes(8 * PAGE))
        if self.visitor is not None and self.visitor():
            self.visitor = None


class Sent:
    """A transfer of `guest`, and a newcomer that loads what was sent."""

    def __init__(self, precopy: Precopy | None = None, pages: int = 1, **limits: int) -> None:
        self.guest = Guest(pages)
        self.messages: deque[Message] = deque()
        self.memory = Memory()
        self.loading = Loading(self.memory, self.answers)  # type: ignore[arg-type]
        self.count = 0
        self.got: GuestState | None = None
        self.now = 0
        self.transfer = Transfer(
            self.guest, "b", self.messages.append, lambda next: 2, lambda: self.now,
            TransferLimits(**limits), None, precopy,
        )  # fmt: skip
        self.transfer.pump()

    def answers(self, message: Message) -> None:
        assert isinstance(message, Took)
        self.count = message.count

    def arrive(self) -> list[Message]:
        """All that is on its way, and the answers."""
        arrived = list(self.messages)
        self.messages.clear()
        for message in arrived:
            if isinstance(message, Pages):
                self.loading.take(message)
            else:
                assert isinstance(message, Rest) and message.origin == 2
                self.got = self.loading.complete(message)
        self.transfer.took(self.count)
        self.transfer.pump()
        return arrived

    def finish(self, write: Callable[[int], None] = lambda turn: None) -> None:
        """Until all is there; the guest writes in each turn."""
        for turn in range(200):
            if self.got is not None:
                return
            write(turn)
            self.arrive()
            if self.transfer.deadline() < NEVER:
                self.now = max(self.now, self.transfer.deadline())
            self.guest.run()
            self.transfer.pump()
        raise AssertionError("it takes for ever")

    def equal(self) -> bool:
        return self.got == self.guest.state and self.memory.content == self.guest.content


def test_what_arrives_is_what_the_guest_was_when_it_was_visited() -> None:
    sent = Sent()
    sent.finish(lambda turn: sent.guest.memory.write(turn * PAGE, b"%d" % turn))
    sent.guest.memory.write(0, b"later")
    assert sent.equal() and sent.guest.memory.closed == 1
    assert sent.transfer.sent


def test_a_network_that_carries_little_gets_no_more_and_that_is_packed() -> None:
    sent = Sent(bandwidth=1_000_000, piece=1024)
    sent.guest.memory.write(0, b"text, " * 2000)
    sent.guest.memory.write(12 << 10, random.Random(3).randbytes(1024))
    carried = 0

    def count(turn: int) -> None:
        nonlocal carried
        carried += sum(len(m.content) for m in sent.messages if isinstance(m, Pages))
        assert carried <= 1_000_000 * sent.now // SECOND + 1024

    sent.finish(count)
    assert sent.equal()
    assert 1024 <= carried < 4096, "what can be packed is"


@given(content=st.binary(max_size=64))
def test_pages_that_are_packed_wrongly_are_refused(content: bytes) -> None:
    loading = Loading(Memory(), lambda message: None)  # type: ignore[arg-type]
    with suppress(MessageError):
        loading.take(Pages(0, 0, 65, content))


def test_pages_that_are_written_again_and_again_are_sent_in_rounds_until_they_are_few() -> None:
    sent = Sent(pages=8, pause=2 * PAGE // RATE)

    def write(turn: int) -> None:
        for page in range(max(1, 6 >> turn)):
            sent.guest.memory.write(page * PAGE, b"%d" % turn)

    sent.finish(write)
    assert sent.equal() and sent.transfer.rounds == 2


def test_a_guest_that_writes_as_fast_as_it_is_sent_is_taken_all_the_same() -> None:
    sent = Sent(pause=0)

    def write(turn: int) -> None:
        for page in range(8):
            sent.guest.memory.write(page * PAGE, b"%d" % turn)

    sent.finish(write)
    assert sent.equal() and sent.transfer.rounds == 0


def test_a_guest_that_is_to_stand_is_sent_where_it_stands() -> None:
    sent = Sent(Precopy())
    while sent.guest.state is None:
        sent.guest.memory.write(PAGE, b"later")
        sent.arrive()
        sent.guest.run()
    assert sent.guest.stays and sent.transfer.stands_since == sent.now
    assert sent.got is None and sent.transfer.pause == 0
    sent.transfer.pump()
    sent.finish()
    assert sent.equal()


def taking(sent: Sent, pages: Callable[[], int]) -> int:
    """A guest that writes so many pages in each millisecond, until it stands: when that is. The
    network takes one page in that time."""
    noise = random.Random(3)
    for _ in range(1000):
        if sent.guest.state is not None:
            return sent.now
        for page in range(pages()):
            sent.guest.memory.write(page * PAGE, noise.randbytes(PAGE))
        sent.now += MILLISECOND
        sent.arrive()
        sent.guest.run()
    raise AssertionError("it takes for ever")


PAGES_A_SECOND = {"bandwidth": 1000 * PAGE, "piece": PAGE}


def test_it_does_not_stand_before_the_rest_can_be_sent_in_time() -> None:
    sent = Sent(Precopy(3 * MILLISECOND), **PAGES_A_SECOND)
    began = taking(sent, lambda: max(1, 8 - sent.transfer.rounds))
    assert sent.transfer.rounds > 3
    sent.finish()
    assert sent.equal() and sent.now - began <= 4 * MILLISECOND


@pytest.mark.parametrize("throttled", [False, True])
def test_one_that_never_writes_less_does_not_move(throttled: bool) -> None:
    """Nobody holds it though it is to be slowed."""
    sent = Sent(Precopy(MILLISECOND, throttled), rounds=3, **PAGES_A_SECOND)
    with pytest.raises(HostError, match="move it by the method log"):
        taking(sent, lambda: 8)
    assert sent.guest.state is None
    assert sent.transfer.throttle == (99 if throttled else 0)


def test_one_that_is_slowed_writes_less_and_moves() -> None:
    sent = Sent(Precopy(2 * MILLISECOND), **PAGES_A_SECOND)
    taking(sent, lambda: 0 if sent.transfer.throttled else 8)
    assert sent.transfer.throttle >= 20 and not sent.transfer.throttled
    sent.finish()
    assert sent.equal()


def test_so_is_one_that_writes_only_when_it_is_visited() -> None:
    """Each round finds nothing to send, and each visit too much."""
    sent = Sent(pause=0, rounds=3)
    sent.guest.startled = True
    sent.finish()
    assert sent.equal() and sent.transfer.rounds == 3


def test_what_is_too_much_when_the_guest_is_visited_makes_another_round() -> None:
    sent = Sent(pause=PAGE // RATE)
    while sent.guest.visitor is None:
        sent.arrive()
    for page in range(9):
        sent.guest.memory.write(page * PAGE, b"much")
    sent.guest.run()
    assert sent.guest.state is None and sent.guest.visitor is not None
    sent.guest.run()
    assert sent.guest.state is None  # it is not asked twice
    sent.finish()
    assert sent.equal() and sent.transfer.rounds == 1


def test_where_the_state_cannot_be_taken_the_guest_goes_on_to_another_place() -> None:
    sent = Sent()
    sent.guest.refuses = 3
    sent.finish(lambda turn: sent.guest.memory.write(turn * PAGE, b"%d" % turn))
    assert sent.equal() and sent.guest.refuses == 0


def test_no_more_than_a_window_is_on_its_way() -> None:
    sent = Sent(window=2 * PAGE, piece=PAGE)
    sent.guest.memory.write(0, bytes(range(256)) * (SIZE // 256))
    flights = []
    while sent.got is None:
        flights.append(sum(isinstance(message, Pages) for message in sent.arrive()))
        sent.guest.run()
        sent.transfer.pump()
    assert sent.equal() and max(flights) == 2


def test_pieces_do_not_cross_their_bounds_and_zeros_have_no_content() -> None:
    sent = Sent(piece=4 * PAGE)
    pieces: list[Pages] = [m for m in sent.messages if isinstance(m, Pages)]
    assert [(p.address, p.size, p.content[:4]) for p in pieces] == [(0, PAGE, b"boot")]
    sent.arrive()
    for page in (2, 3, 4, 5):
        sent.guest.memory.write(page * PAGE, bytes(PAGE))
    sent.guest.run()
    sent.transfer.pump()
    pieces = [m for m in sent.messages if isinstance(m, Pages)]
    assert [(p.size, p.content) for p in pieces] == [(4 * PAGE, b"")]
    sent = Sent(piece=4 * PAGE, pause=0)
    sent.arrive()
    sent.guest.memory.write(2 * PAGE, b"x" * 4 * PAGE)
    sent.guest.run()
    sent.transfer.pump()
    pieces = [m for m in sent.messages if isinstance(m, Pages)]
    assert [(p.address, p.size) for p in pieces] == [(2 * PAGE, 2 * PAGE), (4 * PAGE, 2 * PAGE)]


def test_an_answer_to_what_was_never_sent_is_refused() -> None:
    sent = Sent()
    for count in (2, -1):
        with pytest.raises(MessageError):
            sent.transfer.took(count)
    sent.transfer.took(1)
    with pytest.raises(MessageError):
        sent.transfer.took(0)


def test_what_is_closed_sends_nothing_and_takes_nothing() -> None:
    sent = Sent()
    while sent.guest.visitor is None:
        sent.arrive()
    late = sent.guest.visitor  # the guest's thread has it already
    sent.transfer.close()
    assert sent.guest.visitor is None and sent.guest.memory.closed == 1
    assert not late() and sent.guest.state is None
    sent.transfer.pump()
    assert not sent.messages


def test_closed_while_the_guest_takes_its_state() -> None:
    """In its thread: the pages are its own until it is done."""
    sent = Sent()
    while sent.guest.visitor is None:
        sent.arrive()
    capture, closed = sent.guest.capture, []

    def closing() -> GuestState:
        sent.transfer.close()
        closed.append(sent.guest.memory.closed)
        return capture()

    sent.guest.capture = closing  # type: ignore[method-assign]
    assert sent.guest.visitor is not None
    sent.guest.visitor()
    assert closed == [0] and sent.guest.memory.closed == 1
    sent.transfer.pump()
    assert not sent.messages


def test_nothing_is_sent_while_the_guest_takes_its_state() -> None:
    """Who pumps meanwhile must not take it for complete."""
    sent = Sent()
    while sent.guest.visitor is None:
        sent.arrive()
    peek, rests = sent.guest.memory.peek, []

    def pumping(address: int, length: int) -> bytes:
        sent.transfer.pump()
        rests.extend(m for m in sent.messages if isinstance(m, Rest))
        return peek(address, length)

    sent.guest.memory.peek = pumping  # type: ignore[method-assign]
    for page in (1, 3):
        sent.guest.memory.write(page * PAGE, b"x")
    sent.guest.run()
    assert not rests
    sent.transfer.pump()
    sent.finish()
    assert sent.equal()


@pytest.mark.parametrize("visited", [False, True])
def test_pages_that_cannot_be_found_are_the_transfers_failure_and_not_the_guests(
    visited: bool,
) -> None:
    sent = Sent()
    while visited and sent.guest.visitor is None:
        sent.arrive()
    sent.guest.memory.failure = HostError("out of memory")
    with pytest.raises(HostError, match="out of memory"):
        sent.guest.run()
        sent.arrive()
    assert sent.guest.state is None
    sent.transfer.close()


# Loading


def pages(number: int = 0, address: int = 0, content: bytes = b"x", size: int = -1) -> Pages:
    return Pages(number, address, len(content) if size < 0 else size, content)


@pytest.mark.parametrize(
    "wrong",
    [
        pages(number=1),
        pages(address=SIZE),
        pages(address=SIZE - 1, content=b"xx"),
        pages(address=1 << 63),
        pages(size=2),
        pages(size=SIZE + 1, content=b""),
    ],
)
def test_pieces_that_are_none_are_refused(wrong: Pages) -> None:
    memory, told = Memory(), list[Message]()
    loading = Loading(memory, told.append)  # type: ignore[arg-type]
    with pytest.raises(MessageError):
        loading.take(wrong)
    assert not told and not any(memory.content)


def test_a_piece_is_no_larger_than_one_may_be() -> None:
    loading = Loading(Memory(4 * PIECE), lambda message: None)  # type: ignore[arg-type]
    with pytest.raises(MessageError, match="more pages"):
        loading.take(pages(size=PIECE + 1, content=b""))


def test_a_state_of_which_a_piece_is_missing_is_refused() -> None:
    loading = Loading(Memory(), lambda message: None)  # type: ignore[arg-type]
    rest = Rest(1, 7, 1, GuestState(7, b"", (0, 0), 0, ()).pack())
    with pytest.raises(MessageError, match="missing"):
        loading.complete(rest)
    loading.take(pages())
    assert loading.complete(rest).next == 7


@given(st.lists(st.builds(Pages, *[st.integers(0, 1 << 17)] * 3, st.binary(max_size=64))))
def test_whatever_comes_is_taken_in_order_or_refused(pieces: list[Pages]) -> None:
    memory, told = Memory(), list[Message]()
    loading = Loading(memory, told.append)  # type: ignore[arg-type]
    for piece in pieces:
        count = len(told)
        try:
            loading.take(piece)
        except MessageError:
            assert len(told) == count
        else:
            assert told[count:] == [Took(count + 1)]
    assert len(memory.content) == SIZE


# The rest of the state


numbers = st.integers(0, (1 << 63) - 1)


@st.composite
def states(draw: st.DrawFn) -> GuestState:
    sequences = sorted(draw(st.sets(st.integers(0, 1000), max_size=4)))
    outputs = tuple(
        Output(s, draw(st.sampled_from(Kind)), draw(numbers), draw(numbers), draw(st.binary()))
        for s in sequences
    )
    clock = draw(numbers), draw(numbers)
    return GuestState(draw(st.integers(1001, 1 << 40)), draw(st.binary()), clock, 5, outputs)


@given(states())
def test_a_state_is_what_was_packed(state: GuestState) -> None:
    assert GuestState.unpack(state.next, state.pack()) == state


def test_an_output_behind_the_state_is_refused() -> None:
    output = Output(7, Kind.CONSOLE, 0, 0, b"x")
    packed = GuestState(8, b"", (0, 0), 0, (output,)).pack()
    assert GuestState.unpack(8, packed).outputs == (output,)
    with pytest.raises(MessageError):
        GuestState.unpack(7, packed)


@given(states(), st.data())
def test_whatever_else_is_a_state_or_a_message_that_is_none(
    state: GuestState, data: st.DataObject
) -> None:
    packed = bytearray(state.pack())
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(packed)))
    for content in (bytes(packed), bytes(packed[:end]), bytes(packed) + b"\0"):
        try:
            found = GuestState.unpack(state.next, content)
        except MessageError:
            continue
        assert all(output.sequence < state.next for output in found.outputs)


@given(st.binary())
def test_noise_is_no_state(noise: bytes) -> None:
    with pytest.raises(MessageError):
        GuestState.unpack(5, noise)


def test_a_newcomer_that_says_the_same_again_comes_no_nearer() -> None:
    sent = Sent()
    assert sent.transfer.took(1)
    assert not sent.transfer.took(1)
    with pytest.raises(MessageError):
        sent.transfer.took(0)


def test_a_guest_whose_pages_cannot_be_told_is_not_watched_any_longer() -> None:
    guest = Guest(1)
    guest.memory.failure = HostError("out of memory")
    with pytest.raises(HostError):
        Transfer(guest, "b", lambda message: None, lambda next: 2, lambda: 0, TransferLimits())
    assert guest.memory.closed == 1

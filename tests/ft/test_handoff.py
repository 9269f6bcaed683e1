"""Entries and outputs on their way between the guest's thread and the host's."""

from __future__ import annotations

import functools
import itertools
import threading
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import suppress

from vlockstep.ft.handoff import EntryOutbox, Received
from vlockstep.ft.outputs import Output, OutputQueue
from vlockstep.host.background import BackgroundThread, Job
from vlockstep.host.live import BlockDevice
from vlockstep.machine.world import WorldChanged
from vlockstep.replay.entry import Entry, Kind

CLOCK: Entry = (Kind.CYCLES, 0, 0, 1, b"")
FRAME: Entry = (Kind.NET_WRITE, 1, 0, b"digest", b"")


class Console:
    text = b""

    def write(self, offset: int, data: bytes) -> None:
        assert offset == len(self.text)
        self.text += data


def outbox() -> tuple[EntryOutbox, list[None]]:
    wakes: list[None] = []
    wake = functools.partial(wakes.append, None)
    return EntryOutbox(wake, wake, threading.Condition()), wakes


def test_an_output_that_is_not_queued_yet_cannot_be_acknowledged() -> None:
    entries, wakes = outbox()
    entries.append(CLOCK)
    entries.append(FRAME)
    assert entries.take() == [CLOCK]
    entries.queued()
    entries.pause()
    assert entries.urgent
    assert len(wakes) == 2
    assert entries.take() == [FRAME]


def test_outputs_leave_when_the_guest_pauses_or_has_made_many() -> None:
    entries, wakes = outbox()
    for count in range(1, 17):
        assert not entries.urgent, count
        entries.append(FRAME)
        entries.queued()
    assert entries.urgent
    assert len(wakes) == 2
    assert len(entries.take()) == 16
    entries.pause()
    assert not entries.urgent
    entries.append(FRAME)
    entries.queued()
    entries.pause()
    assert entries.urgent


def test_while_outputs_are_on_their_way_more_gather() -> None:
    entries, _ = outbox()

    def make(count: int) -> None:
        for _ in range(count):
            entries.append(FRAME)
            entries.queued()

    make(16)
    assert len(entries.take()) == 16
    make(63)
    assert not entries.urgent
    make(1)
    assert entries.urgent
    assert len(entries.take()) == 64
    make(16)
    entries.acknowledged = 16
    make(1)
    assert not entries.urgent
    entries.acknowledged = 80
    make(1)
    assert entries.urgent


def test_an_output_that_was_not_taken_wakes_whoever_found_nothing() -> None:
    entries, wakes = outbox()
    entries.append(FRAME)
    assert entries.take() == []
    entries.queued()
    assert len(wakes) == 2
    assert entries.take() == [FRAME]


def test_after_a_take_that_found_something_only_outputs_wake() -> None:
    entries, wakes = outbox()
    entries.append(CLOCK)
    assert entries.take() == [CLOCK]
    entries.append(CLOCK)
    assert len(wakes) == 1
    assert entries.take() == [CLOCK]
    assert entries.take() == []
    entries.append(CLOCK)
    assert len(wakes) == 2


class Inline:
    """A `Background` that does everything at once."""

    def submit(self, job: Job) -> None:
        job()

    def drain(self, seconds: float) -> bool:
        return True


def output_queue(console: Console, disks: Mapping[int, BlockDevice] | None = None) -> OutputQueue:
    return OutputQueue(
        console, disks or {}, {}, now=lambda: 0, background=Inline(), progressed=lambda: None
    )


def test_an_output_that_was_made_elsewhere_before_it_is_known_here_is_not_repeated() -> None:
    console = Console()
    queue = output_queue(console)
    queue.add(0, Kind.CONSOLE, 0, 0, b"made elsewhere, ")
    queue.forget(2)
    queue.add(1, Kind.CONSOLE, 0, 0, b"this, too, ")
    queue.add(2, Kind.CONSOLE, 0, 0, b"here")
    assert queue.bytes == Output(2, Kind.CONSOLE, 0, 0, b"here").size
    console.text = b"made elsewhere, this, too, "
    queue.permit(3, 1)
    assert queue.done == 3
    assert console.text == b"made elsewhere, this, too, here"


class SlowDisk:
    """Each call waits until it is let go."""

    def __init__(self) -> None:
        self.content = bytearray(4)
        self.called = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def read(self, offset: int, length: int) -> bytes | None:
        found = bytes(self.content[offset : offset + length])
        self._wait()
        return found

    def write(self, offset: int, data: bytes) -> None:
        self._wait()
        self.content[offset : offset + len(data)] = data

    def _wait(self) -> None:
        self.called.release()
        assert self.go.acquire(timeout=10)


def test_nobody_waits_for_a_read_but_the_guest() -> None:
    """And it finds what it wrote, though that leaves the queue meanwhile."""
    disk = SlowDisk()
    queue = output_queue(Console(), {1: disk})
    queue.add(0, Kind.BLOCK_WRITE, 1, 0, b"ab")
    found: list[bytes | None] = []
    reader = threading.Thread(target=lambda: found.append(queue.read_block(1, 0, 4)))
    reader.start()
    assert disk.called.acquire(timeout=10)  # the guest stands in its read
    queue.add(1, Kind.CONSOLE, 0, 0, b"x")
    disk.go.release()
    queue.permit(2, 1)
    assert queue.done == 2
    disk.go.release()
    reader.join(10)
    assert found == [b"ab\0\0"]


def test_nobody_waits_for_a_write() -> None:
    disk, console, told = SlowDisk(), Console(), threading.Semaphore(0)
    queue = OutputQueue(
        console, {1: disk}, {},
        now=lambda: 0, background=BackgroundThread("outputs"), progressed=told.release,
    )  # fmt: skip
    queue.add(0, Kind.BLOCK_WRITE, 1, 0, b"ab")
    queue.add(1, Kind.CONSOLE, 0, 0, b"x")
    queue.permit(1, 1)
    assert disk.called.acquire(timeout=10)
    assert queue.done == 0 and queue.bytes > 0
    queue.permit(2, 1)
    assert console.text == b""
    disk.go.release()
    assert told.acquire(timeout=10)
    assert (queue.done, queue.bytes, console.text, disk.content[:2]) == (2, 0, b"x", b"ab")


def test_what_comes_too_late_for_its_lease_is_not_made() -> None:
    console, clock = Console(), [5]
    queue = OutputQueue(
        console, {}, {}, now=lambda: clock[0], background=Inline(), progressed=lambda: None
    )
    queue.add(0, Kind.CONSOLE, 0, 0, b"x")
    queue.permit(1, 5)
    assert queue.expired and queue.done == 0 and console.text == b""
    queue.permit(1, 6)
    assert queue.done == 1 and console.text == b"x"


def test_a_permission_that_comes_while_an_output_is_found_late_counts() -> None:
    """It may be the last one: who is alone permits once, and for ever."""
    console, told = Console(), threading.Semaphore(0)

    class Overtaken(OutputQueue):
        """The protocol's thread is faster than the background, which has looked at the clock."""

        def _make(self, output: Output) -> bool:
            made = super()._make(output)
            if not made:
                protocol = threading.Thread(target=self.permit, args=(1, 6))
                protocol.start()
                protocol.join(10)
            return made

    queue = Overtaken(
        console, {}, {},
        now=lambda: 5, background=BackgroundThread("outputs"), progressed=told.release,
    )  # fmt: skip
    queue.add(0, Kind.CONSOLE, 0, 0, b"x")
    queue.permit(1, 5)
    assert told.acquire(timeout=10)
    assert queue.done == 1 and console.text == b"x"


def test_whatever_goes_wrong_in_the_background_is_told() -> None:
    """Otherwise the replica would live on, and its guest would wait for ever."""

    class Broken(Console):
        def write(self, offset: int, data: bytes) -> None:
            raise ZeroDivisionError

    told = threading.Semaphore(0)
    queue = OutputQueue(
        Broken(), {}, {},
        now=lambda: 0, background=BackgroundThread("outputs"), progressed=told.release,
    )  # fmt: skip
    queue.add(0, Kind.CONSOLE, 0, 0, b"x")
    queue.permit(1, 1)
    assert told.acquire(timeout=10)
    assert isinstance(queue.failure, ZeroDivisionError) and queue.done == 0


def test_a_queue_of_small_outputs_takes_no_more_memory_than_it_says() -> None:
    """What is stalled is bounded by that, and a guest may write each character by itself."""
    queue = output_queue(Console())
    tracemalloc.start()
    try:
        for sequence in range(10_000):
            queue.add(sequence, Kind.CONSOLE, 0, 0, b"%d" % sequence)
        assert tracemalloc.get_traced_memory()[0] <= queue.bytes
    finally:
        tracemalloc.stop()


# Visits


def appended(entries: EntryOutbox, *values: int) -> list[Entry]:
    """Inputs that the guest reads."""
    made: list[Entry] = [(Kind.CYCLES, value, 0, value, b"") for value in values]
    for entry in made:
        entries.append(entry)
    return made


def test_entries_behind_a_visit_are_not_taken_before_it_is_seen() -> None:
    entries, wakes = outbox()
    visits: list[int] = []
    before = appended(entries, 0, 1)
    entries.visit(lambda: not visits.append(entries.next))  # type: ignore[func-returns-value]
    behind = appended(entries, 2, 3)
    assert visits == [2] and entries.visited
    assert entries.take() == before
    assert entries.take() == []
    entries.unseal()
    assert not entries.visited
    assert entries.take() == behind
    assert wakes


def test_a_visit_wakes_whoever_is_to_see_it_though_nothing_was_made() -> None:
    entries, wakes = outbox()
    entries.visit(lambda: True)
    entries.pause()
    assert entries.visited and len(wakes) == 1
    assert entries.take() == []
    entries.unseal()


def test_the_guest_is_visited_again_until_it_is_there() -> None:
    entries, _ = outbox()
    answers = [False, False, True]
    entries.visit(lambda: answers.pop(0))
    made = appended(entries, 0, 1)
    assert not entries.visited and entries.take() == made
    last = appended(entries, 2)
    assert entries.visited and not answers
    assert entries.take() == []
    entries.unseal()
    assert entries.take() == last
    entries.pause()  # nobody visits


def test_an_output_that_is_not_queued_is_behind_no_visit() -> None:
    entries, _ = outbox()
    entries.append(FRAME)
    entries.queued()
    entries.visit(lambda: True)
    entries.append(FRAME)
    assert entries.take() == [FRAME]
    entries.unseal()
    assert entries.take() == []
    entries.queued()
    assert entries.take() == [FRAME]


def test_a_visit_that_is_not_wanted_any_more_leaves_nothing_behind() -> None:
    """All that was made is taken, also if the visit was over but not seen."""
    entries, _ = outbox()
    made = appended(entries, 0)
    entries.visit(lambda: True)
    made += appended(entries, 1, 2)
    entries.visit(None)
    assert not entries.visited and entries.take() == made
    made = appended(entries, 3)
    assert entries.take() == made


def test_a_visit_is_called_off_while_the_visitor_runs() -> None:
    entries, _ = outbox()

    def visitor() -> bool:
        entries.visit(None)
        return True

    entries.visit(visitor)
    made = appended(entries, 0, 1)
    assert not entries.visited and entries.take() == made


def test_another_visitor_comes_while_one_runs() -> None:
    entries, _ = outbox()

    def visitor() -> bool:
        entries.visit(lambda: True)
        return True

    entries.visit(visitor)
    appended(entries, 0)
    assert not entries.visited
    appended(entries, 1)
    assert entries.visited


def standing(
    condition: threading.Condition | None = None,
) -> tuple[EntryOutbox, threading.Thread, threading.Semaphore]:
    """A guest that makes two entries, and is to stay where it is visited before the first one; the
    semaphore is released whenever there is something to see."""
    woken = threading.Semaphore(0)
    entries = EntryOutbox(woken.release, woken.release, condition or threading.Condition())
    guest = threading.Thread(target=appended, args=(entries, 0, 1), daemon=True)
    entries.visit(lambda: True, stay=True)
    guest.start()
    return entries, guest, woken


def test_a_guest_that_is_to_stay_stands_where_it_was_visited_until_it_is_let_go() -> None:
    entries, guest, woken = standing()
    while not entries.waiting:
        woken.acquire()
    assert entries.visited and entries.next == 0 and entries.take() == []
    entries.unseal()
    entries.visit(None)
    assert entries.waiting
    entries.hold(False)
    guest.join()
    assert len(entries.take()) == 2


class Waits(threading.Condition):
    """Who waits is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.count = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self.count.release()
        return super().wait(timeout)


def test_nobody_lets_it_go_before_it_is_seen_that_it_stands() -> None:
    waits = Waits()
    entries, guest, _ = standing(waits)
    waits.count.acquire()
    entries.hold(False)
    assert waits.count.acquire(timeout=10), "it waits again"
    assert entries.visited and entries.next == 0
    entries.unseal()
    entries.hold(False)
    guest.join()


def test_nor_does_it_stand_if_that_is_called_off_before_it_is_seen() -> None:
    entries, guest, woken = standing()
    while not entries.visited:
        woken.acquire()
    entries.visit(None)
    guest.join()
    assert len(entries.take()) == 2


def test_who_holds_a_guest_that_stands_already_is_told_so() -> None:
    entries, guest, woken = standing()
    for _ in ("it was visited", "it stands"):
        woken.acquire()
    assert entries.visited and entries.waiting and not woken.acquire(blocking=False)
    entries.unseal()
    entries.hold(True)
    assert woken.acquire(blocking=False)
    entries.hold(False)
    guest.join()


class Thread:
    """A guest's, which makes entries until it is told to leave."""

    def __init__(self, entries: EntryOutbox, woken: threading.Semaphore) -> None:
        self.entries = entries
        self.woken = woken
        self.taken: list[Entry] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        with suppress(WorldChanged):
            for value in itertools.count():
                appended(self.entries, value)
                self.entries.pause()

    def take(self) -> None:
        self.taken += self.entries.take()

    def wait(self, until: Callable[[], bool]) -> None:
        while not until():
            assert self.woken.acquire(timeout=10)
            self.take()

    def leave(self) -> None:
        self.entries.leave()
        self.thread.join(10)
        assert not self.thread.is_alive()


def thread() -> Thread:
    woken = threading.Semaphore(0)
    entries = EntryOutbox(woken.release, woken.release, threading.Condition())
    return Thread(entries, woken)


def test_a_guest_that_is_held_or_slowed_can_be_visited() -> None:
    guest = thread()
    entries = guest.entries
    for held in (True, False):
        if held:
            entries.hold(True)
            guest.wait(lambda: entries.waiting)
        else:
            entries.slow(True)
        next: list[int] = []
        entries.visit(lambda next=next: not next.append(entries.next))  # type: ignore[misc]
        guest.wait(lambda: entries.visited)
        guest.take()
        assert next == [len(guest.taken)]
        entries.unseal()
        entries.hold(False)
        entries.slow(False)
    guest.leave()


def test_visits_of_a_guest_that_runs_are_between_two_entries() -> None:
    """Some are called off at whatever time that is."""
    guest = thread()
    entries = guest.entries
    for visit in range(300):
        seen: list[int] = []
        entries.visit(lambda seen=seen: not seen.append(entries.next))  # type: ignore[misc]
        if visit % 3:
            guest.wait(lambda: entries.visited)
            guest.take()
            assert seen == [len(guest.taken)]
            entries.unseal()
        else:
            entries.visit(None)
            assert not entries.visited
            guest.take()
    guest.leave()
    guest.take()
    guest.take()
    assert [entry[1] for entry in guest.taken] == list(range(entries.next))


def test_a_guest_that_waits_for_entries_lets_in_who_wakes_it() -> None:
    """Who is in its way then keeps nobody from handing it more."""
    dry, let_in, go = threading.Event(), threading.Event(), threading.Event()

    def come() -> None:
        assert received.dry
        let_in.set()
        assert go.wait(timeout=10)

    received = Received(dry.set, come, threading.Condition())
    taken: list[Entry] = []
    guest = threading.Thread(target=lambda: taken.append(received.take()))
    guest.start()
    assert dry.wait(timeout=10)
    received.wake()
    assert let_in.wait(timeout=10)
    received.put([CLOCK])
    assert taken == []
    go.set()
    guest.join(timeout=10)
    assert taken == [CLOCK] and not received.dry


def test_who_wakes_it_before_it_waits_is_let_in_then() -> None:
    let_in = threading.Event()
    received = Received(lambda: None, let_in.set, threading.Condition())
    received.wake()
    received.put([CLOCK])
    assert received.take() == CLOCK and not let_in.is_set()
    guest = threading.Thread(target=received.take)
    guest.start()
    assert let_in.wait(timeout=10)
    received.put([CLOCK])
    guest.join(timeout=10)
    assert not guest.is_alive()

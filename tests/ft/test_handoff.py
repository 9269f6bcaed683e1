"""Entries and outputs on their way between the guest's thread and the host's."""

from __future__ import annotations

import functools
import threading

from vlockstep.ft.handoff import Appended
from vlockstep.ft.outputs import OutputQueue
from vlockstep.replay.entry import Entry, Kind

CLOCK: Entry = (Kind.CYCLES, 0, 0, 1, b"")
FRAME: Entry = (Kind.NET_WRITE, 1, 0, b"digest", b"")


class Console:
    text = b""

    def write(self, offset: int, data: bytes) -> None:
        assert offset == len(self.text)
        self.text += data


def appended() -> tuple[Appended, list[None]]:
    wakes: list[None] = []
    wake = functools.partial(wakes.append, None)
    return Appended(wake, wake, threading.Condition()), wakes


def test_an_output_that_is_not_queued_yet_cannot_be_acknowledged() -> None:
    entries, wakes = appended()
    entries.append(CLOCK)
    entries.append(FRAME)
    assert entries.take() == [CLOCK]
    entries.made()
    entries.pause()
    assert entries.urgent
    assert len(wakes) == 2
    assert entries.take() == [FRAME]


def test_outputs_leave_when_the_guest_pauses_or_has_made_many() -> None:
    entries, wakes = appended()
    for count in range(1, 17):
        assert not entries.urgent, count
        entries.append(FRAME)
        entries.made()
    assert entries.urgent
    assert len(wakes) == 2
    assert len(entries.take()) == 16
    entries.pause()
    assert not entries.urgent
    entries.append(FRAME)
    entries.made()
    entries.pause()
    assert entries.urgent


def test_an_output_that_was_not_taken_wakes_whoever_found_nothing() -> None:
    entries, wakes = appended()
    entries.append(FRAME)
    assert entries.take() == []
    entries.made()
    assert len(wakes) == 2
    assert entries.take() == [FRAME]


def test_after_a_take_that_found_something_only_outputs_wake() -> None:
    entries, wakes = appended()
    entries.append(CLOCK)
    assert entries.take() == [CLOCK]
    entries.append(CLOCK)
    assert len(wakes) == 1
    assert entries.take() == [CLOCK]
    assert entries.take() == []
    entries.append(CLOCK)
    assert len(wakes) == 2


def test_an_output_that_was_made_elsewhere_before_it_is_known_here_is_not_repeated() -> None:
    console = Console()
    queue = OutputQueue(console, {})
    queue.add(0, Kind.CONSOLE, 0, 0, b"made elsewhere, ")
    queue.forget(2)
    queue.add(1, Kind.CONSOLE, 0, 0, b"this, too, ")
    queue.add(2, Kind.CONSOLE, 0, 0, b"here")
    assert queue.bytes == 4
    console.text = b"made elsewhere, this, too, "
    assert queue.release(3, lambda: True) == 3
    assert console.text == b"made elsewhere, this, too, here"

"""Events and last words where nobody reads them, or not in time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from backgrounds import Later

from vlockstep.host.background import BackgroundThread
from vlockstep.host.eventwriter import LIMIT, EventWriter
from vlockstep.testing.process import environment

Event = dict[str, Any]


class Told:
    """What a writer has written of what it was given."""

    def __init__(self) -> None:
        self.background = Later()
        self.events: list[Event] = []
        self._clock = iter(range(10**9))
        self._writer = EventWriter(self.background, self.events.append, lambda: next(self._clock))
        self.settle = self._writer.settle

    def observe(self, event: str, *numbers: int) -> None:
        for number in numbers or (0,):
            self._writer.observe({"event": event, "number": number})

    def all(self) -> list[tuple[str, int]]:
        self.background.drain(0)
        return [(e["event"], e.get("number", e.get("count", 0))) for e in self.events]


def test_order() -> None:
    told = Told()
    told.observe("notice", 1, 2)
    told.observe("status", 3)
    told.observe("notice", 4)
    assert told.all() == [("notice", 1), ("notice", 2), ("status", 3), ("notice", 4)]
    assert [event["time"] for event in told.events] == [0, 1, 2, 3]


def test_only_the_newest_status_waits() -> None:
    told = Told()
    told.observe("status", *range(100_000))
    told.observe("notice", 1)
    told.observe("status", 7)
    assert len(told.background.jobs) == 2
    assert told.all() == [("notice", 1), ("status", 7)]
    told.observe("status", 8)
    assert told.all()[2:] == [("status", 8)]


def test_what_is_dropped_is_counted_in_its_place() -> None:
    told = Told()
    told.observe("notice", *range(LIMIT + 5))
    told.observe("status", 1)
    told.observe("notice", 5, 6)
    for _ in range(3):
        told.background.jobs.popleft()()
    told.observe("notice", *range(-3, 3))
    kept = [*range(LIMIT), 7, 1, -3]
    assert [number for _, number in told.all()] == [*kept, 5]
    names = [event["event"] for event in told.events]
    assert names == ["notice"] * LIMIT + ["dropped", "status", "notice", "dropped"]


def test_nothing_grows_while_nobody_reads() -> None:
    told = Told()
    for number in range(5 * LIMIT):
        told.observe("notice", number)
        told.observe("status", number)
    assert len(told.background.jobs) == LIMIT + 1
    assert sum(n for name, n in told.all() if name == "dropped") == 5 * LIMIT - (LIMIT - 1)


def test_only_a_status_is_not_waited_for() -> None:
    told = Told()
    told.observe("status", 1)
    told.settle(0)
    assert not told.events
    told.observe("notice", 2)
    told.settle(0)
    assert [event["event"] for event in told.events] == ["status", "notice"]
    told.observe("status", 3)
    told.settle(0)
    assert len(told.events) == 2


def test_events_of_many_threads() -> None:
    """Slower than they are made: nothing is lost but what was counted, each thread's in order."""
    events: list[Event] = []
    background = BackgroundThread("events")
    writer = EventWriter(background, events.append)

    def speak(who: int) -> None:
        for number in range(LIMIT):
            writer.observe({"event": "notice", "who": who, "number": number})

    threads = [threading.Thread(target=speak, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert background.drain(60)
    dropped = sum(event.get("count", 0) for event in events)
    assert sum(event["event"] == "notice" for event in events) + dropped == 4 * LIMIT
    for who in range(4):
        numbers = [event["number"] for event in events if event.get("who") == who]
        assert numbers == sorted(set(numbers))


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that takes nothing more."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(write, bytes(4096))
    os.set_blocking(write, True)
    yield read, write
    os.close(read)
    os.close(write)


SPEAKER = """
import sys
from vlockstep import program
from vlockstep.cli.output import note, observer
from vlockstep.errors import HostError

def speak():
    observe = observer({"notice": "{text}"}, as_json=False).observe
    for number in range(3000):
        observe({"event": "notice", "text": f"event {number}"})
    note("last words")
    raise HostError("the end")

sys.exit(program.run(speak))
"""


def speaker(stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SPEAKER], stderr=stderr, env=environment())


def test_a_program_that_nobody_reads_ends(full_pipe: tuple[int, int]) -> None:
    with speaker(full_pipe[1]) as process:
        try:
            assert process.wait(30) == 1
        finally:
            process.kill()


def test_a_program_that_is_read() -> None:
    with speaker(subprocess.PIPE) as process:
        assert process.stderr is not None
        lines = process.stderr.read().decode().splitlines()
    assert process.returncode == 1
    assert lines[-2:] == ["vlockstep: last words", "vlockstep: the end"]
    told = [re.fullmatch(r"vlockstep: [0-9:]{8} event (\d+)", line) for line in lines[: LIMIT // 2]]
    assert [match and int(match[1]) for match in told] == [*range(LIMIT // 2)]

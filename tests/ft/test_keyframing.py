"""Keyframes that are made beside a guest that follows. The test is its thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support import MIB, config_for, sample

from vlockstep.ft import keyframing
from vlockstep.ft.keptlog import KeptLog
from vlockstep.ft.keyframing import Keyframing
from vlockstep.host.background import BackgroundThread
from vlockstep.machine.machine import Machine
from vlockstep.machine.memory import Memory
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.journal import Batch
from vlockstep.protocol.timing import SECOND
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.keyframes import apply
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.recorder import Cadence

PLACE = 4 * MIB


class Following:
    """A guest whose entries come one by one, and are kept in a log with keyframes."""

    def __init__(self, path: Path) -> None:
        image = sample("hello")
        config = config_for(image, memory=64 * MIB)
        self.machine = Machine(image, config)
        self.path = path
        self.told: list[str] = []
        self.look: Callable[[], None] = lambda: None
        """What happens where the guest is looked at."""
        self.digests: dict[int, bytes] = {}
        """Of its RAM there."""
        self._writing, self._background = BackgroundThread("log"), BackgroundThread("keyframes")
        self.log = KeptLog(path, config, self._writing, self.told.append)
        self.made = Keyframing(self, self.log, self._background, SECOND, self.told.append)
        self._now = self._next = 0

    def keyframe_before(self, entry: Entry, sequence: int, cadence: Cadence) -> Keyframe | None:
        self.look()
        if sequence % 2:
            return None  # not everywhere is a place for one
        self.digests[sequence] = self.machine.memory.digest()
        machine = self.machine
        state, position = machine.save(), machine.position
        return Keyframe(sequence, position, state, (0, 0), 0, cadence, machine.registers().digest())

    def keyframe_here(self) -> Keyframe | None:
        return None

    def wake(self) -> None:
        pass

    def go_on(self) -> None:
        """Take an entry, a second later: the file has all that came before."""
        entry: Entry = (Kind.CYCLES, self._next, 0, 1, b"")
        content = codec.encode(self._next, [entry])
        self._now += SECOND
        self.log.keep(self._now, [Batch(self._next, self._next + 1, 1, content)])
        self.made.turn(self._now)
        self.made.taken(entry, self._next)
        self._next += 1
        assert self._writing.drain(10)

    def until(self, what: Callable[[], bool]) -> None:
        while not what():
            self.go_on()

    def keyframes(self) -> list[Keyframe]:
        with closing(LogReader(self.path)) as log:
            return [keyframe for _, keyframe in log.keyframes()]

    def entries(self) -> int:
        with closing(LogReader(self.path)) as log:
            return sum(1 for _ in log.entries())

    def stop(self) -> None:
        """It follows no more, and what was begun is over."""
        self.made.stop()
        assert self._background.drain(10)

    def end(self) -> None:
        """All that was taken is in the log."""
        self.stop()
        self.log.close()
        assert self.entries() == self._next


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Following]:
    made = Following(tmp_path / "a.vlog")
    made.until(lambda: made.log.written > 0)
    made.made.follow(0)
    yield made
    made.end()
    made.machine.close()


def test_each_has_what_was_written_since_the_one_before(guest: Following) -> None:
    for count, content in enumerate((b"one", b"two", b"three"), 1):
        guest.machine.memory.write(PLACE, content)
        guest.until(lambda count=count: len(guest.keyframes()) > 2 * count)  # type: ignore[misc]
    with closing(Memory(guest.machine.memory.size)) as memory:
        found = guest.keyframes()
        for keyframe in found:
            apply(keyframe, memory)
            assert memory.digest() == guest.digests[keyframe.sequence]
    sizes = [sum(map(len, keyframe.memory)) for keyframe in found]
    assert sizes[0] > 1000 > sizes[-1] and 0 in sizes, "what was not written is not kept again"
    assert guest.told == []


def test_a_guest_that_writes_too_fast_has_none(
    guest: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is told once, and they come when it does so no more."""
    monkeypatch.setattr(keyframing, "_LITTLE", MIB)
    looks = 0

    def write() -> None:
        nonlocal looks
        looks += 1
        guest.machine.memory.write(PLACE, bytes([looks % 256]) * 2 * MIB)

    guest.look = write
    guest.until(lambda: looks > 6)
    assert guest.keyframes() == []
    assert len(guest.told) == 1 and "the guest writes too fast" in guest.told[0]
    guest.look = lambda: None
    guest.until(lambda: len(guest.keyframes()) > 1)
    with closing(Memory(guest.machine.memory.size)) as memory:
        for keyframe in guest.keyframes():
            apply(keyframe, memory)
            assert memory.digest() == guest.digests[keyframe.sequence]


def test_what_goes_wrong_is_no_matter_of_the_guest(guest: Following) -> None:
    """There are no more, and all entries are in the log; its blocks are not counted for them."""
    guest.until(lambda: bool(guest.keyframes()))
    counted = list[bool]()
    guest.machine.count = counted.append  # type: ignore[method-assign]
    guest.look = lambda: 1 // 0  # type: ignore[assignment,return-value]
    guest.until(lambda: bool(guest.told))
    assert guest.told == [
        "the log gets no keyframes any more: ZeroDivisionError: integer division or modulo by zero"
    ]
    count = len(guest.keyframes())
    assert guest.made.deadline() == NEVER
    assert counted[-1:] == [False]
    for _ in range(10):
        guest.go_on()
    assert len(guest.keyframes()) == count


def test_who_follows_no_more_makes_none(guest: Following) -> None:
    """Though one was to be made; and who follows again makes whole ones, from then on."""
    guest.until(lambda: bool(guest.keyframes()))
    guest.stop()
    assert guest.made.deadline() == NEVER
    count = len(guest.keyframes())
    for _ in range(10):
        guest.go_on()
    assert len(guest.keyframes()) == count
    guest.machine.memory.write(PLACE, b"meanwhile")
    guest.made.follow(0)
    guest.until(lambda: len(guest.keyframes()) > count)
    with closing(Memory(guest.machine.memory.size)) as memory:
        for keyframe in guest.keyframes():
            apply(keyframe, memory)
            assert memory.digest() == guest.digests[keyframe.sequence]

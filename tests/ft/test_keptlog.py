"""What waits for a replica's log file, and is bounded; and where keyframes get to in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from support import config_for, sample

from vlockstep.ft import keptlog
from vlockstep.ft.keptlog import KeptLog
from vlockstep.host.background import BackgroundThread, Job
from vlockstep.machine.position import Position
from vlockstep.protocol.journal import Batch
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, Kind, Value
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.recorder import Cadence


class StandingStill:
    """A `Background` that does nothing."""

    def submit(self, job: Job) -> None:
        pass

    def drain(self, seconds: float) -> bool:
        return False


@pytest.mark.parametrize(
    ("kind", "value"), [(Kind.NET_READ, (1, bytes(1000))), (Kind.BLOCK_READ, bytes(1000))]
)
def test_the_data_of_entries_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, value: Value
) -> None:
    monkeypatch.setattr(keptlog, "LIMIT", 3000)
    path, lost = tmp_path / "a.vlog", list[str]()
    log = KeptLog(path, config_for(sample("hello")), StandingStill(), lost.append)
    for number in range(3):
        assert lost == []
        content = codec.encode(number, [(kind, number, 0, value, b"")])
        log.keep(0, [Batch(number, number + 1, 1, content)])
    assert lost == [f"{path} takes less than the guest gives; the log file ends here"]


# Keyframes


ENTRIES: list[Entry] = [(Kind.CYCLES, number, 0, 1000 * number, b"") for number in range(100)]
FLUSHED = 10**12
"""Nanoseconds from one call of `keep` to the next, so that what was kept gets to the file."""


def keyframe(sequence: int) -> Keyframe:
    return Keyframe(sequence, Position(sequence), b"a machine", (1, 2), 3, Cadence(), b"registers")


class Kept:
    """A log of which all that was handed over has got to the file, or is held back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost: list[str] = []
        self.held: list[int | None] = []
        self.placed: list[bool] = []
        self._background = BackgroundThread("log")
        self.log = KeptLog(path, config_for(sample("hello")), self._background, self.lost.append)
        self._now = 0
        self._next = 0

    def keep(self, *ends: int) -> None:
        """Batches that end there."""
        batches = []
        for end in ends:
            content = codec.encode(self._next, ENTRIES[self._next : end])
            batches.append(Batch(self._next, end, 1, content))
            self._next = end
        self._now += FLUSHED
        self.log.keep(self._now, batches)
        assert self._background.drain(10)

    def hold(self) -> None:
        self.log.hold(self.held.append)
        assert self._background.drain(10)

    def place(self, sequence: int) -> None:
        self.log.place(keyframe(sequence), self.placed.append)
        assert self._background.drain(10)

    def release(self) -> None:
        self.log.release()
        assert self._background.drain(10)

    def read(self) -> tuple[int, list[int]]:
        """How many entries are in the file, and before which there are keyframes."""
        assert self.lost == []
        found: list[Entry] = []
        keyframes: list[int] = []
        with closing(LogReader(self.path)) as log:
            for each in log.frames():
                if isinstance(each, Keyframe):
                    assert each == keyframe(each.sequence)
                    keyframes.append(each.sequence)
                else:
                    found += each[1]
            assert log.truncated is None
        assert found == ENTRIES[: len(found)]
        return len(found), keyframes


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "a.vlog")
    yield made
    made.log.close()


@pytest.mark.parametrize("before", [[], [20], [20, 30, 40], [20, 40, 60]])
@pytest.mark.parametrize("behind", [[80], [81, 99]])
@pytest.mark.parametrize("sequence", [10, 15, 20, 30, 40, 55])
def test_a_keyframe_gets_to_its_place(
    kept: Kept, before: Sequence[int], sequence: int, behind: Sequence[int]
) -> None:
    """Whichever entries are there before it is, and also in the midst of a batch."""
    kept.keep(5, 10)
    kept.hold()
    kept.keep(*before)
    assert kept.held == [10] and kept.read() == (10, [])
    kept.place(sequence)
    there = sequence <= max(before, default=10)
    assert kept.placed == [True] * there
    kept.keep(*behind)
    assert kept.placed == [True] and kept.read() == (behind[-1], [sequence])
    kept.hold()
    assert kept.held == [10, behind[-1]]
    kept.keep(100)
    kept.place(behind[-1])
    assert kept.read() == (100, [sequence, behind[-1]])


def test_what_is_released_has_no_keyframe(kept: Kept) -> None:
    kept.keep(10)
    kept.hold()
    kept.keep(20)
    kept.release()
    assert kept.read() == (20, [])
    kept.place(15)
    assert kept.placed == [False]
    kept.hold()
    kept.place(50)
    kept.keep(40)
    assert kept.placed == [False] and kept.read() == (40, []), "as far as it was before it"
    kept.release()
    assert kept.placed == [False, False]
    kept.keep(60)
    assert kept.read() == (60, [])


def test_the_rest_is_written_in_the_end(kept: Kept) -> None:
    kept.hold()
    kept.keep(20)
    kept.log.close()
    assert kept.read() == (20, [])


def test_nothing_is_lost_for_a_keyframe(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """When much is held back it is released, and the log goes on."""
    monkeypatch.setattr(keptlog, "_HELD", 1000)
    kept.hold()
    kept.keep(20)
    assert kept.read() == (0, [])
    kept.keep(40, 41, 42)
    kept.keep(60)
    kept.place(50)
    assert kept.placed == [False] and kept.read() == (60, [])
    kept.hold()
    kept.place(60)
    assert kept.placed == [False, True] and kept.read() == (60, [60])

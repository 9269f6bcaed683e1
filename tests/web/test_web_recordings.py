"""Recordings in the page: counted, told, and looked into at a position."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import BoundedSemaphore, Event

import pytest
from commands import run_command, wait_until

from vlockstep.errors import HostError, UsageError
from vlockstep.replay.entry import Kind
from vlockstep.replay.logfile import LogReader
from vlockstep.web import narrated
from vlockstep.web.logindex import LogIndex, read_index
from vlockstep.web.recordings import Recordings

LINES = 40


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guest that writes lines to its console, and to a disk."""
    directory = tmp_path_factory.mktemp("recorded")
    (directory / "disk.img").touch()
    os.truncate(directory / "disk.img", 1 << 20)
    made = directory / "ledger.vlog"
    done = run_command(
        *("record", "ledger", "-o", made, "--mem", 16, "--block", f"disk={directory}/disk.img"),
        *("--", f"--lines={LINES}", "--pause=0"),
    )
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def recordings(log: Path) -> Iterator[Recordings]:
    cut = log.with_name("cut.vlog")
    cut.write_bytes(log.read_bytes()[:-9])
    damaged = log.with_name("damaged.vlog")
    damaged.write_bytes(log.read_bytes().replace(b"VLOCKLOG", b"VLOCKLOX"))
    with closing(Recordings([log, cut, damaged])) as made:
        yield made


def test_what_a_log_is(recordings: Recordings, log: Path) -> None:
    recordings.all()
    wait_until(lambda: not any(each["reading"] for each in recordings.all()))
    whole, cut, damaged = recordings.all()
    assert (whole["name"], whole["complete"], whole["problem"]) == ("ledger.vlog", True, "")
    entries = list(LogReader(log).entries())
    assert (whole["entries"], whole["exits"]) == (len(entries), entries[-1][1])
    assert not cut["complete"] and "is incomplete" in cut["problem"]
    assert damaged["entries"] == 0 and damaged["problem"]


@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_bins_count_each_entry_once(recordings: Recordings, log: Path, count: int) -> None:
    entries = list(LogReader(log).entries())
    told = recordings.bins(0, 0, None, count)
    assert len(told["bins"]) == min(count, len(entries))
    kinds: Counter[str] = Counter()
    at = 0
    for each in told["bins"]:
        assert (each["first"], each["exits"]) == (at, entries[at][1])
        at += each["count"]
        kinds.update(each["kinds"])
    assert at == told["last"] == len(entries)
    assert kinds == Counter(Kind(entry[0]).name.lower() for entry in entries)


def test_a_range(recordings: Recordings) -> None:
    (each,) = recordings.bins(0, 5, 9, 1)["bins"]
    assert (each["first"], each["count"]) == (5, 4)
    assert recordings.bins(0, 5, 5, 10)["bins"] == []
    for first, last, bins in ((1 << 40, None, 1), (0, None, 0), (0, None, 501)):
        with pytest.raises(UsageError):
            recordings.bins(0, first, last, bins)


def test_console_text_with_its_positions(recordings: Recordings) -> None:
    told = recordings.marks(0, "console", 0, None)
    lines = [mark for mark in told["marks"] if mark["text"].startswith("ledger 0")]
    assert len(lines) == LINES and not told["more"]
    assert lines[0]["position"].startswith("exits:")
    assert lines[0]["bytes"] == len(lines[0]["text"])


def test_what_happened_on_a_disk(recordings: Recordings) -> None:
    told = recordings.marks(0, "disk", 0, None)["marks"]
    assert told and all(mark["text"].startswith("block ") for mark in told)
    assert "device disk, offset " in told[0]["text"]


def test_marks_are_told_piece_by_piece(
    recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlockstep.web.recordings.MAX_MARKS", 15)
    whole, first = [], 0
    while True:
        piece = recordings.marks(0, "console", first, None)
        whole += piece["marks"]
        if not piece["more"]:
            break
        first = piece["next"]
    assert len(whole) >= LINES
    assert len({mark["entry"] for mark in whole}) == len(whole)


def test_a_look(recordings: Recordings, log: Path) -> None:
    mark = recordings.marks(0, "console", 0, None)["marks"][3]
    found = recordings.look(0, mark["position"])
    assert found["position"] == mark["position"]
    assert int(found["registers"]["rip"], 16) > 0
    assert found["commands"] == [
        f"vlockstep debug {log}",
        f"seek {mark['position']}",
        f"vlockstep replay {log} --until {mark['position']}",
    ]
    with pytest.raises(HostError, match="is not in"):
        recordings.look(0, "exits:99999999")


@pytest.mark.parametrize(
    "position", ["", "x", "--help", "exits:1;ls", "entry:-1", "exits:" + "9" * 30]
)
def test_what_is_no_position(recordings: Recordings, position: str) -> None:
    with pytest.raises(UsageError):
        recordings.look(0, position)


def test_what_is_not_there(recordings: Recordings) -> None:
    with pytest.raises(UsageError, match="there is no recording 3"):
        recordings.facts(3)
    with pytest.raises(UsageError, match="is none of console"):
        recordings.marks(0, "secrets", 0, None)


def test_a_log_that_cannot_be_replayed_is_told_without_text(recordings: Recordings) -> None:
    assert recordings.marks(2, "console", 0, None)["marks"] == []
    made = narrated.Narrated(Path("nosuch.vlog"), BoundedSemaphore())
    made.wait(1, 60)
    assert "nosuch.vlog" in made.problem


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo nonsense; exec sleep 1000", "its replay cannot be read: JSONDecodeError"),
        ("exec sleep 1000", "texts after entry 0 are not told: 0.2 s have passed"),
    ],
)
def test_a_replay_that_tells_nothing_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    monkeypatch.setattr(narrated, "TELL_SECONDS", 0.2 if "0.2" in why else 600)
    monkeypatch.setattr("sys.executable", executable(tmp_path, script))
    places = BoundedSemaphore()
    made = narrated.Narrated(tmp_path, places)
    with pytest.raises(HostError, match="ask again"):
        narrated.Narrated(tmp_path, places)
    made.wait(1, 60)
    assert made.problem.startswith(why)
    assert places.acquire(blocking=False), "for the next one"


def test_why_there_are_no_texts(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = executable(tmp_path, "echo its disk is gone >&2; exit 1")
    monkeypatch.setattr("sys.executable", script)
    with closing(Recordings([log])) as made:
        told = made.marks(0, "console", 0, None)
    assert told["problem"] == "its disk is gone"
    assert {mark["text"] for mark in told["marks"]} == {""}


def executable(folder: Path, script: str) -> str:
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    return str(program)


def test_only_what_a_replay_tells_is_replayed(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlockstep.web.recordings.AT_A_TIME", 0)
    with closing(Recordings([log])) as made:
        assert made.marks(0, "interrupt", 0, None)["problem"] == ""
        assert made.marks(0, "end", 0, None)["marks"]
        with pytest.raises(HostError, match="ask again"):
            made.marks(0, "console", 0, None)


def test_who_asks_while_it_is_read_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlockstep.web.recordings.TURN_SECONDS", 0.05)
    begun, go = Event(), Event()

    def reads(path: Path) -> LogIndex:
        begun.set()
        go.wait(60)
        return LogIndex("clock")

    monkeypatch.setattr("vlockstep.web.recordings.read_index", reads)
    with closing(Recordings([tmp_path / "clock.vlog"])) as made:
        (told,) = made.all()
        assert (told["name"], told["reading"]) == ("clock.vlog", True)
        assert begun.wait(60)
        with pytest.raises(HostError, match="it is being read: ask again"):
            made.facts(0)
        go.set()
        wait_until(lambda: not made.all()[0]["reading"])
        assert made.facts(0)["image"] == "clock"


def test_an_index_without_a_log(tmp_path: Path) -> None:
    assert len(LogIndex()) == 0 and not LogIndex().complete
    assert "cannot read" in read_index(tmp_path / "gone.vlog").problem

"""The log of the last minutes: two files, of which the older one is a recording."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from support import config_for, sample

from vlockstep.errors import HostError
from vlockstep.machine.position import Position
from vlockstep.replay import codec
from vlockstep.replay.entry import Kind
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.lastlog import LastLog
from vlockstep.replay.logfile import LogReader, LogWriter
from vlockstep.replay.recorder import Cadence


def opened(path: Path, first: int) -> LogWriter:
    return LogWriter(path, config_for(sample("hello")), first=first)


def write(log: LastLog, count: int) -> None:
    for number in range(log.next, log.next + count):
        content = codec.encode(number, [(Kind.RANDOM, number, 0, number, b"")])
        log.write([(number, number + 1, content)])


def mark(log: LastLog) -> None:
    log.keyframe(Keyframe(log.next, Position(log.next, 0), b"", (0, 0), 0, Cadence()))


def numbers(path: Path) -> list[int]:
    with closing(LogReader(path)) as log:
        found = [entry[1] for entry in log.entries()]
        assert found[:1] in ([], [log.first])
        return found


def test_the_younger_file_takes_the_place_of_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    log = LastLog(path, opened, 0, boot=True)
    write(log, 3)
    assert numbers(path) == [0, 1, 2] and log.extent == path.stat().st_size
    mark(log)
    write(log, 2)
    assert numbers(path) == [0, 1, 2, 3, 4]
    mark(log)
    write(log, 1)
    assert numbers(path) == [3, 4, 5] and log.extent == path.stat().st_size
    log.close()
    assert [each.name for each in tmp_path.iterdir()] == ["a.vlog"]


def test_who_has_not_seen_the_boot_begins_with_a_state(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    log = LastLog(path, opened, 7, boot=False)
    write(log, 2)
    assert not path.exists() and log.extent == 0
    mark(log)
    write(log, 2)
    log.close()
    assert numbers(path) == [9, 10]


def test_it_is_bounded(tmp_path: Path) -> None:
    """By what is behind a state; and a file that cannot be made is an error."""
    log = LastLog(tmp_path / "a.vlog", opened, 0, boot=True, most=2000)
    with pytest.raises(HostError, match="too long"):
        write(log, 1000)
    (tmp_path / "b.vlog.next").mkdir()
    blocked = LastLog(tmp_path / "b.vlog", opened, 0, boot=True)
    write(blocked, 1)
    with pytest.raises(HostError, match="cannot write the log"):
        mark(blocked)

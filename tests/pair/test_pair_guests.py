"""Whatever a guest does, both replicas and every replay of their logs end in the same state."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from pair_checks import KILLED, SHORT, check_equal, check_log, said

from vlockstep.replay.entry import Entry
from vlockstep.replay.logfile import LogReader
from vlockstep.testing import check_ledger, replay
from vlockstep.testing.plugin import MakePair

GUESTS = [
    ("hello", ["one", "two"]),
    ("clock", ["--reads=2000", "--walltime=50", "--puts=20"]),
    ("preempt", ["--tsc=1", "--work=30000", "--period=200000"]),
    ("sort", ["--n=2000", "--rounds=1"]),
]


def entries(log: Path) -> list[Entry]:
    """When they were written is up to each replica."""
    with closing(LogReader(log)) as reader:
        return list(reader.entries())


@pytest.mark.parametrize(("guest", "arguments"), GUESTS, ids=lambda value: str(value))
def test_equal_in_the_end(make_pair: MakePair, guest: str, arguments: list[str]) -> None:
    pair = make_pair(guest, arguments)
    assert pair.wait_finished() == (0, 0)
    check_equal(pair)
    check_log(pair, "primary")
    check_log(pair, "secondary")
    assert entries(pair.log("primary")) == entries(pair.log("secondary"))


@pytest.mark.parametrize(
    ("guest", "arguments", "place"),
    [
        ("hello", [], "release:1"),
        ("clock", ["--reads=3000", "--walltime=50", "--puts=20"], "entry:1500"),
        ("preempt", ["--tsc=1", "--work=100000", "--period=200000"], "entry:300"),
        ("preempt", ["--tsc=1", "--work=100000", "--period=200000"], "sent:40"),
    ],
)
def test_crash(make_pair: MakePair, guest: str, arguments: list[str], place: str) -> None:
    """The new primary goes on from the exact instruction, with clocks and timer."""
    pair = make_pair(guest, arguments, crash_at=place)
    assert pair.wait_live() == 2
    assert pair.wait_finished() == (KILLED, 0)
    check_log(pair, "secondary")


def test_status(make_pair: MakePair) -> None:
    pair = make_pair("hello", ["--status=7"])
    assert pair.wait_finished() == (7, 7)
    assert pair.transcript == b"Hello from vlockstep\n--status=7\n"
    check_equal(pair)


def test_status_after_a_crash(make_pair: MakePair) -> None:
    pair = make_pair("hello", ["--status=7"], crash_at="release:1")
    assert pair.wait_finished() == (KILLED, 7)
    assert pair.transcript == b"Hello from vlockstep\n--status=7\n"


def test_guest_error(make_pair: MakePair) -> None:
    """It is the guest's end as any other: on both, and no reason to go live."""
    pair = make_pair("fault", ["--kind=noidt"])
    assert pair.wait_finished() == (1, 1)
    for which in ("primary", "secondary"):
        assert said(pair, which, "guest error: .* has no handler")
        assert not said(pair, which, "Traceback")
        assert all(event["event"] != "live" for event in pair.events(which))
    ends = [replay(pair.log(which)) for which in ("primary", "secondary")]
    assert ends[0] == ends[1]
    assert ends[0].status == 1


def test_guest_error_after_a_crash(make_pair: MakePair) -> None:
    pair = make_pair("fault", ["--kind=noidt"], stop_at=["exits:0"])
    assert pair.wait_reached("primary") == pair.wait_reached("secondary")
    pair.crash("primary")
    pair.go("secondary")
    assert pair.wait_finished() == (KILLED, 1)
    assert said(pair, "secondary", "guest error: .* has no handler")


@pytest.mark.parametrize("place", [None, "entry:50"])
def test_local_disks(make_pair: MakePair, tmp_path: Path, place: str | None) -> None:
    """Each replica writes its own copy; a survivor's is whole, and equal if both survive."""
    before = tmp_path / "before.img"
    before.write_bytes(bytes(20 << 10))
    pair = make_pair("ledger", SHORT, disks={"disk": before}, local=True, crash_at=place)
    assert pair.wait_finished() == (KILLED if place else 0, 0)
    check_ledger(pair.transcript, pair.disk(side="secondary"), 20)
    if place is None:
        assert pair.disk(side="primary") == pair.disk(side="secondary")
    copy = shutil.copy(before, tmp_path / "copy.img")
    replayed = replay(pair.log("secondary"), {"disk": Path(copy)})
    assert replayed.registers == pair.registers("secondary")
    assert Path(copy).read_bytes() == pair.disk(side="secondary")


def test_local_disks_that_differ(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, local=True, start=False)
    disk = pair.directory / "secondary-disk.img"
    right = disk.read_bytes()
    disk.write_bytes(bytes(512) + b"x" * 512)
    pair.start_primary()
    pair.start_secondary()
    assert pair.process("secondary").wait_exit() == 2
    assert said(pair, "secondary", "the disk 'disk' is not the primary's")
    # The primary still waits, for one that can follow.
    disk.write_bytes(right)
    pair.start_secondary()
    assert pair.wait_finished() == (0, 0)

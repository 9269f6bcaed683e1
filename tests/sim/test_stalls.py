"""What a replica writes in the background stands still: nobody else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlockstep.ft import keptlog
from vlockstep.ft.events import Notice
from vlockstep.protocol.timing import SECOND
from vlockstep.sim.host import SimulatedHost
from vlockstep.testing import LocalPair, check_ledger, replay

LINES = 5


def check(pair: LocalPair, lines: int = LINES) -> None:
    """It went on as if nothing were the matter."""
    assert [host.state for host in pair.hosts] == ["FINISHED"] * 2
    assert all(host.generation == 1 for host in pair.hosts)
    check_ledger(pair.transcript, pair.disk(), lines)


@pytest.mark.parametrize("for_ever", [True, False])
def test_nobody_reads_the_events(for_ever: bool) -> None:
    with LocalPair() as pair:
        pair.run_to_entry(10)
        for host in pair.hosts:
            host.stall("events", True)
            host.observe(Notice("one"))
        pair.run_to_entry(20)
        for host in pair.hosts:
            assert [event["event"] for event in host.told] == ["started"]
            host.stall("events", for_ever)
        pair.run()
        check(pair)
        for host in pair.hosts:
            assert [event["event"] for event in host.events] == ["started", "notice", "finished"]
            assert [event["event"] for event in host.told[1:]] == ["notice"] * (not for_ever)


def waits(host: SimulatedHost) -> list[str]:
    """What it said of room for outputs."""
    notices = [event["text"] for event in host.events if event["event"] == "notice"]
    return [text for text in notices if "outputs" in text]


@pytest.mark.parametrize("dies", [False, True])
def test_storage_that_is_full_for_a_while(dies: bool) -> None:
    """Outputs wait for room, also those of who takes over, and the guest fails nowhere."""
    with LocalPair("ledger", ("--lines=9", "--pause=1")) as pair:
        pair.run_to_entry(10)
        began, pair.full = len(pair.transcript), True
        pair.run(lambda: pair.now > 2 * SECOND)
        assert pair.transcript[began:].count(b"\n") == 0
        if dies:
            pair.crash("primary")
            pair.run(lambda: pair.secondary.live)
            pair.run(lambda: bool(waits(pair.secondary)))
        pair.full = False
        pair.run()
        check_ledger(pair.transcript, pair.disk(), 9)
        last = pair.secondary if dies else pair.primary
        assert waits(last) == [
            "the storage is full: outputs wait there; delete something, and they are made",
            "there is room for outputs again",
        ]


def test_log_that_comes_to_a_standstill(tmp_path: Path) -> None:
    with LocalPair(logs=tmp_path) as pair:
        pair.run_to_entry(10)
        pair.secondary.stall("log", True)
        pair.run()
        check(pair)
        (notice,) = [e["text"] for e in pair.secondary.events if e["event"] == "notice"]
        log = tmp_path / "secondary.vlog"
        assert notice == f"{log} does not take what the guest gave; the log file ends here"
        assert replay(tmp_path / "primary.vlog").console == pair.transcript


def test_log_that_takes_less_than_the_guest_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keptlog, "LIMIT", 800)
    monkeypatch.setattr(keptlog, "_MUCH", 300)
    with LocalPair("ledger", ("--lines=12", "--pause=1", "--work=100"), logs=tmp_path) as pair:
        pair.run_to_entry(10)
        pair.primary.stall("log", True)
        pair.run_to_entry(40)
        pair.primary.stall("log", False)
        pair.run()
        check(pair, 12)
        (notice,) = [e["text"] for e in pair.primary.events if e["event"] == "notice"]
        log = tmp_path / "primary.vlog"
        assert notice == f"{log} takes less than the guest gives; the log file ends here"
        assert pair.primary.replica.status().log_bytes == 0
        replayed = replay(log)
        assert pair.transcript.startswith(replayed.console)
        assert replay(tmp_path / "secondary.vlog").console == pair.transcript

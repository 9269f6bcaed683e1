"""Replicas that are alive and do not hear each other: at most one emits."""

from __future__ import annotations

import pytest
from pair_checks import (
    END,
    SHORT,
    check_equal,
    check_log,
    check_output,
    stopped_because,
)

from vlockstep.sim.sides import SIDES
from vlockstep.testing.plugin import MakePair
from vlockstep.testing.process import ReplicaProcess


def next_entries(process: ReplicaProcess) -> int:
    """How many entries there are by its next status."""
    before = process.status["time"]
    entries: int = process.wait_status(lambda status: status["time"] > before)["entries"]
    return entries


@pytest.mark.parametrize("place", ["write:42", "release:43"])
def test_old_primary_wakes_up_after_the_end(make_pair: MakePair, place: str) -> None:
    pair = make_pair("ledger", SHORT, pause_at=place, heartbeat_ms=100, misses=5)
    pair.process("primary").wait_paused()
    assert pair.wait_live() == 2
    assert pair.process("secondary").wait_exit() == 0
    check_output(pair)
    outputs = pair.transcript, pair.disk()
    pair.resume("primary")
    assert pair.wait_finished() == (1, 0)
    assert "generation 2" in stopped_because(pair, "primary")
    assert (pair.transcript, pair.disk()) == outputs
    check_log(pair, "secondary")


def test_secondary_stands_still_for_a_while(make_pair: MakePair) -> None:
    """The same for a secondary that is stopped for a shorter time than counts as death, while the
    primary's guest may get far ahead of it."""
    ahead, last = ["--max-lag", 10_000], f"entry:{END - 1}"
    pair = make_pair("ledger", SHORT, stop_at=[last], primary_options=ahead)
    pair.wait_reached("primary")
    pair.pause("secondary")
    pair.go()
    pair.process("primary").wait_status(lambda status: status["entries"] == END + 1)
    assert b"done" not in pair.transcript
    pair.resume("secondary")
    assert pair.wait_finished() == (0, 0)
    check_output(pair)
    check_equal(pair)


def test_guest_waits_when_the_secondary_lags_too_much(make_pair: MakePair) -> None:
    """Back pressure: the log does not grow without limit, and nothing is lost."""
    reads = 300_000
    arguments = [f"--reads={reads}", "--walltime=10"]
    limit = ["--max-lag", 50]
    pair = make_pair("clock", arguments, stop_at=["exits:1000"], primary_options=limit)
    for side in SIDES:  # so that the secondary lags by nothing yet
        pair.wait_reached(side)
    pair.pause("secondary")
    pair.go()
    primary = pair.process("primary")
    primary.wait_status(lambda status: status["lag_ms"] > 50)
    before, entries = 0, next_entries(primary)
    while entries > before:
        before, entries = entries, next_entries(primary)
    assert 1000 < entries < reads
    pair.resume("secondary")
    assert pair.wait_finished() == (0, 0)
    assert b"clock tsc reads=300000 " in pair.transcript
    check_equal(pair)
    check_log(pair, "secondary")

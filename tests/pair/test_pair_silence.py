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

from vlockstep.testing.plugin import MakePair


@pytest.mark.parametrize("place", ["write:42", "release:43"])
def test_old_primary_wakes_up_after_the_end(make_pair: MakePair, place: str) -> None:
    pair = make_pair("ledger", SHORT, pause_at=place)
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
    ahead = ["--max-lag", 10_000]
    pair = make_pair("ledger", SHORT, heartbeat_ms=400, primary_options=ahead)
    pair.pause("secondary")
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
    pair = make_pair("clock", arguments, heartbeat_ms=400, primary_options=["--max-lag", 50])
    pair.pause("secondary")
    primary = pair.process("primary")
    slowed = primary.wait_status(lambda status: status["lag_ms"] > 200)
    later = primary.wait_status(lambda status: status["time"] > slowed["time"] + 0.15)
    assert 0 < slowed["entries"] == later["entries"] < reads
    pair.resume("secondary")
    assert pair.wait_finished() == (0, 0)
    assert b"clock tsc reads=300000 " in pair.transcript
    check_equal(pair)
    check_log(pair, "secondary")

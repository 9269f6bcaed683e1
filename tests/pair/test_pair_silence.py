"""Replicas that are alive and do not hear each other: at most one emits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest
from pair_checks import (
    END,
    KILLED,
    LONG,
    LONG_LINES,
    SHORT,
    check_equal,
    check_log,
    check_output,
    stopped_because,
)

from vlockstep.testing.pair import ROLES, Direction, Which
from vlockstep.testing.plugin import MakePair


@pytest.mark.parametrize("place", ["sent:42", "write:42", "release:43"])
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


def test_old_primary_wakes_up_beside_the_new_one(make_pair: MakePair) -> None:
    pair = make_pair("ledger", LONG)
    pair.pause("primary")
    assert pair.wait_live() == 2
    pair.resume("primary")
    assert pair.wait_finished() == (1, 0)
    assert "generation 2" in stopped_because(pair, "primary")
    check_output(pair, LONG_LINES)


def test_secondary_wakes_up_beside_a_lone_primary(make_pair: MakePair) -> None:
    pair = make_pair("ledger", LONG)
    pair.pause("secondary")
    assert pair.wait_live("primary") == 2
    pair.resume("secondary")
    assert pair.wait_finished() == (0, 1)
    assert "generation 2" in stopped_because(pair, "secondary")
    check_output(pair, LONG_LINES)


@pytest.mark.parametrize(
    ("direction", "heals"),
    [
        ("both", False),
        ("to_primary", False),
        ("to_secondary", False),
        ("both", True),
        ("to_secondary", True),
    ],
)
def test_partition(make_pair: MakePair, direction: Direction, heals: bool) -> None:
    """Exactly one goes on. The other stops, also if it can hear the winner again."""
    pair = make_pair("ledger", LONG)
    pair.cut(direction)
    with ThreadPoolExecutor(2) as pool:
        lives = {pool.submit(pair.wait_live, which): which for which in ROLES}
        winner = lives[next(as_completed(lives))]
        if heals:
            pair.heal()
    loser: Which = "secondary" if winner == "primary" else "primary"
    assert pair.wait_live(winner) == 2
    assert pair.process(winner).wait_exit() == 0
    assert pair.process(loser).wait_exit() == 1
    assert "generation 2" in stopped_because(pair, loser)
    check_output(pair, LONG_LINES)
    check_log(pair, winner)


def test_partition_shorter_than_death(make_pair: MakePair) -> None:
    """Outputs wait, nobody claims anything, nothing is lost."""
    pair = make_pair("ledger", SHORT, heartbeat_ms=400)
    pair.cut()
    pair.process("primary").wait_status(lambda status: status["entries"] == END + 1)
    assert b"done" not in pair.transcript
    pair.heal()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)
    check_equal(pair)


def test_secondary_stands_still_for_a_while(make_pair: MakePair) -> None:
    """The same for a secondary that is stopped for a shorter time than counts as death."""
    pair = make_pair("ledger", SHORT, heartbeat_ms=400)
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
    pair = make_pair("clock", arguments, heartbeat_ms=400, primary_options=["--max-lag", 400])
    pair.pause("secondary")
    primary = pair.process("primary")
    slowed = primary.wait_status(lambda status: status["lag_ms"] > 500)
    later = primary.wait_status(lambda status: status["time"] > slowed["time"] + 0.15)
    assert 0 < slowed["entries"] == later["entries"] < reads
    pair.resume("secondary")
    assert pair.wait_finished() == (0, 0)
    assert b"clock tsc reads=300000 " in pair.transcript
    check_equal(pair)
    check_log(pair, "secondary")


def test_connection_that_drops_and_comes_back(make_pair: MakePair) -> None:
    """The pair goes on, protected: a crash after it is survived. Half a heartbeat must be longer
    than a new connection takes."""
    pair = make_pair("ledger", LONG, crash_at="entry:250", heartbeat_ms=400)
    pair.drop()
    pair.process("secondary").wait_event("notice", text="the connection to the primary was lost")
    assert pair.wait_live() == 2
    assert pair.wait_finished() == (KILLED, 0)
    check_output(pair, LONG_LINES)

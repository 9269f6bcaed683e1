"""SIGKILL of one replica at exact places: nobody who looks at the outputs notices.

These are samples; the simulator crashes replicas at every point.
"""

from __future__ import annotations

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
)

from vlockstep.testing.plugin import MakePair

PLACES = [
    # 7 is a console text, 8 a disk write, 79 a disk read
    *("entry:79", f"entry:{END}", "sent:8"),
    *("write:7", "write:8", "release:8", f"release:{END}"),
    "exits:42+25",
]


@pytest.mark.parametrize("place", PLACES)
def test_primary_dies(make_pair: MakePair, place: str) -> None:
    pair = make_pair("ledger", SHORT, crash_at=place)
    assert pair.wait_live() == 2
    assert pair.wait_finished() == (KILLED, 0)
    check_output(pair)
    check_log(pair, "secondary")


def test_primary_dies_after_a_time(make_pair: MakePair) -> None:
    pair = make_pair("ledger", LONG, crash_at="time:0.03")
    assert pair.wait_live() == 2
    assert pair.wait_finished() == (KILLED, 0)
    check_output(pair, LONG_LINES)
    check_log(pair, "secondary")


@pytest.mark.parametrize("place", ["exits:8", "exits:22+9"])
def test_secondary_dies_at(make_pair: MakePair, place: str) -> None:
    """Also while it is so late that the primary needs nothing more of it."""
    pair = make_pair("ledger", SHORT, secondary_options=["--crash-at", place])
    assert pair.wait_finished() == (0, KILLED)
    check_output(pair)
    check_log(pair, "primary")


def test_both_guests_are_equal_where_the_primary_dies(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, stop_at=["exits:50"])
    before = pair.wait_reached("primary")
    assert pair.wait_reached("secondary") == before
    pair.crash("primary")
    pair.go("secondary")
    assert pair.wait_finished() == (KILLED, 0)
    check_output(pair)
    check_log(pair, "secondary")


def test_no_crash(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT)
    assert pair.wait_finished() == (0, 0)
    check_output(pair)
    check_equal(pair)
    check_log(pair, "primary")
    check_log(pair, "secondary")

"""Places at which a replica is to crash, to stop or to diverge, and does or never comes to."""

from __future__ import annotations

import pytest
from pair_checks import KILLED, SHORT, check_output

from vlockstep.testing.plugin import MakePair


def test_beyond_the_last_block_of_an_exit_means_the_next_exit(make_pair: MakePair) -> None:
    """Of two such places, too."""
    places = ["exits:40+100000", "exits:40+200000"]
    pair = make_pair("ledger", SHORT, stop_at=places, crash_at="exits:50+100000")
    for place in places:
        for side in ("primary", "secondary"):
            assert pair.wait_reached(side).place == place
        reached = [e["position"] for e in pair.events("primary") if e["event"] == "reached"]
        assert set(reached) == {"exits:41"}
        pair.go()
    assert pair.wait_finished() == (KILLED, 0)
    check_output(pair)


@pytest.mark.parametrize("option", ["--crash-at", "--pause-at", "--stop-at", "--diverge-at"])
def test_a_place_that_is_never_reached_is_told(make_pair: MakePair, option: str) -> None:
    options = [option, "exits:99999"]
    pair = make_pair("hello", primary_options=options, secondary_options=options)
    assert pair.wait_finished() == (0, 0)
    for side in ("primary", "secondary"):
        notice = {"text": "this replica never came to exits:99999"}
        assert pair.process(side).count("notice", **notice) == 1

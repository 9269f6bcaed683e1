"""What a pair does not put up with: other images, a second primary, nobody to talk to."""

from __future__ import annotations

import pytest
from pair_checks import SHORT, check_equal, check_output, said

from vlockstep.testing import PairError
from vlockstep.testing.plugin import MakePair


def test_third_replica(make_pair: MakePair) -> None:
    """The pair has a secondary; another one is sent away and changes nothing."""
    pair = make_pair("ledger", SHORT, stop_at=["exits:50"])
    other = make_pair("ledger", SHORT, start=False)
    other.relay.forward_to(pair.endpoint)
    other.start_secondary()
    assert other.process("secondary").wait_exit() == 1
    assert said(other, "secondary", "another secondary follows this primary")
    pair.go()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)
    check_equal(pair)


def test_second_primary(make_pair: MakePair) -> None:
    """While one runs, another one with its arbiter is refused; after the end it is not."""
    pair = make_pair("ledger", SHORT, stop_at=["exits:50"])
    other = make_pair("hello", start=False)
    with pytest.raises(PairError, match="generation 1 still runs"):
        other.start_primary("--arbiter", pair.arbiter)
    assert other.process("primary").exit_status == 2
    pair.go()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)
    other.start_primary("--arbiter", pair.arbiter)
    other.start_secondary("--arbiter", pair.arbiter)
    assert other.wait_finished() == (0, 0)


def test_primary_without_a_secondary(make_pair: MakePair) -> None:
    """Its guest has never run, so it may be started again."""
    pair = make_pair("hello", start=False, primary_options=["--wait", 1])
    for _ in range(2):
        pair.start_primary()
        assert pair.process("primary").wait_exit() == 1
        assert said(pair, "primary", "no secondary came")
    assert pair.transcript == b""


def test_secondary_without_a_primary(make_pair: MakePair) -> None:
    pair = make_pair("hello", start=False, secondary_options=["--wait", 1])
    pair.start_secondary()
    assert pair.process("secondary").wait_exit() == 1
    assert said(pair, "secondary", "no primary answered")

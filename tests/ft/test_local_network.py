"""Partitions, lost connections, pauses and an arbiter out of reach, at many entries."""

from __future__ import annotations

import pytest

from vlockstep.sim.sides import Direction
from vlockstep.testing import LocalPair, check_ledger

LINES = 5
ARGUMENTS = (f"--lines={LINES}", "--pause=1", "--work=100")
ENTRIES = range(0, 26, 2)


def one_goes_on(pair: LocalPair) -> str:
    """Run to the end; who finished. The other stopped, and wrote nothing after the first write of
    who finished."""
    pair.run()
    assert sorted(r.state for r in pair.hosts) == ["FINISHED", "STOPPED"]
    winner = next(r.name for r in pair.hosts if r.state == "FINISHED")
    if winner in pair.emitters:
        switched = pair.emitters.index(winner) if winner == "secondary" else 0
        assert set(pair.emitters[switched:]) == {winner}
    check_ledger(pair.transcript, pair.disk(), LINES)
    return winner


@pytest.mark.parametrize("direction", ["both", "to_primary", "to_secondary"])
def test_of_two_that_are_cut_off_one_goes_on(direction: Direction) -> None:
    for entry in ENTRIES:
        with LocalPair("ledger", ARGUMENTS) as pair:
            pair.run_to_entry(entry)
            pair.cut(direction)
            one_goes_on(pair)


def test_the_loser_of_a_partition_stays_silent_after_it_heals() -> None:
    for entry in ENTRIES:
        with LocalPair("ledger", ARGUMENTS) as pair:
            pair.run_to_entry(entry)
            pair.cut()
            pair.run(lambda: any(r.generation == 2 for r in pair.hosts))
            pair.heal()
            one_goes_on(pair)


def test_a_short_partition_changes_nothing() -> None:
    for entry in ENTRIES:
        with LocalPair("ledger", ARGUMENTS) as pair:
            pair.run_to_entry(entry)
            pair.cut()
            until = pair.now + 40_000_000
            pair.run_until(until)
            pair.heal()
            both_finish(pair)


def test_a_connection_that_is_made_again_resumes_where_it_was_lost() -> None:
    for entry in ENTRIES:
        with LocalPair("ledger", ARGUMENTS) as pair:
            pair.run_to_entry(entry)
            pair.drop()
            both_finish(pair)


def both_finish(pair: LocalPair) -> None:
    pair.run()
    assert [r.state for r in pair.hosts] == ["FINISHED", "FINISHED"]
    assert pair.arbiter.generation == 1
    assert pair.primary.registers() == pair.secondary.registers()
    assert set(pair.emitters) == {"primary"}
    check_ledger(pair.transcript, pair.disk(), LINES)


def test_a_primary_that_wakes_up_too_late_emits_nothing() -> None:
    for entry in ENTRIES:
        with LocalPair("ledger", ARGUMENTS) as pair:
            pair.run_to_entry(entry)
            pair.pause("primary")
            pair.wait_live()
            written = len(pair.emitters)
            pair.resume("primary")
            assert one_goes_on(pair) == "secondary"
            assert set(pair.emitters[written:]) <= {"secondary"}


def test_a_secondary_that_wakes_up_too_late_stops() -> None:
    with LocalPair("ledger", ARGUMENTS) as pair:
        pair.run_to_entry(9)
        pair.pause("secondary")
        pair.run(lambda: pair.primary.state == "ALONE")
        pair.resume("secondary")
        assert one_goes_on(pair) == "primary"


def test_nobody_goes_on_without_the_arbiter() -> None:
    for entry in ENTRIES:
        with LocalPair("ledger", ARGUMENTS) as pair:
            pair.run_to_entry(entry)
            pair.arbiter.reachable = False
            pair.cut()
            pair.run(lambda: all(r.state == "CLAIMING" for r in pair.hosts))
            written = len(pair.emitters)
            until = pair.now + 2_000_000_000
            pair.run_until(until)
            assert len(pair.emitters) == written
            assert all(r.state == "CLAIMING" for r in pair.hosts)
            pair.arbiter.reachable = True
            one_goes_on(pair)


def test_the_arbiter_is_not_needed_while_both_are_well() -> None:
    with LocalPair("ledger", ARGUMENTS) as pair:
        pair.arbiter.reachable = False
        both_finish(pair)

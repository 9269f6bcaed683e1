"""A crash at every entry of a short run, in every stage an entry goes through."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlockstep.testing import LocalPair, check_ledger, replay

LINES = 5
ARGUMENTS = (f"--lines={LINES}", "--pause=1", "--work=100")
STAGES = ("entry", "sent", "write", "release")
ENTRIES = 26


def test_the_short_run_has_as_many_entries_as_these_tests_crash_at() -> None:
    with LocalPair("ledger", ARGUMENTS) as pair:
        pair.run()
        assert pair.primary.replica.status().entries == ENTRIES
        assert pair.primary.registers() == pair.secondary.registers()
        assert pair.primary.memory_digest() == pair.secondary.memory_digest()
        assert set(pair.emitters) == {"primary"}
        check_ledger(pair.transcript, pair.disk(), LINES)


@pytest.mark.parametrize("stage", STAGES)
def test_nobody_sees_a_crash_of_the_primary(stage: str, tmp_path: Path) -> None:
    crashes = 0
    for entry in range(ENTRIES):
        logs = tmp_path / str(entry)
        logs.mkdir()
        with LocalPair("ledger", ARGUMENTS, crash_at=f"{stage}:{entry}", logs=logs) as pair:
            pair.run()
            crashes += pair.primary.crashed
            check_survivor(pair, logs / "secondary.vlog")
    # The last entry is the guest's end. That has no text of which a part could be written, but
    # all the same there is a moment at which it is released.
    assert crashes == ENTRIES


def check_survivor(pair: LocalPair, log: Path) -> None:
    """The secondary finished the guest's work, and only it wrote once it was live."""
    assert pair.primary.crashed
    assert pair.secondary.state == "FINISHED", pair.secondary.events
    check_ledger(pair.transcript, pair.disk(), LINES)
    if pair.secondary.happened("live"):
        first = pair.emitters.index("secondary") if "secondary" in pair.emitters else 0
        assert set(pair.emitters[first:]) <= {"secondary"}
    replayed = replay(log)
    assert replayed.registers == pair.secondary.registers()
    assert replayed.memory_digest == pair.secondary.memory_digest()
    assert replayed.console == pair.transcript


@pytest.mark.parametrize("half", range(2))
def test_nor_of_a_machine_that_falls_silent(half: int) -> None:
    """No connection drops when power fails; only heartbeats are missed."""
    for entry in range(half, ENTRIES, 2):
        with LocalPair("ledger", ARGUMENTS) as pair:
            pair.run_to_entry(entry)
            started = pair.now
            pair.crash("primary", silently=True)
            pair.wait_live()
            dead = pair.secondary.replica.role.timing.dead
            assert pair.now - started <= dead + 10_000_000
            pair.run()
            assert pair.secondary.state == "FINISHED"
            check_ledger(pair.transcript, pair.disk(), LINES)


@pytest.mark.parametrize("half", range(2))
def test_the_primary_goes_on_alone_when_the_secondary_dies(half: int) -> None:
    for entry in range(half, ENTRIES, 2):
        with LocalPair("ledger", ARGUMENTS) as pair:
            pair.run_to_entry(entry)
            pair.crash("secondary", silently=entry % 3 == 0)
            pair.run()
            assert pair.primary.state == "FINISHED"
            assert set(pair.emitters) == {"primary"}
            check_ledger(pair.transcript, pair.disk(), LINES)


@pytest.mark.parametrize("seed", range(4))
def test_interrupts_continue_after_a_crash(seed: int, tmp_path: Path) -> None:
    """`preempt` depends on the exact instruction of each interrupt."""
    arguments = ("--work=20000", "--tsc=1")
    with LocalPair("preempt", arguments, seed=seed, logs=tmp_path) as pair:
        pair.run_to_entry(20 + 15 * seed)
        pair.crash("primary")
        pair.run()
        assert pair.secondary.state == "FINISHED"
        replayed = replay(tmp_path / "secondary.vlog")
        assert replayed.registers == pair.secondary.registers()
        assert replayed.memory_digest == pair.secondary.memory_digest()
        assert pair.transcript.count(b"preempt hash=") == 1


@pytest.mark.parametrize(
    ("place", "at"),
    [("exits:9", "exits:9"), ("exits:3+2", "exits:3+2"), ("exits:3+1000", "exits:4")],
)
def test_a_crash_between_exits_is_where_it_was_asked_for(place: str, at: str) -> None:
    """Or at the next boundary, where an exit has fewer blocks."""
    with LocalPair("ledger", ARGUMENTS, crash_at=place) as pair:
        pair.run()
        assert pair.primary.crashed
        assert str(pair.primary.position) == at
        assert pair.secondary.state == "FINISHED"
        check_ledger(pair.transcript, pair.disk(), LINES)


def test_a_crash_after_a_time() -> None:
    with LocalPair("ledger", ARGUMENTS, crash_at="time:0.0015") as pair:
        pair.run()
        assert pair.primary.crashed
        assert pair.secondary.state == "FINISHED"
        check_ledger(pair.transcript, pair.disk(), LINES)


@pytest.mark.parametrize("place", ["entry:900", "sent:900", "exits:900", "exits:900+9", "time:60"])
def test_a_place_that_is_never_reached_is_told(place: str) -> None:
    with LocalPair("ledger", ARGUMENTS, crash_at=place) as pair:
        pair.run()
        told = [event["text"] for event in pair.primary.events if event["event"] == "notice"]
        assert told == [f"this replica never came to {place}"]

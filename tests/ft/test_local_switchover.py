"""Planned switchovers at every entry, and what may go wrong meanwhile."""

from __future__ import annotations

from contextlib import suppress

import pytest
from support import some

from vlockstep.errors import HostError
from vlockstep.sim.sides import SIDES, Side
from vlockstep.testing import LocalPair, check_ledger

LINES = 5
ARGUMENTS = (f"--lines={LINES}", "--pause=1", "--work=100")


@pytest.mark.parametrize("asked", ["primary", "secondary"])
def test_roles_swap_at_any_entry(asked: Side) -> None:
    for entry in range(25):
        with LocalPair("ledger", ARGUMENTS) as pair:
            pair.run_to_entry(entry)
            with suppress(HostError):  # it has come to its end
                assert pair.switchover(asked) == 2
            pair.run()
            assert [r.state for r in pair.hosts] == ["FINISHED", "FINISHED"]
            assert {r.generation for r in pair.hosts} <= {1, 2}
            assert pair.primary.registers() == pair.secondary.registers()
            assert pair.primary.memory_digest() == pair.secondary.memory_digest()
            check_ledger(pair.transcript, pair.disk(), LINES)


def test_roles_swap_back_and_forth() -> None:
    with LocalPair("ledger", ("--lines=12", "--pause=1", "--work=100")) as pair:
        for swap in range(6):
            assert pair.switchover(SIDES[swap % 2]) == swap + 2
            assert pair.arbiter.generation == swap + 2
            assert pair.secondary.live == (swap % 2 == 0)
        pair.run()
        assert [r.state for r in pair.hosts] == ["FINISHED", "FINISHED"]
        check_ledger(pair.transcript, pair.disk(), 12)


def test_a_new_primary_that_is_not_live_yet_remembers_that_it_was_asked() -> None:
    with LocalPair("ledger", ARGUMENTS) as pair:
        pair.run_to_entry(7)
        asked: list[str] = []

        def ask(point: str) -> None:
            if pair.secondary.state == "LIVE" and not asked:
                asked.append(point)
                pair.secondary.replica.switch_over()

        pair.secondary.watch = ask
        pair.switchover()
        pair.run()
        assert asked
        assert [(r.state, r.generation) for r in pair.hosts] == [("FINISHED", 3)] * 2
        check_ledger(pair.transcript, pair.disk(), LINES)


@pytest.mark.parametrize("entry", range(0, 20, 4))
def test_a_connection_lost_after_a_switchover_is_made_again(entry: int) -> None:
    """The new primary connects, and is another one to the replica that listens."""
    with LocalPair("ledger", ARGUMENTS) as pair:
        pair.run_to_entry(entry)
        pair.switchover()
        pair.drop()
        pair.run()
        assert [(r.state, r.generation) for r in pair.hosts] == [("FINISHED", 2)] * 2
        assert pair.primary.happened("following") and not pair.primary.happened("live")
        check_ledger(pair.transcript, pair.disk(), LINES)


@pytest.mark.parametrize("slowness", [1, 30])
@pytest.mark.parametrize("back", [False, True], ids=["there", "back"])
@pytest.mark.parametrize("apart", some([3], 1))
def test_a_connection_lost_during_a_switchover_costs_nobody(
    back: bool, slowness: int, apart: int
) -> None:
    """At every step of one, whoever listens, with an arbiter that answers before the connection is
    made again, or after it."""
    for steps in range(0, 80, apart):
        with LocalPair("ledger", ("--lines=12", "--pause=1", "--work=100")) as pair:
            pair.run_to_entry(7)
            if back:
                pair.switchover()
            pair.arbiter.slowness = slowness
            asked = pair.secondary if back else pair.primary
            asked.do("switchover", asked.replica.switch_over)
            for _ in range(steps):
                pair.step()
            pair.drop()
            pair.run()
            assert [r.state for r in pair.hosts] == ["FINISHED", "FINISHED"]
            assert pair.primary.generation == pair.secondary.generation
            check_ledger(pair.transcript, pair.disk(), 12)


@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize("victim", ["primary", "secondary"])
def test_either_may_die_after_a_switchover(victim: str, silently: bool) -> None:
    for entry in range(0, 20, 2):
        with LocalPair("ledger", ARGUMENTS) as pair:
            pair.run_to_entry(entry)
            pair.switchover()
            for _ in range(entry):
                pair.step()
            pair.crash(victim, silently=silently)
            pair.run()
            survivor = pair.secondary if victim == "primary" else pair.primary
            assert survivor.state == "FINISHED"
            check_ledger(pair.transcript, pair.disk(), LINES)


@pytest.mark.parametrize("victim", ["primary", "secondary"])
def test_either_may_die_during_a_switchover(victim: str) -> None:
    """At every step of one."""
    for steps in range(60):
        with LocalPair("ledger", ARGUMENTS) as pair:
            pair.run_to_entry(7)
            pair.primary.do("switchover", pair.primary.replica.switch_over)
            for _ in range(steps):
                pair.step()
            pair.crash(victim)
            pair.run()
            survivor = pair.secondary if victim == "primary" else pair.primary
            assert survivor.state == "FINISHED"
            check_ledger(pair.transcript, pair.disk(), LINES)


def test_a_partition_during_a_switchover_leaves_one() -> None:
    for steps in range(60):
        with LocalPair("ledger", ARGUMENTS) as pair:
            pair.run_to_entry(7)
            pair.primary.do("switchover", pair.primary.replica.switch_over)
            for _ in range(steps):
                pair.step()
            pair.cut()
            out = b"ledger done" in pair.transcript
            pair.run()
            finished = [r for r in pair.hosts if r.state == "FINISHED"]
            # Both may finish if the guest's last output was out before the cut.
            assert len(finished) == 1 or out
            check_ledger(pair.transcript, pair.disk(), LINES)


@pytest.mark.parametrize("entry", range(0, 20, 4))
def test_a_handover_that_comes_too_late_finds_nobody_to_follow(entry: int) -> None:
    """The secondary, cut off, went live alone: it does not wait for a follower, which would be
    left behind and later go live with a state that the other has long left."""
    with LocalPair("ledger", ARGUMENTS) as pair:
        pair.run_to_entry(entry)
        pair.primary.do("switchover", pair.primary.replica.switch_over)
        pair.run(lambda: pair.primary.state == "HANDED_OVER")
        pair.cut("to_secondary")
        pair.run(lambda: pair.secondary.live)
        pair.heal()
        pair.run()
        assert [h.state for h in pair.hosts] == ["STOPPED", "FINISHED"]
        check_ledger(pair.transcript, pair.disk(), LINES)


def test_interrupts_go_on_after_a_switchover() -> None:
    with LocalPair("preempt", ("--work=20000",), seed=3) as pair:
        pair.run_to_entry(8)
        pair.switchover()
        assert pair.secondary.live
        pair.run()
        assert [r.state for r in pair.hosts] == ["FINISHED", "FINISHED"]
        assert pair.primary.registers() == pair.secondary.registers()


def test_no_switchover_without_a_secondary() -> None:
    with LocalPair("ledger", ("--lines=400", "--pause=0"), disk_size=1 << 18) as pair:
        pair.crash("secondary")
        pair.run(lambda: pair.primary.state == "ALONE")
        with pytest.raises(HostError, match="no switchover"):
            pair.switchover()

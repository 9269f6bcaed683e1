"""A replica that is asked to leave: the other one has the guest, or nobody."""

from __future__ import annotations

import pytest

from vlockstep.errors import HostError, Left
from vlockstep.machine.world import Outcome
from vlockstep.protocol.role import NEVER
from vlockstep.protocol.timing import MILLISECOND, SECOND
from vlockstep.testing import LocalPair, check_ledger

LINES = 5
ARGUMENTS = (f"--lines={LINES}", "--pause=1", "--work=100")


def leave(pair: LocalPair, side: str) -> None:
    pair.host(side).do("leave", pair.host(side).leave)


@pytest.mark.parametrize("entry", range(0, 24, 3))
def test_a_primary_hands_over_and_leaves(entry: int) -> None:
    with LocalPair("ledger", ARGUMENTS) as pair:
        pair.run_to_entry(entry)
        leave(pair, "primary")
        pair.run()
        assert isinstance(pair.primary.outcome, Left)
        assert isinstance(pair.secondary.outcome, Outcome)
        assert pair.secondary.generation == 3  # it took over, and then nobody followed it
        assert pair.emitters and not pair.primary.happened("stopped")
        check_ledger(pair.transcript, pair.disk(), LINES)


@pytest.mark.parametrize("entry", range(0, 24, 3))
def test_a_secondary_leaves_the_primary_alone(entry: int) -> None:
    with LocalPair("ledger", ARGUMENTS) as pair:
        pair.run_to_entry(entry)
        asked = pair.now
        leave(pair, "secondary")
        pair.run(lambda: pair.primary.state == "ALONE")
        assert pair.now - asked < 10 * MILLISECOND  # a word is enough, nobody waits for silence
        pair.run()
        assert isinstance(pair.secondary.outcome, Left)
        assert isinstance(pair.primary.outcome, Outcome)
        check_ledger(pair.transcript, pair.disk(), LINES)


def test_the_last_one_ends_the_guest() -> None:
    """At each step of the other one's leaving, whoever is first."""
    for first, second in (("primary", "secondary"), ("secondary", "primary")):
        for steps in range(60):
            with LocalPair("ledger", ("--lines=50", "--pause=1", "--work=100")) as pair:
                pair.run_to_entry(7)
                leave(pair, first)
                for _ in range(steps):
                    pair.step()
                leave(pair, second)
                pair.run()
                outcomes = [pair.host(name).outcome for name in (first, second)]
                assert all(isinstance(outcome, Left | HostError) for outcome in outcomes)
                last = pair.arbiter.members[0]
                assert (last.state, type(last.outcome)) == ("FINISHED", HostError), (first, steps)


def test_one_that_is_alone_ends_the_guest_at_once() -> None:
    with LocalPair("ledger", ARGUMENTS) as pair:
        pair.run_to_entry(7)
        pair.crash("secondary")
        pair.run(lambda: pair.primary.state == "ALONE")
        leave(pair, "primary")
        assert pair.primary.state == "FINISHED"
        assert isinstance(pair.primary.outcome, HostError)


def test_a_primary_in_doubt_leaves_the_guest_to_the_other_one() -> None:
    """The secondary is not heard, but lives."""
    with LocalPair("ledger", ARGUMENTS) as pair:
        pair.run_to_entry(7)
        pair.network.cut({"primary"})
        leave(pair, "primary")
        pair.run()
        assert isinstance(pair.primary.outcome, HostError)
        assert isinstance(pair.secondary.outcome, Outcome)
        check_ledger(pair.transcript, pair.disk(), LINES)


def test_a_primary_that_cannot_release_its_outputs_leaves_all_the_same() -> None:
    with LocalPair("ledger", ARGUMENTS) as pair:
        pair.primary.stall("outputs", True)
        pair.run_to_entry(7)
        asked = pair.now
        leave(pair, "primary")
        pair.run(lambda: pair.primary.over)
        assert pair.now - asked <= 6 * SECOND
        pair.run()
        assert isinstance(pair.secondary.outcome, Outcome)
        check_ledger(pair.transcript, pair.disk(), LINES)


@pytest.mark.parametrize("after", range(5, 65, 10))
@pytest.mark.parametrize("side", ["primary", "secondary"])
def test_one_without_an_answer_from_the_arbiter_leaves_the_guest_to_the_other_one(
    side: str, after: int
) -> None:
    """Both live, do not hear each other, and ask an arbiter that is away until some time later."""
    with LocalPair("ledger", ARGUMENTS) as pair:
        pair.run_to_entry(7)
        pair.arbiter.reachable = False
        pair.network.cut({"primary", "secondary"})
        pair.run(lambda: {host.state for host in pair.hosts} == {"CLAIMING"})
        pair.run(lambda: all(NEVER > host.deadline() > pair.now for host in pair.hosts))
        again = pair.now + after * MILLISECOND
        leave(pair, side)
        pair.run(lambda: pair.now >= again)
        pair.arbiter.reachable = True
        pair.run()
        assert isinstance(pair.host(side).outcome, HostError)
        (other,) = (host for host in pair.hosts if host.name != side)
        assert isinstance(other.outcome, Outcome)
        check_ledger(pair.transcript, pair.disk(), LINES)

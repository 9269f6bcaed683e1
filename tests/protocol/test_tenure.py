"""How long an owner emits: as long as the lease of its record, counted from before it asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from roles import (
    END,
    LINE,
    START,
    TIMING,
    alone,
    answer,
    append,
    claiming,
    following,
    kinds,
    protected,
    record,
    waiting,
)

from vlockstep.arbiter.rule import Record
from vlockstep.protocol.actions import (
    NEVER,
    Action,
    Announce,
    Claim,
    Done,
    Notice,
    Release,
    Renew,
    Start,
    Stop,
)
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.states import State
from vlockstep.protocol.tenure import Tenure
from vlockstep.protocol.timing import MILLISECOND as MS

LEASE = 1000 * MS


def leased(generation: int, owner: str, *others: str) -> Record:
    return replace(record(generation, owner, *others), lease=LEASE, token=f"of {generation}")


def lone() -> Primary:
    """It claimed at the start, waiting for nobody."""
    primary = waiting(0)
    assert primary.deadline() == START
    assert primary.tick(START) == [Claim(0, take_in={"a": ""}, afresh=True)]
    return primary


def ruling_alone() -> Primary:
    primary = lone()
    actions = primary.arbiter_answered(START + MS, leased(1, "a"))
    assert {Start, Announce} <= kinds(actions) and primary.state is State.ALONE
    return primary


def until(actions: Sequence[Action]) -> list[int]:
    return [action.until for action in actions if isinstance(action, Release)]


def renewal(actions: Sequence[Action]) -> Renew:
    [found] = [action for action in actions if isinstance(action, Renew)]
    return found


def asked_again(primary: Primary) -> Renew:
    """At the quarter of the lease."""
    due = START + LEASE // 4
    assert primary.deadline() == due
    assert not [action for action in primary.tick(due - 1) if isinstance(action, Renew)]
    return renewal(primary.tick(due))


def test_a_primary_that_waits_for_nobody_rules_at_once() -> None:
    primary = lone()
    actions = primary.arbiter_answered(START + MS, record(1, "a"))
    assert {Start, Announce} <= kinds(actions)
    assert until(append(primary, START + MS, LINE)) == [NEVER]
    assert primary.deadline() == NEVER, "without a lease there is nothing to renew"


def test_the_lease_of_a_generation_begins_before_it_was_claimed() -> None:
    assert until(append(ruling_alone(), START + MS, LINE)) == [START + LEASE]


def test_of_a_claim_that_is_asked_again_the_first_counts() -> None:
    primary = lone()
    primary.arbiter_answered(START + 10 * MS, None)
    again = primary.deadline()
    assert primary.tick(again) == [Claim(0, take_in={"a": ""}, afresh=True)]
    primary.arbiter_answered(again + MS, leased(1, "a"))
    assert until(append(primary, again + MS, LINE)) == [START + LEASE]


def test_it_is_renewed_each_quarter_from_when_that_was_asked() -> None:
    primary = ruling_alone()
    append(primary, START + MS, LINE)
    asked = asked_again(primary)
    assert (asked.record, asked.token, asked.next) == (leased(1, "a"), 0, 1)
    assert primary.deadline() == START + LEASE, "it waits for the answer"
    actions = primary.lease_answered(START + LEASE // 2, asked, True)
    assert until(actions) == [START + LEASE // 4 + LEASE]
    assert primary.deadline() == START + LEASE // 2
    following_one = renewal(primary.tick(START + LEASE // 2))
    assert (following_one.token, following_one.next) == (1, 2)


def test_no_number_is_asked_for_twice() -> None:
    primary = ruling_alone()
    asked = asked_again(primary)
    now = START + LEASE // 3
    assert primary.lease_answered(now, asked, None) == []
    assert primary.deadline() == now + TIMING.interval
    again = renewal(primary.tick(now + TIMING.interval))
    assert (again.token, again.next) == (0, 2)


def test_who_cannot_renew_it_falls_silent_says_so_once_and_goes_on() -> None:
    primary = ruling_alone()
    asked = asked_again(primary)
    end = START + LEASE
    told = primary.tick(end)
    assert [action.text for action in told if isinstance(action, Notice)] == [
        "the lease of generation 1 could not be renewed in time; nothing is emitted until it is"
    ]
    assert until(append(primary, end, LINE)) == []
    assert primary.deadline() == NEVER and primary.tick(end + MS) == []
    assert primary.lease_answered(end + MS, asked, None) == []
    asked = renewal(primary.tick(primary.deadline()))
    now = primary.tenure.until + 2 * LEASE
    late = primary.lease_answered(now, asked, True)
    assert until(late) == [] and Notice not in kinds(late), "it is too old already"
    asked = renewal(primary.tick(now))
    on = primary.lease_answered(now + MS, asked, True)
    assert Notice("the lease of generation 1 is renewed") in on
    assert until(on) == [now + LEASE]


def test_who_has_lost_it_stops_for_good() -> None:
    primary = ruling_alone()
    append(primary, START + MS, LINE)
    [stop] = primary.lease_answered(START + 2 * LEASE, asked_again(primary), False)
    assert isinstance(stop, Stop) and "was taken from it" in stop.reason
    assert primary.state is State.STOPPED


def test_all_members_and_the_arbiter_have_to_permit_it() -> None:
    primary = claiming("b")
    primary.arbiter_answered(START, leased(1, "a", "b"))
    answer(primary, START, "b", 0, lease=10 * MS)
    append(primary, START + MS, LINE)
    assert until(answer(primary, START + MS, "b", 1, lease=10 * MS)) == [START + 10 * MS]
    assert until(answer(primary, START + MS, "b", 1, lease=2 * LEASE)) == [START + LEASE]
    assert until(answer(primary, START + LEASE, "b", 1, lease=4 * LEASE)) == []


def test_a_guest_does_not_start_under_a_lease_that_has_run_out() -> None:
    primary = claiming("b")
    primary.arbiter_answered(START + LEASE, leased(1, "a", "b"))
    assert Start not in kinds(answer(primary, START + LEASE, "b", 0, lease=2 * LEASE))
    asked = renewal(primary.tick(START + LEASE))
    primary.lease_answered(START + LEASE, asked, True)
    started = answer(primary, START + LEASE, "b", 0, lease=2 * LEASE)
    assert {Start, Announce} <= kinds(started)


def test_who_has_claimed_the_next_generation_waits_for_that_answer() -> None:
    """It may own that."""
    primary = claiming("b")
    primary.arbiter_answered(START, leased(1, "a", "b"))
    answer(primary, START + LEASE // 4, "b", 0)
    asked = renewal(primary.tick(START + LEASE // 4))
    primary.drop(START + LEASE, "b", "asked to")
    assert primary.state is State.CLAIMING
    assert primary.lease_answered(START + LEASE, asked, False) == []
    primary.arbiter_answered(START + LEASE, leased(2, "a"))
    assert until(append(primary, START + LEASE, LINE)) == [START + 2 * LEASE]
    assert primary.lease_answered(START + LEASE, asked, False) == [], "that of generation 1"


def test_a_secondary_that_goes_live_renews_it_before_its_guest_has_caught_up() -> None:
    secondary = following("b")
    now = START + 10 * LEASE
    secondary.tick(now)
    while secondary.state is not State.CLAIMING:
        now = secondary.deadline()
        secondary.tick(now)
    secondary.arbiter_answered(now + MS, leased(2, "b"))
    assert secondary.state is State.LIVE
    assert secondary.deadline() == now + LEASE // 4
    asked = renewal(secondary.tick(now + LEASE // 4))
    assert secondary.lease_answered(now + LEASE // 2, asked, True) == []
    assert secondary.tenure.until == now + LEASE // 4 + LEASE
    asked = renewal(secondary.tick(now + LEASE))
    assert kinds(secondary.lease_answered(now + 3 * LEASE, asked, False)) == {Stop}


@pytest.mark.parametrize("make", [protected, alone])
def test_an_answer_that_nobody_waits_for_is_not_heeded(make: Callable[[], Primary]) -> None:
    primary = make()
    assert primary.lease_answered(START, Renew(leased(7, "a"), 0, 1), False) == []


def test_a_guest_that_has_ended_is_done_when_its_last_output_could_be_made() -> None:
    primary = ruling_alone()
    assert until(append(primary, START + LEASE, LINE, END)) == []
    asked = renewal(primary.tick(START + LEASE))
    assert until(primary.lease_answered(START + LEASE, asked, True)) == [START + 2 * LEASE]
    assert primary.performed(START + LEASE + MS, 2) == [Done()]


def test_a_tenure_without_a_lease_is_for_ever() -> None:
    tenure = Tenure(record(1, "a"), START)
    assert (tenure.until, tenure.deadline(), tenure.look(NEVER - 1)) == (NEVER, NEVER, [])

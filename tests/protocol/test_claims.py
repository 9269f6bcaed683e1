"""Any member may claim: who has received most first, and the others follow it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from protocol.roles import (
    CLOCK,
    START,
    THERE,
    TIMING,
    batch,
    following,
    hello,
    kinds,
    protected,
    query,
    record,
    ruling,
    sent,
)

from vlockstep.protocol.actions import (
    Action,
    Claim,
    Dial,
    GoLive,
    Send,
    Stop,
)
from vlockstep.protocol.messages import (
    Goodbye,
    Handover,
    Have,
    Hello,
    Ruling,
    Welcome,
)
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State

WITHOUT_A = frozenset("a")


def suspicious(me: str, *others: str, received: int = 0) -> Secondary:
    """It has lost `a`, for good as that said."""
    secondary = following(me, *others)
    if received:
        secondary.received(START, "a", batch(0, [CLOCK] * received))
        secondary.progressed(START, received)
    secondary.received(START, "a", Goodbye("the disk is gone"))
    assert secondary.state is State.CANDIDATE
    return secondary


def have(received: int, *, generation: int = 1, hears: bool = False) -> Have:
    return Have(generation, received, hears, asks=False)


def claims_at(secondary: Secondary) -> int:
    """How long after the start it claims, if nobody says anything more."""
    now, actions = START, list[Action]()
    while secondary.state is State.CANDIDATE:
        now = secondary.deadline()
        actions = secondary.tick(now)
    assert actions == [Claim(1, leave_out=WITHOUT_A)]
    return now - START


# Any member may claim


def test_who_has_received_most_claims_first() -> None:
    behind, ahead = suspicious("b", "c", received=1), suspicious("c", "b", received=2)
    assert ahead.received(START, "b", have(1)) == [Claim(1, leave_out=WITHOUT_A)]
    assert behind.received(START, "c", have(2)) == []
    assert claims_at(behind) == TIMING.dead, "the other one may be dead by now"


def test_of_equals_one_claims_first() -> None:
    one, other = suspicious("b", "c"), suspicious("c", "b")
    assert one.received(START, "c", have(0)) == []
    assert other.received(START, "b", have(0)) == [Claim(1, leave_out=WITHOUT_A)]


def test_who_hears_nothing_of_the_other_claims_a_little_later() -> None:
    assert claims_at(suspicious("b", "c")) == TIMING.interval


def test_as_long_as_another_hears_the_primary_it_is_given_time() -> None:
    secondary = suspicious("c", "b", received=2)
    assert secondary.received(START, "b", have(1, hears=True)) == []
    assert claims_at(secondary) == TIMING.dead


def test_what_a_stranger_or_another_generation_has_counts_for_nothing() -> None:
    secondary = suspicious("c", "b", received=1)
    secondary.received(START, "x", have(9))
    secondary.received(START, "b", have(9, generation=2))
    assert claims_at(secondary) == TIMING.interval


def test_others_are_asked_and_answer() -> None:
    secondary = following("b", "c")
    secondary.received(START, "a", batch(0, [CLOCK]))
    asked = sent(secondary.received(START, "a", Goodbye("going")), Have, "c")
    assert asked == [Have(1, 1, hears=False, asks=True)]
    hears = following("c", "b").received(START, "b", asked[0])
    assert hears == [Send(Have(1, 0, hears=True, asks=False), "b")]


def test_a_member_that_is_reached_is_connected_to() -> None:
    ruled = Ruling(1, "a", {"a": "", "b": "b's", "c": "c's"})
    for me, dialed in (("b", []), ("c", [Dial("b", "b's")])):
        secondary = Secondary(me, TIMING, "image", START, endpoint=f"{me}'s")
        secondary.received(START, "a", Welcome(0, 0, {}))
        actions = secondary.received(START, "a", ruled)
        assert [action for action in actions if isinstance(action, Dial)] == dialed


def test_a_primary_that_is_heard_again_is_followed_again() -> None:
    for word in (query(), batch(0, [CLOCK]), Welcome(1, 0, {})):
        secondary = suspicious("b", "c")
        secondary.received(START, "a", word)
        assert secondary.state is State.FOLLOWING
        assert secondary.arbiter_answered(START, record(2, "b", "c")) == []


def test_who_takes_over_keeps_the_others() -> None:
    secondary = suspicious("c", "b")
    secondary.received(START, "b", have(0))
    rules, live = secondary.arbiter_answered(START, record(2, "c", "b"))
    assert rules == Send(ruling(2, "c", "b"), "b")
    assert live == GoLive(2, frozenset("b"))


def test_who_was_taken_in_unheard_is_found_where_the_arbiter_says() -> None:
    """By a member that its primary could not tell of it before it died."""
    known = replace(record(2, "a", "b", "d"), endpoints={"b": "b's", "d": "d's"})
    secondary = following("b")
    secondary.received(START, "a", Goodbye("going"))
    assert secondary.state is State.CLAIMING
    secondary.arbiter_answered(START, known)
    assert secondary.members == {"a": "", "b": THERE, "d": "d's"}, "what it was told itself counts"
    won = replace(record(2, "b", "d"), endpoints=known.endpoints)
    secondary = suspicious("b", "d")
    secondary.members["d"] = ""
    secondary.tick(secondary.deadline())
    rules, live = secondary.arbiter_answered(START, won)
    assert rules == Send(Ruling(2, "b", {"b": THERE, "d": "d's"}), "d")
    assert live == GoLive(2, frozenset("d"))


def test_who_was_taken_in_unheard_finds_who_takes_over() -> None:
    secondary = following("d")
    secondary.received(START, "a", Goodbye("going"))
    known = replace(record(2, "b", "d"), endpoints={"b": "b's", "d": "d's"})
    dial, hello = secondary.arbiter_answered(START, known)
    assert dial == Dial("b", "b's")
    assert isinstance(hello, Send) and isinstance(hello.message, Hello) and hello.to == "b"


def test_who_is_told_that_it_rules_itself_waits_for_the_arbiter() -> None:
    """Who has lost against it may know before it."""
    secondary = suspicious("c", "b")
    secondary.received(START, "b", have(0))
    assert secondary.state is State.CLAIMING
    assert secondary.received(START, "b", ruling(2, "c", "b")) == []
    assert secondary.state is State.CLAIMING and secondary.owner == "a"
    assert GoLive(2, frozenset("b")) in secondary.arbiter_answered(START, record(2, "c", "b"))


def test_a_primary_that_is_told_that_it_rules_waits_for_the_arbiter() -> None:
    primary = protected("b", "c")
    primary.received(START, "c", Goodbye("going"))
    assert primary.state is State.CLAIMING
    assert primary.received(START, "b", ruling(2, "a", "b")) == []
    assert primary.state is State.CLAIMING
    primary.arbiter_answered(START, record(2, "a", "b"))
    assert primary.state is State.PROTECTED


# A new owner is followed


def in_state(state: State) -> Secondary:
    """A secondary `b` beside `c`, with three entries, that follows in some way."""
    secondary = following("b", "c")
    secondary.received(START, "a", batch(0, [CLOCK] * 3))
    match state:
        case State.PARTED:
            secondary.disconnected(START, "a")
        case State.CANDIDATE:
            secondary.received(START, "a", Goodbye("going"))
        case State.TAKING_OVER:
            secondary.received(START, "a", Handover(3, 1, 0))
        case State.CLAIMING:
            secondary.progressed(START, 3)
            secondary.received(START, "a", Handover(3, 1, 0))
    assert secondary.state is state
    return secondary


FOLLOW = [State.FOLLOWING, State.PARTED, State.CANDIDATE, State.TAKING_OVER, State.CLAIMING]


@pytest.mark.parametrize("state", FOLLOW)
def test_a_new_owner_is_followed_from_any_state(state: State) -> None:
    secondary = in_state(state)
    actions = secondary.received(START, "c", ruling(2, "c", "b"))
    assert secondary.state is State.PARTED and secondary.owner == "c"
    assert sent(actions, Hello, "c") == [hello(3, origin=1)]
    secondary.received(START, "c", Welcome(2, 3, {}))
    secondary.received(START, "c", query(2))
    assert (secondary.state, secondary.generation) == (State.FOLLOWING, 2)
    assert Stop in kinds(in_state(state).received(START, "c", ruling(2, "c")))


@pytest.mark.parametrize("state", FOLLOW)
def test_what_was_promised_to_the_old_one_is_kept(state: State) -> None:
    secondary = in_state(state)
    secondary.received(START, "c", ruling(2, "c", "b"))
    now = START
    while secondary.state is State.PARTED:
        now = secondary.deadline()
        secondary.tick(now)
    assert now >= START + TIMING.dead


@pytest.mark.parametrize("state", FOLLOW)
def test_an_owner_of_before_is_not_followed_back(state: State) -> None:
    secondary = in_state(state)
    secondary.received(START, "c", ruling(2, "c", "b"))
    for told in (ruling(1, "a", "b", "c"), ruling(2, "a", "b", "c")):
        assert secondary.received(START, "a", told) == []
    assert (secondary.owner, secondary.generation) == ("c", 2)


def test_who_loses_to_another_member_follows_it() -> None:
    secondary = in_state(State.CLAIMING)
    actions = secondary.arbiter_answered(START, record(2, "c", "a", "b"))
    assert sent(actions, Hello, "c") and secondary.state is State.PARTED
    assert secondary.others == frozenset("a")


def test_who_claims_while_its_owner_leaves_another_out_follows_on() -> None:
    claim = suspicious("b", "c")
    claim.tick(claim.deadline())
    assert claim.state is State.CLAIMING
    assert sent(claim.received(START, "a", ruling(2, "a", "b")), Hello, "a")
    assert claim.arbiter_answered(START, record(2, "a", "b")) == [], "it knows already"
    assert (claim.state, claim.generation) == (State.PARTED, 2)

    claim = suspicious("b", "c")
    claim.tick(claim.deadline())
    assert sent(claim.arbiter_answered(START, record(2, "a", "b")), Hello, "a")
    assert (claim.state, claim.generation) == (State.PARTED, 2)

    claim = suspicious("b", "c")
    claim.tick(claim.deadline())
    claim.received(START, "a", query(2))  # the word of its new rule got lost
    assert sent(claim.arbiter_answered(START, record(2, "a", "b")), Hello, "a")
    assert claim.state is State.PARTED


def test_the_answer_to_an_earlier_claim_ends_no_later_one() -> None:
    secondary = in_state(State.CLAIMING)
    secondary.received(START, "c", ruling(2, "c", "a", "b"))
    while secondary.state is not State.CLAIMING:
        secondary.tick(secondary.deadline())
    assert secondary.arbiter_answered(START, record(2, "c", "a", "b")) == []
    assert GoLive in kinds(secondary.arbiter_answered(START, record(3, "b", "a")))

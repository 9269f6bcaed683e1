"""Roles that swap: a guest that stops here goes on there, or here if it does not."""

from __future__ import annotations

import pytest
from protocol.roles import (
    CLOCK,
    LINE,
    START,
    TIMING,
    answer,
    append,
    batch,
    following,
    hello,
    kinds,
    protected,
    record,
    ruling,
    sent,
    unanswered,
    went_live,
)

from vlockstep.arbiter.rule import Record
from vlockstep.machine.position import Position
from vlockstep.protocol.actions import (
    Action,
    Claim,
    Follow,
    GoLive,
    Hold,
    Reply,
    Resume,
    Send,
    Stop,
)
from vlockstep.protocol.messages import (
    Answer,
    Goodbye,
    Handover,
    Query,
    Ruling,
    Switchover,
    Welcome,
)
from vlockstep.protocol.primary import HOLD_LIMIT, TAKEOVER_LIMIT, Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND as MS
from vlockstep.replay.entry import Entry, Kind

HELD = Position(1, 7)


def handed_over(*members: str) -> Primary:
    primary = protected(*members)
    assert primary.switchover(START) == [Hold()]
    assert sent(primary.held(START, HELD), Handover)
    assert primary.state is State.HANDED_OVER
    return primary


def test_a_guest_is_handed_over_once_every_output_is_made() -> None:
    primary = protected()
    append(primary, START, CLOCK, LINE)
    primary.switchover(START)
    assert not sent(primary.held(START, Position(1, 7)), Handover)
    assert not sent(answer(primary, START + MS, "b", 2), Handover)
    assert sent(primary.performed(START + MS, 2), Handover) == [Handover(2, 1, 7)]


def test_it_takes_over_only_when_all_is_executed() -> None:
    secondary = following()
    secondary.received(START, "a", batch(0, [CLOCK, CLOCK], released=2))
    assert secondary.received(START, "a", Handover(2, 1, 7)) == []
    assert secondary.progressed(START, 1) == []
    assert secondary.progressed(START, 2) == [Claim(1)]
    rules, live = secondary.arbiter_answered(START, record(2, "b", "a"))
    assert rules == Send(ruling(2, "b", "a"), "a")
    assert live == GoLive(2, frozenset("a"), not_before=Position(1, 7))


def test_a_handover_says_that_every_output_is_released() -> None:
    """The new primary must not make them again: it could die halfway."""
    secondary = following()
    secondary.received(START, "a", batch(0, [CLOCK, LINE]))
    assert list(secondary.outputs) == [1]
    secondary.received(START, "a", Handover(2, 2, 0))
    assert not secondary.outputs


def test_a_handover_before_all_entries_is_not_heeded() -> None:
    secondary = following()
    secondary.received(START, "a", batch(0, [CLOCK]))
    assert secondary.received(START, "a", Handover(2, 2, 0)) == []
    assert secondary.state is State.FOLLOWING


def test_a_handover_is_repeated_until_it_is_answered() -> None:
    primary = handed_over()
    handover = Handover(0, 1, 7)
    assert sent(primary.tick(START + TIMING.interval), Handover) == [handover]
    assert sent(primary.connected(START + TIMING.interval, "b"), Handover) == [handover]
    successor = went_live(2, "x", next=0)
    (told,) = sent(successor.received(START, "x", handover), Ruling)
    assert told == ruling(2, "a", "x")
    assert primary.received(START, "b", ruling(2, "b", "a")) == [
        Follow(2, "b", 0, HELD),
        Reply(2, ""),
    ]


@pytest.mark.parametrize("told", [ruling(3, "x", "a"), ruling(2, "b", "a")])
def test_who_handed_over_follows_whoever_counts_on_it(told: Ruling) -> None:
    """The one that took over may be dead already, and another one rule."""
    primary = handed_over()
    follow = Follow(told.generation, told.owner, 0, HELD)
    assert primary.received(START, "b", told) == [follow, Reply(told.generation, "")]
    assert primary.state is State.SWAPPED


def test_who_handed_over_does_not_follow_one_that_leaves_it_out() -> None:
    assert Stop in kinds(handed_over().received(START, "b", ruling(2, "b")))


@pytest.mark.parametrize("found", [record(2, "b", "a"), record(3, "x", "a")])
def test_who_goes_on_in_vain_follows_the_one_that_the_arbiter_names(found: Record) -> None:
    primary, actions = handed_over(), list[Action]()
    while primary.state is State.HANDED_OVER:
        now = primary.deadline()
        actions = primary.tick(now)
    assert Claim(1, leave_out=frozenset("b")) in actions and now >= START + TIMING.dead
    assert Follow(found.generation, found.owner, 0, HELD) in primary.arbiter_answered(now, found)


def replaced(next: int) -> Secondary:
    """Its guest was held behind entry `next`, and another replica rules."""
    return Secondary(
        "a",
        TIMING,
        "image",
        START,
        generation=2,
        owner="c",
        members={"a": "", "c": ""},
        next=next,
        stands=HELD,
    )


@pytest.mark.parametrize("blocks", [6, 7])
def test_who_goes_on_without_a_handover_may_be_interrupted_before_that_position(
    blocks: int,
) -> None:
    """Who stands there cannot follow then, and acknowledges nothing of it."""
    secondary = replaced(1)
    secondary.connected(START, "c")
    secondary.received(START, "c", Welcome(2, 1, {}))
    entry: Entry = (Kind.INTERRUPT, 1, blocks, 32, b"")
    actions = secondary.received(START, "c", batch(1, [entry], generation=2, origin=2))
    if Position(1, blocks) < HELD:
        assert kinds(actions) == {Send, Stop} and sent(actions, Goodbye, "c")
    else:
        assert sent(actions, Answer, "c")[0].received == 2
        later: Entry = (Kind.INTERRUPT, 1, 2, 32, b"")
        actions = secondary.received(START, "c", batch(2, [later], generation=2, origin=2))
        assert Stop not in kinds(actions), "that is for the replayer to find"


def test_but_not_one_that_has_left_it_out() -> None:
    primary = handed_over()
    primary.received(START, "b", Goodbye("going"))
    assert Stop in kinds(primary.arbiter_answered(START, record(2, "b")))


def test_one_that_never_takes_over_is_left_out_after_a_while() -> None:
    """Although it answers."""
    primary, now = handed_over(), START
    while primary.state is State.HANDED_OVER:
        now += TIMING.interval
        primary.received(now, "b", Query(1, now, 0, 0, 0))
        actions = primary.tick(now)
    assert Claim(1, leave_out=frozenset("b")) in actions
    assert now == START + TAKEOVER_LIMIT


def test_who_handed_over_waits_as_long_as_the_new_primary_says_something() -> None:
    """It may have to wait for the arbiter."""
    primary, now = handed_over(), START
    while now < START + 10 * TIMING.dead:
        now += TIMING.interval
        primary.received(now, "b", Query(1, now, 0, 0, 0))
        primary.tick(now)
    assert primary.state is State.HANDED_OVER


@pytest.mark.parametrize("held", [False, True])
def test_a_switchover_is_called_off_for_the_reason_that_there_is(held: bool) -> None:
    primary = protected()
    append(primary, START, LINE)
    primary.switchover(START)
    if held:
        primary.held(START, Position(2))
    now = START + HOLD_LIMIT
    primary.received(now, "b", Answer(now, 50 * MS, 1, 1))
    reason = "outputs were not released" if held else "guest made no exit"
    assert primary.tick(now) == [Resume(), Reply(0, f"the {reason} within 2 s")]
    assert primary.state is State.PROTECTED


def test_a_lost_connection_calls_it_off() -> None:
    primary = protected()
    primary.switchover(START)
    actions = primary.disconnected(START, "b")
    assert actions[:2] == [Resume(), Reply(0, "the connection was lost")]
    assert primary.state is State.PROTECTED
    assert primary.held(START, Position(1)) == [], "it stood before it heard that"


def test_there_is_none_before_the_guest_runs_or_without_anybody() -> None:
    lost = protected()
    lost.disconnected(START, "b")
    for primary in (unanswered("b"), lost):
        (reply,) = primary.switchover(START)
        assert isinstance(reply, Reply) and reply.generation == 0


def test_a_second_wish_joins_the_first() -> None:
    primary = protected()
    primary.switchover(START)
    assert primary.switchover(START) == []


def test_a_secondary_passes_the_wish_on() -> None:
    assert following().switchover(START) == [Send(Switchover(), "a")]


def test_one_that_goes_live_keeps_it() -> None:
    secondary = following()
    secondary.received(START, "a", Goodbye("going"))
    assert isinstance(secondary.switchover(START)[0], Reply)
    secondary.arbiter_answered(START, record(2, "b"))
    assert secondary.switchover(START) == [] and secondary.asked_to_swap


def test_a_primary_that_is_to_leave_hands_over() -> None:
    primary = protected()
    assert primary.leave(START, "why") == [Hold()]
    assert sent(primary.held(START, Position(1)), Handover)


def test_a_primary_whose_guest_does_not_stop_leaves_without_a_word() -> None:
    """Its secondary notices, and takes over."""
    primary = protected()
    assert primary.leave(START, "why") == [Hold()]
    now, actions = START, list[Action]()
    while primary.state is State.HOLDING:
        now = primary.deadline()
        primary.received(now, "b", Answer(now, 50 * MS, 0, 0))
        actions = primary.tick(now)
    assert Stop("why") in actions and not sent(actions, Goodbye)
    assert now == START + HOLD_LIMIT


def test_who_greets_the_heir_before_it_is_primary_is_remembered() -> None:
    """It says so again only an interval later, and could not be handed the guest until then."""
    heir = following()
    heir.received(START, "a", Handover(0, 1, 7))
    heir.arbiter_answered(START, record(2, "b", "a"))
    assert sent(heir.received(START, "a", hello(0)), Ruling) == [ruling(2, "b", "a")]
    assert heir.greetings == {"a": hello(0)}

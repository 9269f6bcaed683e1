"""A guest that has ended, or is to be ended, on all its replicas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from protocol.roles import (
    CLOCK,
    END,
    LINE,
    START,
    TIMING,
    alone,
    answer,
    append,
    claiming,
    following,
    hello,
    joining,
    kinds,
    protected,
    ready,
    record,
    ruling,
    sent,
    unanswered,
    waiting,
    went_live,
)

from vlockstep.machine.position import Position
from vlockstep.protocol.actions import Announce, Done, Hold, Reply, Resume, Send, Start, Stop
from vlockstep.protocol.messages import Answer, Ended, EndGuest, Finished, Goodbye, Welcome
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND as MS

WHY = "asked to"


def ended() -> Primary:
    """Its guest has ended, and it waits until its secondary knows."""
    primary = protected()
    append(primary, START, CLOCK, LINE, END)
    answer(primary, START + MS, "b", 3)
    assert sent(primary.performed(START + MS, 3), Finished)
    assert primary.state is State.FINISHING
    return primary


def ending(*members: str) -> Primary:
    primary = protected(*members)
    actions = primary.end(START, WHY)
    assert all(sent(actions, Ended, member) == [Ended(START, WHY)] for member in members)
    assert primary.state is State.ENDING
    return primary


def test_all_are_told_and_then_it_ends() -> None:
    primary = ending("b", "c")
    assert primary.received(START + MS, "b", Answer(START, 0, 0, 0)) == []
    assert primary.received(START + MS, "c", Answer(START, 0, 0, 0)) == [Stop(WHY, orderly=True)]


def test_nothing_is_released_any_more() -> None:
    primary = protected("b")
    append(primary, START, CLOCK, LINE)
    primary.end(START, WHY)
    assert kinds(answer(primary, START + MS, "b", 2)) == {Stop}


def test_an_answer_to_something_before_is_none() -> None:
    primary = ending("b")
    assert primary.received(START + MS, "b", Answer(START - MS, 0, 0, 0)) == []


def test_it_is_said_again_until_it_is_answered() -> None:
    primary = ending("b", "c")
    primary.received(START + MS, "b", Answer(START, 0, 0, 0))
    now = START + TIMING.interval
    assert primary.tick(now) == [Send(Ended(now, WHY), "c")]


def test_who_comes_back_is_told() -> None:
    primary = ending("b", "c")
    primary.disconnected(START, "b")
    assert sent(primary.received(START + MS, "b", hello()), Ended)


def test_who_is_gone_is_not_waited_for_for_ever() -> None:
    primary = ending("b", "c")
    primary.received(START, "c", Goodbye("going"))
    while primary.state is State.ENDING:
        now = primary.deadline()
        assert now < START + 2 * TIMING.dead
        actions = primary.tick(now)
    assert actions == [Stop(WHY, orderly=True)]


@pytest.mark.parametrize("held", [False, True])
def test_a_switchover_is_called_off_for_it(held: bool) -> None:
    primary = protected()
    append(primary, START, LINE)
    primary.switchover(START)
    if held:
        primary.held(START, Position(2))
    actions = primary.end(START, WHY)
    assert actions == [Resume(), Reply(0, WHY), Send(Ended(START, WHY), "b")]


def test_one_alone_ends_at_once() -> None:
    (stop,) = alone().end(START, WHY)
    assert isinstance(stop, Stop) and stop.orderly


def test_before_the_guest_runs_it_never_does() -> None:
    assert waiting().end(START, WHY) == [Stop(WHY, orderly=True)]
    primary = unanswered("b")
    assert sent(primary.end(START, WHY), Ended)
    primary = claiming("b")
    assert primary.end(START, WHY) == []
    actions = primary.arbiter_answered(START, record(1, "a", "b"))
    assert sent(actions, Ended) and not kinds(actions) & {Start, Announce}


@pytest.mark.parametrize("others", [(), ("b",)])
def test_who_asks_the_arbiter_ends_when_it_answers(others: tuple[str, ...]) -> None:
    primary = protected("b", "c")
    primary.received(START, "c", Goodbye("going"))
    assert primary.end(START, WHY) == []
    actions = primary.arbiter_answered(START, record(2, "a", *others))
    assert sent(actions, Ended, "b") if others else Stop in kinds(actions)


def test_a_secondary_asks_its_primary() -> None:
    secondary, primary = following("b", "c"), protected("b", "c")
    (asked,) = secondary.end(START, WHY)
    assert asked == Send(EndGuest(WHY), "a")
    assert sent(secondary.tick(START + TIMING.interval), EndGuest), "until it is done"
    assert sent(primary.received(START, "b", EndGuest(WHY)), Ended)


def test_nobody_else_may_ask() -> None:
    primary = protected("b")
    assert primary.received(START, "x", EndGuest(WHY)) == []
    assert primary.state is State.PROTECTED


def test_it_ends_when_the_primary_says_so() -> None:
    secondary = following("b", "c")
    assert secondary.received(START, "c", Ended(START, WHY)) == []
    assert secondary.received(START, "a", Ended(START, WHY)) == [
        Send(Answer(START, 0, 0, 0), "a"),
        Stop(WHY, orderly=True),
    ]


@pytest.mark.parametrize("make", [joining, ready])
def test_one_that_does_not_follow_yet_only_leaves(make: Callable[[], Secondary]) -> None:
    assert kinds(make().end(START, WHY)) == {Stop}


def test_who_is_about_to_go_live_ends_it_then() -> None:
    secondary = following()
    secondary.received(START, "a", Goodbye("going"))
    assert secondary.end(START, WHY) == []
    assert secondary.asked_to_end == WHY


def test_an_end_that_nobody_is_left_to_be_told_of() -> None:
    """The switchover comes about meanwhile; the new owner is asked again."""
    primary = protected()
    assert primary.switchover(START) == [Hold()]
    primary.held(START, Position(1))
    assert primary.end(START, WHY) == []
    assert primary.state is State.HANDED_OVER


# The end of the guest


def test_the_end_is_the_last_output() -> None:
    primary = ended()
    assert primary.received(START + 2 * MS, "b", Answer(START + MS, 0, 3, 3)) == [Done()]


def test_a_secondary_that_comes_back_after_the_end_gets_the_rest() -> None:
    actions = ended().received(START + 2 * MS, "b", hello(3, origin=1))
    assert sent(actions, Welcome) and sent(actions, Finished)


def test_the_word_that_the_guest_has_ended_is_repeated_until_it_is_answered() -> None:
    primary = ended()
    assert sent(primary.tick(primary.deadline()), Finished)


def test_nobody_waits_for_ever_for_one_that_is_gone_at_the_end() -> None:
    primary = ended()
    while primary.state is State.FINISHING:
        now = primary.deadline()
        assert now < START + 2 * TIMING.dead
        actions = primary.tick(now)
    assert actions == [Done()]


def test_one_that_goes_live_with_nothing_left_to_do_is_done() -> None:
    assert Done() in went_live(2, next=3, ended=2).begin(START)


def test_a_primary_that_has_ended_does_not_mind_who_took_over() -> None:
    assert ended().received(START + 2 * MS, "b", ruling(2, "b")) == [Done()]

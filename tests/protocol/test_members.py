"""Several members: all have what was released, who is lost is left out."""

from __future__ import annotations

import pytest
from protocol.roles import (
    CLOCK,
    LEASE,
    LINE,
    START,
    THERE,
    TIMING,
    answer,
    append,
    batch,
    claiming,
    following,
    hello,
    kinds,
    protected,
    query,
    record,
    releases,
    ruling,
    sent,
    unanswered,
    waiting,
)

from vlockstep.arbiter.rule import Record
from vlockstep.machine.position import Position
from vlockstep.protocol.actions import (
    Action,
    Claim,
    Follow,
    Hold,
    Notice,
    Release,
    Resume,
    Send,
    Start,
    Stop,
)
from vlockstep.protocol.messages import (
    Answer,
    Batch,
    Goodbye,
    Handover,
    Hello,
    Later,
    Query,
    Refuse,
    Ruling,
)
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND as MS

# Begin


def test_the_guest_begins_when_all_have_come() -> None:
    primary = waiting(2)
    for member in ("b", "c"):
        primary.received(START, member, hello())
    assert primary.received(START, "b", Answer(0, 0, 0, 0)) == []
    claim = Claim(0, take_in={"a": "", "b": THERE, "c": THERE}, afresh=True)
    assert primary.received(START, "c", Answer(0, 0, 0, 0)) == [claim]


def test_and_when_each_has_granted_a_lease() -> None:
    primary = unanswered("b", "c")
    assert Start({}) not in answer(primary, START, "b", 0)
    assert Start({}) in answer(primary, START, "c", 0)


def test_one_more_has_to_wait_until_the_guest_runs() -> None:
    primary = waiting(2)
    primary.received(START, "b", hello())
    primary.received(START, "c", hello())
    assert primary.received(START, "d", hello()) == [Send(Later(), "d")]
    assert "d" not in primary.followers


def test_one_more_than_can_follow_is_refused() -> None:
    primary = protected(*"bcdefgh")
    (refusal,) = sent(primary.received(START, "i", hello()), Refuse)
    assert "7 others follow" in refusal.reason


def test_all_are_told_who_may_claim() -> None:
    actions = claiming("b", "c").arbiter_answered(START, record(1, "a", "b", "c"))
    for member in ("b", "c"):
        assert sent(actions, Ruling, member) == [ruling(1, "a", "b", "c")]


def test_who_was_lost_before_the_arbiter_answered_is_looked_after() -> None:
    primary = claiming("b", "c")
    primary.disconnected(START, "c")
    primary.arbiter_answered(START, record(1, "a", "b", "c"))
    actions: list[Action] = []
    while primary.state is State.PROTECTED:
        now = primary.deadline()
        primary.received(now, "b", Answer(now, LEASE, 0, 0))
        actions = primary.tick(now)
    assert Claim(1, leave_out=frozenset("c")) in actions


# The rule of outputs


def test_an_output_waits_for_all() -> None:
    primary = protected("b", "c")
    append(primary, START, CLOCK, LINE)
    assert not releases(answer(primary, START + MS, "b", 2))
    assert not releases(answer(primary, START + MS, "c", 1))
    assert releases(answer(primary, START + MS, "c", 2)) == [2]


def test_and_for_the_shortest_lease() -> None:
    primary = protected("b", "c")
    append(primary, START, CLOCK, LINE)
    answer(primary, START + MS, "b", 2, lease=200 * MS)
    assert Release(2, START + 50 * MS) in answer(primary, START + MS, "c", 2, lease=50 * MS)
    actions = answer(primary, START + 51 * MS, "b", 2, lease=200 * MS)
    assert not releases(actions) and sent(actions, Query, "c") and not sent(actions, Query, "b")


def test_an_answer_of_somebody_else_counts_for_nothing() -> None:
    primary = protected("b", "c")
    append(primary, START, CLOCK, LINE)
    answer(primary, START + MS, "b", 2)
    assert not releases(answer(primary, START + MS, "x", 2))


def test_entries_are_kept_until_all_have_them() -> None:
    primary = protected("b", "c")
    append(primary, START, CLOCK)
    answer(primary, START, "b", 1)
    assert primary.journal.since(0)
    (told,) = sent(primary.tick(START + TIMING.interval), Query, "c")
    assert told.stable == 0
    answer(primary, START, "c", 1)
    assert not primary.journal.since(0)


def test_a_secondary_keeps_them_as_long() -> None:
    secondary = following("b", "c")
    secondary.received(START, "a", batch(0, [CLOCK, LINE]))
    secondary.received(START, "a", query(released=0, stable=0))
    assert secondary.journal.since(0)
    secondary.received(START, "a", query(stable=2))
    assert not secondary.journal.since(0) and secondary.stable == 2


def test_what_somebody_lost_is_sent_to_nobody_else() -> None:
    primary = protected("b", "c")
    for at in (0, 1):
        append(primary, START + at * MS, CLOCK)
    actions = primary.received(START + 2 * MS, "b", Answer(START + MS, LEASE, 0, 0))
    assert len(sent(actions, Batch, "b")) == 2 and not sent(actions, Batch, "c")


def test_the_slowest_holds_the_guest_back() -> None:
    primary = protected("b", "c")
    append(primary, START, CLOCK)
    late = START + TIMING.max_lag + 1
    primary.received(late, "b", Answer(0, 0, 1, 1))
    assert primary.slowed(late) and primary.lag(late) == (1, late - START)
    primary.received(late, "c", Answer(0, 0, 1, 1))
    assert not primary.slowed(late) and primary.lag(late) == (0, 0)


# Without somebody


def test_who_is_lost_is_left_out_by_the_next_generation() -> None:
    primary = protected("b", "c")
    append(primary, START, CLOCK, LINE)
    answer(primary, START + MS, "b", 2)
    actions = primary.received(START + MS, "c", Goodbye("the disk is gone"))
    assert Claim(1, leave_out=frozenset("c")) in actions and not releases(actions)
    assert not releases(answer(primary, START + 2 * MS, "b", 2)), "c may claim until then"
    won = primary.arbiter_answered(START + 3 * MS, record(2, "a", "b"))
    assert primary.state is State.PROTECTED and set(primary.followers) == {"b"}
    assert releases(won) == [2] and Resume() in won
    assert sent(won, Ruling, "b") == [ruling(2, "a", "b")] and not sent(won, Ruling, "c")


def test_an_arbiter_that_does_not_answer_leaves_nobody_out() -> None:
    primary = protected("b", "c")
    append(primary, START, CLOCK, LINE)
    primary.received(START, "c", Goodbye("the disk is gone"))
    answer(primary, START, "b", 2)
    primary.arbiter_answered(START, None)
    assert not releases(answer(primary, START + MS, "b", 2))
    assert set(primary.followers) == {"b", "c"}
    assert Claim(1, leave_out=frozenset("c")) in primary.tick(START + TIMING.interval)


def test_two_that_are_silent_are_left_out_together() -> None:
    primary, actions = protected("b", "c"), list[Action]()
    while primary.state is State.PROTECTED:
        actions = primary.tick(primary.deadline())
    assert Claim(1, leave_out=frozenset("bc")) in actions
    primary.arbiter_answered(START, record(2, "a"))
    assert primary.state is State.ALONE


def test_who_leaves_meanwhile_is_left_out_next() -> None:
    primary = protected("b", "c")
    primary.received(START, "c", Goodbye("going"))
    assert primary.received(START, "b", Goodbye("going, too")) == []
    again = primary.arbiter_answered(START, record(2, "a", "b"))
    assert again == [
        Notice("the secondary has left: going, too"),
        Claim(2, leave_out=frozenset("b")),
    ]
    primary.arbiter_answered(START, record(3, "a"))
    assert primary.state is State.ALONE


def test_a_primary_that_leaves_as_the_last_ends_the_guest() -> None:
    """All were asked to leave at once."""
    primary = protected("b", "c")
    primary.leave(START, "why")
    for member in ("c", "b"):
        primary.received(START, member, Goodbye("why"))
    primary.arbiter_answered(START, record(2, "a", "b"))
    actions = primary.arbiter_answered(START, record(3, "a"))
    assert primary.state is State.FINISHED and kinds(actions) == {Stop}


def test_who_was_left_out_is_told_and_stops() -> None:
    primary = protected("b", "c")
    primary.received(START, "c", Goodbye("the disk is gone"))
    primary.arbiter_answered(START, record(2, "a", "b"))
    (told,) = sent(primary.received(START, "c", query(1)), Ruling)
    assert told == ruling(2, "a", "b")
    assert kinds(following("c", "b").received(START, "a", told)) == {Stop}


def test_a_new_generation_of_the_same_owner_is_followed_without_a_pause() -> None:
    secondary = following("b", "c")
    secondary.received(START, "a", ruling(2, "a", "b"))
    assert (secondary.state, secondary.generation) == (State.FOLLOWING, 2)
    assert secondary.others == frozenset()


# Switchovers


def test_who_has_executed_most_takes_over() -> None:
    primary = protected("b", "c")
    append(primary, START, CLOCK)
    answer(primary, START, "b", 1, executed=1)
    answer(primary, START, "c", 1)
    assert primary.switchover(START) == [Hold()]
    actions = primary.held(START, Position(1))
    assert sent(actions, Handover, "b") and not sent(actions, Handover, "c")


def test_who_is_not_connected_does_not() -> None:
    primary = protected("b", "c")
    primary.disconnected(START, "c")
    primary.switchover(START)
    assert sent(primary.held(START, Position(1)), Handover, "b")


def test_all_follow_the_new_one() -> None:
    primary = protected("b", "c")
    primary.switchover(START)
    primary.held(START, Position(1))
    target = primary._target
    (other,) = {"b", "c"} - {target}
    rules = ruling(2, target, "a", other)
    assert Follow(2, target, 0, Position(1)) in primary.received(START, other, rules), (
        "whoever says it"
    )
    secondary = following(other, target)
    assert sent(secondary.received(START, target, rules), Hello, target)


def test_who_handed_over_looks_only_after_that_one() -> None:
    primary = protected("b", "c")
    primary.switchover(START)
    primary.held(START, Position(1))
    (other,) = {"b", "c"} - {primary._target}
    assert not kinds(primary.received(START, other, Goodbye("going"))) & {Claim, Notice}
    assert primary.state is State.HANDED_OVER


@pytest.mark.parametrize(
    ("found", "left"), [(record(2, "a", "b"), State.PROTECTED), (record(2, "a"), State.ALONE)]
)
def test_a_primary_that_is_to_leave_does_as_soon_as_it_may(found: Record, left: State) -> None:
    primary = protected("b", "c")
    primary.received(START, "c", Goodbye("going"))
    assert primary.leave(START, "why") == []
    actions = primary.arbiter_answered(START, found)
    if left is State.PROTECTED:
        assert Hold() in actions
    else:
        assert primary.state is State.FINISHED

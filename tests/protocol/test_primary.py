"""A primary's rules: what is sent, what is released, and when to go on without somebody."""

from __future__ import annotations

import pytest
from protocol.roles import (
    CLOCK,
    LINE,
    START,
    TIMING,
    alone,
    answer,
    append,
    claiming,
    hello,
    kinds,
    protected,
    record,
    releases,
    ruling,
    sent,
    unanswered,
    waiting,
    went_live,
)

from vlockstep.errors import UsageError
from vlockstep.protocol.actions import Action, Announce, Claim, Release, Send, Start, Stop
from vlockstep.protocol.journal import Batch as Kept
from vlockstep.protocol.messages import (
    Answer,
    Batch,
    Goodbye,
    Query,
    Refuse,
    Ruling,
    Welcome,
)
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND as MS
from vlockstep.protocol.timing import Timing
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, Kind
from vlockstep.wire.codec import MessageError

# Releasing


def test_an_output_waits_for_its_acknowledgement() -> None:
    primary = protected()
    assert not releases(append(primary, START, CLOCK, LINE))
    assert not releases(answer(primary, START + MS, "b", 1))
    assert releases(answer(primary, START + 2 * MS, "b", 2)) == [2]


def test_an_acknowledgement_permits_nothing_once_its_lease_is_over() -> None:
    primary = protected()
    append(primary, START, CLOCK, LINE)
    late = START + 51 * MS
    actions = answer(primary, late, "b", 2)
    assert not releases(actions)
    (query,) = sent(actions, Query)
    again = Answer(query.sent, query.lease, 2, 0)
    assert releases(primary.received(late + MS, "b", again)) == [2]


def test_a_release_ends_with_the_lease() -> None:
    primary = protected()
    append(primary, START, CLOCK, LINE)
    assert answer(primary, START + MS, "b", 2) == [Release(2, START + 50 * MS)]


def test_what_was_not_made_is_not_called_released() -> None:
    primary = protected()
    append(primary, START, CLOCK, LINE, LINE)
    answer(primary, START + MS, "b", 3)
    primary.performed(START + MS, 2)
    assert primary.released == 2
    assert releases(answer(primary, START + 2 * MS, "b", 3)) == [3]


def test_the_lease_follows_the_round_trip_up_to_what_counts_as_dead() -> None:
    primary = protected()
    assert primary.lease == TIMING.interval
    append(primary, START, CLOCK)
    answer(primary, START + 100 * MS, "b", 1)
    assert primary.lease == 200 * MS
    append(primary, START + 100 * MS, CLOCK)
    primary.received(START + 900 * MS, "b", Answer(START + 100 * MS, 200 * MS, 2, 0))
    assert primary.lease == TIMING.dead


def test_an_output_that_comes_too_late_asks_for_a_longer_lease() -> None:
    primary = protected()
    append(primary, START, CLOCK, LINE)
    before = primary.lease
    for _ in range(20):
        primary.expired()
    assert before < primary.lease <= TIMING.max_lease
    answer(primary, START + MS, "b", 2)
    primary.performed(START + MS, 2)
    assert primary.lease == before


@pytest.mark.parametrize(
    "given", [Answer(0, 0, 5, 0), Answer(0, 0, 0, 1), Answer(START * 2, 1, 0, 0)]
)
def test_an_answer_to_what_was_never_asked_is_refused(given: Answer) -> None:
    with pytest.raises(MessageError):
        protected().received(START, "b", given)


def test_answers_of_somebody_who_follows_no_more_permit_nothing() -> None:
    primary = protected()
    append(primary, START, CLOCK, LINE)
    primary.disconnected(START, "b")
    assert not answer(primary, START + MS, "b", 2)


# Sending


def test_entries_go_with_who_made_them() -> None:
    primary = protected()
    (batch,) = sent(append(primary, START, CLOCK, LINE), Batch)
    assert codec.decode(batch.entries) == (0, [CLOCK, LINE])
    assert (batch.generation, batch.origin) == (1, 1)


def test_entries_not_acknowledged_are_sent_again_to_a_secondary_that_comes_back() -> None:
    primary = protected()
    for _ in range(3):
        append(primary, START, CLOCK)
    answer(primary, START + MS, "b", 1)
    primary.disconnected(START + 2 * MS, "b")
    actions = primary.received(START + 3 * MS, "b", hello(1, origin=1))
    assert sent(actions, Welcome) == [Welcome(1, 1, {})]
    assert [codec.decode(batch.entries)[0] for batch in sent(actions, Batch)] == [1, 2]
    assert primary.state is State.PROTECTED


def test_nothing_is_sent_to_who_is_not_connected() -> None:
    primary = protected()
    primary.disconnected(START, "b")
    assert not sent(append(primary, START, CLOCK), Batch)
    assert not sent(primary.tick(START + 10 * MS), Query)


def test_a_batch_is_sent_again_once_when_an_answer_to_what_followed_shows_that_it_got_lost() -> (
    None
):
    primary = protected()
    for at in range(3):
        append(primary, START + at * MS, CLOCK)
    now = START + 9 * MS
    assert not sent(primary.received(now, "b", Answer(START + MS, 0, 2, 0)), Batch)
    late = Answer(START + 3 * MS, 0, 2, 0)
    assert [b.entries for b in sent(primary.received(now, "b", late), Batch)] == [
        codec.encode(2, [CLOCK])
    ]
    assert not sent(primary.received(now, "b", late), Batch)


def test_what_a_secondary_said_before_it_had_more_is_answered_and_sends_nothing_again() -> None:
    """It is to know that it is welcome."""
    primary = protected()
    append(primary, START, CLOCK)
    answer(primary, START, "b", 1)
    assert primary.received(START, "b", hello(0)) == [Send(Welcome(1, 0, {}), "b")]


def test_the_guest_is_slowed_when_the_secondary_lags_in_time_or_bytes() -> None:
    primary = protected()
    append(primary, START, CLOCK)
    assert not primary.slowed(START + TIMING.max_lag)
    assert primary.slowed(START + TIMING.max_lag + 1)
    primary.received(START + TIMING.max_lag + 1, "b", Answer(0, 0, 1, 1))
    assert not primary.slowed(START + 2 * TIMING.max_lag)

    far = protected()
    answer(far, START + 80 * MS, "b", 0)
    append(far, START + 80 * MS, CLOCK)
    assert not far.slowed(START + 160 * MS + TIMING.max_lag)
    assert far.slowed(START + 160 * MS + TIMING.max_lag + 1)

    small = protected("b", timing=Timing(max_log=1 << 16))
    frame: Entry = (Kind.NET_READ, 0, 0, (1, bytes(1 << 15)), b"")
    append(small, START, frame)
    assert not small.slowed(START)
    append(small, START, frame)
    assert small.slowed(START)


@pytest.mark.parametrize(
    "limits",
    [{"interval": MS - 1}, {"misses": 1}, {"max_lag": 10 * MS - 1}, {"max_log": (1 << 16) - 1}],
)
def test_limits_that_no_pair_could_keep(limits: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Timing(**limits)


# At the start


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (hello(image="other"), "image"),
        (hello(guest="another"), "arbiter"),
    ],
)
def test_who_cannot_follow_is_told_why(greeting: object, reason: str) -> None:
    primary = waiting()
    (refusal,) = sent(primary.received(START, "b", greeting), Refuse)  # type: ignore[arg-type]
    assert reason in refusal.reason
    assert primary.state is State.WAITING and not primary.followers


@pytest.mark.parametrize("gone", ["goodbye", "lost", "silent"])
def test_a_secondary_that_cannot_follow_leaves_the_primary_waiting(gone: str) -> None:
    primary = waiting()
    primary.received(START, "b", hello())
    actions: list[Action] = []
    match gone:
        case "goodbye":
            actions = primary.received(START, "b", Goodbye("another disk"))
        case "lost":
            actions = primary.disconnected(START, "b")
        case "silent":
            while primary.followers:
                actions = primary.tick(primary.deadline())
    assert primary.state is State.WAITING
    assert not kinds(actions) & {Start, Claim}
    assert sent(primary.received(START, "c", hello()), Welcome)


def test_nobody_waits_for_ever_for_secondaries() -> None:
    for primary, told in ((waiting(), "no secondary came"), (waiting(2), "only 1 of 2")):
        primary.received(START, "b", hello()) if "1" in told else None
        actions: list[Action] = []
        while primary.state is State.WAITING:
            now = primary.deadline()
            primary.received(now, "b", Answer(0, 0, 0, 0))
            actions = primary.tick(now)
        assert now == START + TIMING.patience
        (stop,) = (action for action in actions if isinstance(action, Stop))
        assert told in stop.reason


def test_a_guest_starts_alone_only_with_the_arbiters_word() -> None:
    """The secondary was ready, and may have been asked; so it may have gone live meanwhile."""
    primary = unanswered("b")
    actions: list[Action] = []
    while primary.state is State.PROTECTED:
        actions += primary.tick(primary.deadline())
    assert Claim(1, leave_out=frozenset("b")) in actions and Start({}) not in actions
    assert Start({}) in primary.arbiter_answered(START, record(2, "a"))


def test_a_guest_starts_and_is_announced_only_within_the_lease() -> None:
    primary = unanswered("b")
    late = START + 51 * MS
    assert answer(primary, late, "b", 0) == []
    (query,) = sent(primary.tick(late), Query)
    given = Answer(query.sent, query.lease, 0, 0)
    assert primary.received(late + MS, "b", given) == [Start({}), Announce()]


def test_nor_while_the_primary_asks_the_arbiter() -> None:
    primary = unanswered("b")
    primary.received(START, "b", Goodbye("the disk is gone"))
    assert answer(primary, START + MS, "b", 0) == []


def test_a_primary_that_loses_its_first_generation_never_starts() -> None:
    primary = claiming("b")
    (stop,) = primary.arbiter_answered(START, record(1, "x", "y"))
    assert isinstance(stop, Stop) and primary.idle


def test_a_primary_that_leaves_before_its_guest_has_started_says_so() -> None:
    assert waiting().leave(START, "why") == [Stop("why")]
    welcoming = waiting()
    welcoming.received(START, "b", hello())
    for primary in (welcoming, unanswered("b")):
        assert primary.leave(START, "why") == [Send(Goodbye("why"), "b"), Stop("why")]
        assert primary.idle


# Without a secondary


def test_a_silent_secondary_is_left_out_only_with_the_arbiters_word() -> None:
    primary = protected()
    append(primary, START, CLOCK, LINE)
    now = START
    while primary.state is State.PROTECTED:
        now = primary.deadline()
        actions = primary.tick(now)
    assert now == START + TIMING.dead
    claim = Claim(1, leave_out=frozenset("b"))
    assert claim in actions
    assert not releases(primary.arbiter_answered(now, None))
    assert not releases(primary.tick(now + 10 * MS))
    assert claim in primary.tick(now + TIMING.interval)
    won = primary.arbiter_answered(now + TIMING.interval, record(2, "a"))
    assert releases(won) == [2]
    assert (primary.state, primary.generation) == (State.ALONE, 2)


def test_an_arbiter_that_does_not_answer_is_told_of_once() -> None:
    primary = protected()
    primary.received(START, "b", Goodbye("diverged"))
    assert len(primary.arbiter_answered(START, None)) == 1
    primary.tick(START + TIMING.interval)
    assert primary.arbiter_answered(START + TIMING.interval, None) == []


def test_who_loses_at_the_arbiter_stops() -> None:
    primary = protected()
    append(primary, START, CLOCK, LINE)
    primary.received(START, "b", Goodbye("diverged"))
    (stop,) = primary.arbiter_answered(START, record(2, "b"))
    assert isinstance(stop, Stop) and primary.state is State.STOPPED


def test_the_answer_to_an_earlier_claim_is_not_that_to_this_one() -> None:
    primary = went_live(3, "b", next=0)
    primary.received(START, "b", Goodbye("diverged"))
    assert primary.arbiter_answered(START, record(2, "x", "a", "b")) == []
    assert primary.arbiter_answered(START, record(3, "a", "b")) == []
    assert primary.state is State.CLAIMING


def test_a_secondary_that_comes_back_while_it_is_left_out_may_have_claimed() -> None:
    primary = protected()
    primary.received(START, "b", Goodbye("the disk is gone"))
    assert primary.state is State.CLAIMING
    assert primary.received(START, "b", hello()) == []


def test_who_was_left_out_is_told_so_and_cannot_come_back() -> None:
    actions = alone().received(START, "b", hello(3, origin=1))
    assert sent(actions, Ruling) == [ruling(2, "a")]
    assert "left out" in sent(actions, Refuse)[0].reason


def test_a_primary_that_was_itself_stopped_blames_nobody_at_once() -> None:
    primary = protected()
    primary.tick(START + 50 * TIMING.dead)
    assert primary.state is State.PROTECTED


def test_the_one_it_replaced_is_told_to_stop() -> None:
    new, old = alone(), protected()
    (told,) = sent(new.received(START, "x", Query(1, START, 0, 0, 0)), Ruling)
    assert told == ruling(2, "a")
    assert Stop in kinds(old.received(START, "b", ruling(2, "b")))


def test_who_knows_as_much_is_told_nothing() -> None:
    assert alone().received(START, "x", Query(2, START, 0, 0, 0)) == []


def test_who_takes_over_with_a_follower_announces_itself_when_that_has_answered() -> None:
    replica = went_live(2, "b", next=3)
    replica.journal.add(Kept(0, 3, 1, b""))
    assert kinds(replica.begin(START)) == {Send}
    replica.received(START, "b", hello(3, origin=1))
    replica.tick(START + TIMING.interval)
    asked = START + TIMING.interval
    answers = [Answer(asked, 50 * MS, 3, 3)] * 2
    assert Announce() in replica.received(asked + MS, "b", answers[0])
    assert Announce() not in replica.received(asked + 2 * MS, "b", answers[1])

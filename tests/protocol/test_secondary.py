"""A secondary's rules: what is acknowledged, and when to go live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from protocol.roles import (
    CLOCK,
    END,
    LINE,
    START,
    THERE,
    TIMING,
    batch,
    following,
    joining,
    query,
    ready,
    record,
    ruling,
    sent,
)

from vlockstep.machine.position import BOOT
from vlockstep.protocol.actions import (
    Action,
    Claim,
    Deliver,
    Dial,
    Done,
    Forget,
    GoLive,
    Send,
    Stop,
)
from vlockstep.protocol.messages import (
    Answer,
    Batch,
    Finished,
    Goodbye,
    Handover,
    Hello,
    Join,
    Query,
    Refuse,
    Ruling,
    Welcome,
)
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND as MS
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, Kind


def claiming() -> Secondary:
    secondary = following()
    secondary.received(START, "a", batch(0, [CLOCK, LINE]))
    secondary.received(START, "a", Goodbye("the disk is gone"))
    assert secondary.state is State.CLAIMING
    return secondary


# At the start


def test_who_greets_a_secondary_is_sent_on_to_its_primary() -> None:
    """And greets both until the primary answers: if that one is dead, the other is its heir."""
    secondary = following()
    told = sent(secondary.received(START, "stranger", Hello("image", 0, 0, "", "")), Ruling)
    assert [(word.generation, word.owner) for word in told] == [(1, "a")]
    newcomer = joining()
    newcomer.connected(START, "b")
    sent_on = newcomer.received(START, "b", Ruling(1, "a", {"a": "tcp://a", "b": ""}))
    assert Dial("a", "tcp://a") in sent_on
    assert sent(newcomer.connected(START, "a"), Hello, "a")
    assert sent(newcomer.tick(newcomer.deadline()), Hello, "b")
    newcomer.received(START, "a", Join(1, {}))
    assert (newcomer.state, newcomer.owner) == (State.LOADING, "a")


def test_who_has_joined_and_was_not_told_asks_the_arbiter() -> None:
    """The primary may have taken it in and died with the word on its way."""
    newcomer = joining()
    newcomer.connected(START, "a")
    newcomer.received(START, "a", Join(1, {}))
    newcomer.loaded(START, 5, BOOT, 1, [])
    claimed = newcomer.disconnected(START, "a")
    assert isinstance(claimed[-1], Claim) and newcomer.state is State.CLAIMING
    newcomer.arbiter_answered(START, record(2, "a", "b"))
    assert (newcomer.state, newcomer.owner) == (State.PARTED, "a")
    stranger = joining("c")
    stranger.connected(START, "a")
    stranger.received(START, "a", Join(1, {}))
    stranger.loaded(START, 5, BOOT, 1, [])
    stranger.disconnected(START, "a")
    (stop,) = stranger.arbiter_answered(START, record(2, "a", "b"))
    assert isinstance(stop, Stop)


def test_who_is_to_go_live_sends_nobody_on() -> None:
    newcomer = joining()
    newcomer.connected(START, "b")
    assert newcomer.received(START, "b", Ruling(2, "b", {"b": "tcp://b"})) == []


def test_who_cannot_be_sent_on_stops() -> None:
    newcomer = joining()
    newcomer.connected(START, "b")
    (stop,) = newcomer.received(START, "b", Ruling(1, "a", {"a": "", "b": ""}))
    assert isinstance(stop, Stop) and "join that one" in stop.reason


def test_it_says_hello_until_it_is_welcome() -> None:
    secondary = joining()
    assert sent(secondary.connected(START, "a"), Hello, "a") == [Hello("image", 0, 0, "", THERE)]
    assert sent(secondary.tick(secondary.deadline()), Hello, "a")


def test_who_is_refused_stops() -> None:
    (stop,) = joining().received(START, "a", Refuse("another image"))
    assert isinstance(stop, Stop) and "another image" in stop.reason


@pytest.mark.parametrize("noticed", ["tick", "lost", "goodbye"])
def test_left_before_the_start_it_stops(noticed: str) -> None:
    """The primary may wait for another secondary, and start its guest with that one."""
    secondary, actions = ready(), list[Action]()
    match noticed:
        case "tick":
            while secondary.state is State.READY:
                now = secondary.deadline()
                assert now <= START + TIMING.starting
                actions = secondary.tick(now)
        case "lost":
            actions = secondary.disconnected(START, "a")
        case "goodbye":
            actions = secondary.received(START, "a", Goodbye("going"))
    assert isinstance(actions[-1], Stop)


def test_a_look_at_who_is_there_does_not_begin_the_protection() -> None:
    """The primary may have given this replica up, and run the guest with another."""
    secondary = ready()
    secondary.received(START, "a", query(0, lease=0))
    assert secondary.state is State.READY
    while secondary.state is State.READY:
        actions = secondary.tick(secondary.deadline())
    assert isinstance(actions[-1], Stop)


# Following


def test_entries_are_acknowledged_when_received() -> None:
    content = codec.encode(0, [CLOCK, LINE])
    actions = following().received(START, "a", batch(0, [CLOCK, LINE]))
    assert actions == [
        Send(Answer(START, 50 * MS, 2, 0), "a"),
        Deliver(0, [CLOCK, LINE], content),
    ]


def test_an_entry_twice_is_taken_once() -> None:
    secondary = following()
    secondary.received(START, "a", batch(0, [CLOCK, LINE]))
    later: Entry = (Kind.CYCLES, 2, 0, 7, b"")
    actions = secondary.received(START, "a", batch(1, [LINE, later]))
    assert Deliver(2, [later], codec.encode(2, [later])) in actions
    assert secondary.received_entries == 3


def test_a_gap_is_not_acknowledged() -> None:
    secondary = following()
    told = Send(Answer(START, 50 * MS, 0, 0), "a")
    assert secondary.received(START, "a", batch(3, [CLOCK])) == [told]
    assert secondary.received_entries == 0


def test_a_malformed_batch_ends_the_replica() -> None:
    actions = following().received(START, "a", Batch(1, START, 0, 0, 0, 1, b"rubbish"))
    assert sent(actions, Goodbye) and isinstance(actions[-1], Stop)


@pytest.mark.parametrize("message", [batch(0, [CLOCK]), query(), Finished(START)])
def test_only_the_owner_is_followed(message: Batch | Query | Finished) -> None:
    secondary = following("b", "c")
    assert secondary.received(START, "c", message) == []
    assert secondary.received_entries == 0


def test_an_owner_of_before_is_told_who_rules() -> None:
    secondary = following("b", "c")
    secondary.received(START, "c", ruling(2, "c", "b"))
    assert secondary.received(START, "a", query(1)) == [Send(ruling(2, "c", "b"), "a")]


def test_what_the_guest_takes_is_told_now_and_then() -> None:
    secondary = following()
    secondary.received(START, "a", batch(0, [CLOCK]))
    secondary.progressed(START + MS, 1)
    assert not sent(secondary.tick(START + 2 * MS), Answer)
    now = secondary.deadline()
    assert sent(secondary.tick(now), Answer) == [Answer(0, 0, 1, 1)]
    assert now < START + TIMING.interval


def test_outputs_are_forgotten_when_the_primary_has_made_them() -> None:
    secondary = following()
    secondary.received(START, "a", batch(0, [CLOCK, LINE, LINE]))
    assert list(secondary.outputs) == [1, 2]
    assert Forget(2) in secondary.received(START, "a", query(released=2))
    assert list(secondary.outputs) == [2]


# Going live


@pytest.mark.parametrize("lease", [50 * MS, 200 * MS])
def test_a_promise_is_kept_when_the_connection_drops(lease: int) -> None:
    secondary = following()
    answered = START + 5 * MS
    secondary.received(answered, "a", batch(0, [CLOCK], lease=lease))
    secondary.disconnected(answered + MS, "a")
    now = answered + MS
    while secondary.state is State.PARTED:
        now = secondary.deadline()
        secondary.tick(now)
    assert secondary.state is State.CLAIMING
    assert now > answered + lease


def test_a_lease_that_is_too_long_is_not_granted() -> None:
    secondary = following()
    (given,) = sent(secondary.received(START, "a", query(lease=100 * TIMING.max_lease)), Answer)
    assert given.lease == TIMING.max_lease


def test_no_promise_is_made_to_who_is_not_followed() -> None:
    secondary = claiming()
    assert [a.lease for a in sent(secondary.received(START, "a", query()), Answer)] == [0]


def test_it_goes_live_only_with_the_arbiters_word() -> None:
    secondary = following()
    secondary.received(START, "a", batch(0, [CLOCK, LINE]))
    now = START
    while secondary.state is State.FOLLOWING:
        now = secondary.deadline()
        actions = secondary.tick(now)
    assert now == START + TIMING.dead
    assert Claim(1, leave_out=frozenset("a")) in actions
    assert secondary.received(now, "a", batch(2, [CLOCK])) == []
    assert not any(isinstance(a, GoLive) for a in secondary.arbiter_answered(now, None))
    assert secondary.arbiter_answered(now, record(2, "b")) == [GoLive(2, frozenset())]
    assert list(secondary.outputs) == [1]


def test_an_unknown_answer_is_asked_for_again() -> None:
    secondary = claiming()
    secondary.arbiter_answered(START, None)
    assert secondary.tick(START + TIMING.interval - 1) == []
    assert secondary.tick(secondary.deadline()) == [Claim(1, leave_out=frozenset("a"))]
    assert secondary.tick(START + 100 * TIMING.dead) == [], "one claim at a time"


def test_who_loses_to_one_that_left_it_out_stops() -> None:
    (stop,) = claiming().arbiter_answered(START, record(2, "a"))
    assert isinstance(stop, Stop)


def test_a_diverged_secondary_never_goes_live() -> None:
    secondary = following()
    actions = secondary.diverged(START, "the registers differ")
    assert sent(actions, Goodbye)
    assert secondary.state is State.STOPPED
    assert secondary.arbiter_answered(START, record(2, "b")) == []


def test_one_that_diverges_while_it_goes_live_stops() -> None:
    secondary = claiming()
    secondary.arbiter_answered(START, record(2, "b"))
    assert secondary.state is State.LIVE
    assert isinstance(secondary.diverged(START, "other registers")[-1], Stop)


@pytest.mark.parametrize(
    "word", [query(), batch(0, [CLOCK]), Handover(0, 1, 7), Hello("", 0, 0, "", "")]
)
def test_who_is_live_says_so(word: Query | Batch | Handover | Hello) -> None:
    secondary = claiming()
    secondary.arbiter_answered(START, record(2, "b"))
    assert sent(secondary.received(START, "a", word), Ruling) == [ruling(2, "b")]


# Leaving, and the end


def test_a_secondary_that_may_be_live_already_leaves_when_that_shows() -> None:
    secondary = claiming()
    assert secondary.leave(START, "why") == []
    assert GoLive(2, frozenset()) in secondary.arbiter_answered(START, record(2, "b"))


def test_a_secondary_that_is_to_leave_does_not_ask_an_arbiter_again() -> None:
    secondary = claiming()
    secondary.leave(START, "why")
    secondary.arbiter_answered(START, None)
    assert secondary.tick(secondary.deadline()) == [Stop("why")]


def test_a_secondary_that_lost_its_primary_does_not_say_that_the_guest_goes_on() -> None:
    secondary = following()
    told = Send(Goodbye("why"), "a")
    assert secondary.leave(START, "why") == [told, Stop("why", orderly=True)]
    secondary = following()
    secondary.disconnected(START, "a")
    assert secondary.leave(START, "why") == [told, Stop("why")]


def test_a_secondary_whose_guest_has_ended_but_for_the_rest_sees_it_end() -> None:
    secondary = following()
    secondary.received(START, "a", batch(0, [CLOCK, LINE, END]))
    secondary.received(START, "a", Finished(START))
    assert secondary.state is State.DRAINED
    assert secondary.leave(START, "why") == []
    assert secondary.progressed(START, 3) == [Done()]


def test_each_word_that_the_guest_has_ended_is_answered() -> None:
    secondary = following()
    secondary.received(START, "a", batch(0, [CLOCK, LINE, END]))
    for _ in range(2):
        assert sent(secondary.received(START, "a", Finished(START)), Answer)
    assert secondary.state is State.DRAINED


def test_an_end_that_was_not_received_is_not_believed() -> None:
    secondary = following()
    assert secondary.received(START, "a", Finished(START)) == []
    assert secondary.state is State.FOLLOWING


# Nobody waits for ever


@pytest.mark.parametrize("make", [joining, ready, following])
def test_a_secondary_that_hears_nothing_does_something_final(
    make: Callable[[], Secondary],
) -> None:
    role = make()
    patience = max(TIMING.patience, 2 * TIMING.starting)
    while role.state not in (State.STOPPED, State.CLAIMING):
        now = role.deadline()
        assert now <= START + patience
        role.tick(now)


def test_a_welcome_to_another_entry_is_none() -> None:
    secondary = joining()
    assert secondary.received(START, "a", Welcome(0, 7, {})) == []
    assert secondary.state is State.JOINING


def test_one_that_comes_back_while_entries_are_under_way_follows_again() -> None:
    """The welcome tells of fewer entries than have come since it was asked for."""
    secondary = following()
    secondary.disconnected(START, "a")
    secondary.received(START, "a", batch(0, [CLOCK]))
    assert secondary.state is State.PARTED
    secondary.received(START, "a", Welcome(1, 0, {}))
    assert secondary.state is State.FOLLOWING and secondary.received_entries == 1


def test_one_that_claims_in_vain_since_the_guest_has_ended_stops_in_order() -> None:
    secondary = following()
    while secondary.state is not State.CLAIMING:
        secondary.tick(secondary.deadline())
    (stop,) = secondary.arbiter_answered(START, replace(record(1, "a", "b"), ended=True))
    assert stop == Stop("the guest has ended", orderly=True)

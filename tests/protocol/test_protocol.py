"""The rules of the protocol objects, one by one, without any I/O."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vlockstep.arbiter import Verdict
from vlockstep.errors import UsageError
from vlockstep.machine.position import Position
from vlockstep.protocol.messages import (
    PROTOCOL,
    Answer,
    Batch,
    Finished,
    Goodbye,
    Handover,
    Hello,
    Message,
    Query,
    Refuse,
    TookOver,
    Welcome,
)
from vlockstep.protocol.primary import HOLD_LIMIT, MAX_BATCH, Primary
from vlockstep.protocol.role import (
    TRANSITIONS,
    Action,
    Announce,
    Claim,
    Deliver,
    Done,
    Follow,
    GoLive,
    Hold,
    Release,
    Reply,
    Resume,
    Send,
    Start,
    State,
    Stop,
)
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.timing import MILLISECOND as MS
from vlockstep.protocol.timing import Timing
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, Kind
from vlockstep.wire.codec import MessageError

START = 10_000 * MS
TIMING = Timing()
CLOCK: Entry = (Kind.CYCLES, 0, 0, 5, b"")
LINE: Entry = (Kind.CONSOLE, 1, 0, b"12345678", b"")
END: Entry = (Kind.END, 2, 0, b"", b"")


def sent(actions: list[Action], kind: type[Message]) -> list[Message]:
    return [a.message for a in actions if isinstance(a, Send) and isinstance(a.message, kind)]


def releases(actions: list[Action]) -> list[int]:
    return [a.end for a in actions if isinstance(a, Release)]


def protected() -> Primary:
    primary = Primary(TIMING, 1, "image", {}, START)
    actions = primary.received(START, Hello(PROTOCOL, "me", "image", 0))
    assert sent(actions, Welcome) and primary.state is State.WELCOMING
    assert sent(primary.received(START, Answer(0, 0, 0, 0)), Query)
    assert primary.state is State.PROTECTED
    assert Start({}) in primary.received(START, Answer(START, 1, 0, 0))
    return primary


def following() -> Secondary:
    secondary = Secondary(TIMING, "me", "image", START)
    secondary.received(START, Welcome(PROTOCOL, 1, 0, {}))
    assert secondary.state is State.READY
    secondary.received(START, Query(START, 50 * MS, 0))
    assert secondary.state is State.FOLLOWING
    return secondary


# The primary


def test_an_output_waits_for_its_acknowledgement() -> None:
    primary = protected()
    actions = primary.append(START, [CLOCK, LINE])
    assert not releases(actions)
    assert not releases(primary.received(START + MS, Answer(START, 50 * MS, 1, 0)))
    assert releases(primary.received(START + 2 * MS, Answer(START, 50 * MS, 2, 0))) == [2]


def test_an_acknowledgement_permits_nothing_once_its_lease_is_over() -> None:
    primary = protected()
    primary.append(START, [CLOCK, LINE])
    late = START + 51 * MS
    actions = primary.received(late, Answer(START, 50 * MS, 2, 0))
    assert not releases(actions)
    query = sent(actions, Query)[0]
    assert isinstance(query, Query)
    assert releases(primary.received(late + MS, Answer(query.sent, query.lease, 2, 0))) == [2]


def test_a_release_ends_with_the_lease() -> None:
    primary = protected()
    primary.append(START, [CLOCK, LINE])
    (release,) = primary.received(START + MS, Answer(START, 50 * MS, 2, 0))
    assert release == Release(2, START + 50 * MS)


def test_what_was_not_made_is_not_called_released() -> None:
    primary = protected()
    primary.append(START, [CLOCK, LINE, LINE])
    primary.received(START + MS, Answer(START, 50 * MS, 3, 0))
    primary.performed(START + MS, 2)
    assert primary.released == 2
    assert releases(primary.received(START + 2 * MS, Answer(START, 50 * MS, 3, 0))) == [3]


def test_the_lease_follows_the_round_trip_up_to_what_counts_as_dead() -> None:
    primary = protected()
    assert primary.lease == TIMING.interval
    primary.append(START, [CLOCK])
    primary.received(START + 100 * MS, Answer(START, 50 * MS, 1, 0))
    assert primary.lease == 200 * MS
    primary.append(START + 100 * MS, [CLOCK])
    primary.received(START + 900 * MS, Answer(START + 100 * MS, 200 * MS, 2, 0))
    assert primary.lease == TIMING.dead


@pytest.mark.parametrize(
    "answer", [Answer(0, 0, 5, 0), Answer(0, 0, 0, 1), Answer(START * 2, 1, 0, 0)]
)
def test_an_answer_to_what_was_never_asked_is_refused(answer: Answer) -> None:
    with pytest.raises(MessageError):
        protected().received(START, answer)


def test_entries_not_acknowledged_are_sent_again_to_a_secondary_that_comes_back() -> None:
    primary = protected()
    for _ in range(3):
        primary.append(START, [CLOCK])
    primary.received(START + MS, Answer(START, 50 * MS, 1, 0))
    primary.disconnected(START + 2 * MS)
    actions = primary.received(START + 3 * MS, Hello(PROTOCOL, "me", "image", 1))
    assert primary.state is State.PROTECTED
    batches = [codec.decode(b.entries) for b in sent(actions, Batch) if isinstance(b, Batch)]
    assert [first for first, _ in batches] == [1, 2]


def test_a_batch_is_sent_again_once_when_an_answer_to_what_followed_shows_that_it_got_lost() -> (
    None
):
    primary = protected()
    for at in range(3):
        primary.append(START + at * MS, [CLOCK])
    assert not sent(primary.received(START + 9 * MS, Answer(START + MS, 0, 2, 0)), Batch)
    late = Answer(START + 3 * MS, 0, 2, 0)
    assert [b.entries for b in sent(primary.received(START + 9 * MS, late), Batch)] == [
        codec.encode(2, [CLOCK])
    ]
    assert not sent(primary.received(START + 9 * MS, late), Batch)


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (Hello(PROTOCOL + 1, "me", "image", 0), "protocol"),
        (Hello(PROTOCOL, "me", "other", 0), "image"),
        (Hello(PROTOCOL, "me", "image", 9), "entry 9"),
    ],
)
def test_who_cannot_follow_is_told_why(hello: Hello, reason: str) -> None:
    primary = Primary(TIMING, 1, "image", {}, START)
    (refusal,) = sent(primary.received(START, hello), Refuse)
    assert isinstance(refusal, Refuse) and reason in refusal.reason
    assert primary.state is State.WAITING


def test_a_secondary_that_cannot_follow_leaves_the_primary_waiting() -> None:
    primary = Primary(TIMING, 1, "image", {}, START)
    primary.received(START, Hello(PROTOCOL, "me", "image", 0))
    actions = primary.received(START, Goodbye("another disk"))
    assert primary.state is State.WAITING
    assert not any(isinstance(a, Start | Claim) for a in actions)
    assert sent(primary.received(START, Hello(PROTOCOL, "another", "image", 0)), Welcome)


def test_a_guest_starts_alone_only_with_the_arbiters_word() -> None:
    """The secondary was ready, and may have been asked; so it may have gone live meanwhile."""
    primary = Primary(TIMING, 1, "image", {}, START)
    primary.received(START, Hello(PROTOCOL, "me", "image", 0))
    primary.received(START, Answer(0, 0, 0, 0))
    actions: list[Action] = []
    while primary.state is State.PROTECTED:
        actions += primary.tick(primary.deadline())
    assert Claim(1, alone=True) in actions and Start({}) not in actions
    assert Start({}) in primary.arbiter_answered(START, Verdict.WON)


def test_a_second_secondary_is_refused() -> None:
    actions = protected().received(START, Hello(PROTOCOL, "another", "image", 0))
    assert sent(actions, Refuse)


@pytest.mark.parametrize(
    "limits",
    [
        {"interval": MS - 1},
        {"misses": 1},
        {"max_lag": 10 * MS - 1},
        {"max_log": (1 << 16) - 1},
    ],
)
def test_limits_that_no_pair_could_keep(limits: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Timing(**limits)


def test_the_guest_is_slowed_when_the_secondary_lags_in_time_or_bytes() -> None:
    primary = protected()
    primary.append(START, [CLOCK])
    assert not primary.slowed(START + TIMING.max_lag)
    assert primary.slowed(START + TIMING.max_lag + 1)
    primary.received(START + TIMING.max_lag + 1, Answer(0, 0, 1, 1))
    assert not primary.slowed(START + 2 * TIMING.max_lag)

    far = protected()
    far.received(START + 80 * MS, Answer(START, 50 * MS, 0, 0))
    far.append(START + 80 * MS, [CLOCK])
    assert not far.slowed(START + 160 * MS + TIMING.max_lag)
    assert far.slowed(START + 160 * MS + TIMING.max_lag + 1)

    small = Primary(Timing(max_log=1 << 16), 1, "image", {}, START)
    small.received(START, Hello(PROTOCOL, "me", "image", 0))
    small.received(START, Answer(0, 0, 0, 0))
    frame: Entry = (Kind.NET_READ, 0, 0, (1, bytes(1 << 15)), b"")
    small.append(START, [frame])
    assert not small.slowed(START)
    small.append(START, [frame])
    assert small.slowed(START)


def test_a_silent_secondary_is_left_behind_only_with_the_arbiters_word() -> None:
    primary = protected()
    primary.append(START, [CLOCK, LINE])
    now = START
    while primary.state is State.PROTECTED:
        now = primary.deadline()
        actions = primary.tick(now)
    assert now == START + TIMING.dead
    assert Claim(1, alone=True) in actions
    assert not releases(primary.arbiter_answered(now, None))
    assert not releases(primary.tick(now + 10 * MS))
    assert Claim(1, alone=True) in primary.tick(now + TIMING.interval)
    assert releases(primary.arbiter_answered(now + TIMING.interval, Verdict.WON)) == [2]
    assert (primary.state, primary.generation) == (State.ALONE, 2)


def test_who_loses_at_the_arbiter_stops() -> None:
    primary = protected()
    primary.append(START, [CLOCK, LINE])
    primary.received(START, Goodbye("diverged"))
    (stop,) = primary.arbiter_answered(START, Verdict.LOST)
    assert isinstance(stop, Stop)
    assert primary.tick(START + 10 * TIMING.dead) == []


def test_a_primary_that_was_itself_stopped_blames_nobody_at_once() -> None:
    primary = protected()
    assert State.CLAIMING not in {primary.state}
    primary.tick(START + 50 * TIMING.dead)
    assert primary.state is State.PROTECTED


def test_the_end_is_the_last_output() -> None:
    primary = protected()
    primary.append(START, [CLOCK, LINE, END])
    primary.received(START + MS, Answer(START, 50 * MS, 3, 0))
    actions = primary.performed(START + MS, 3)
    assert sent(actions, Finished) and primary.state is State.FINISHING
    assert primary.received(START + 2 * MS, Answer(START + MS, 0, 3, 3)) == [Done()]


def test_the_one_it_replaced_is_told_to_stop() -> None:
    alone = Primary(TIMING, 2, "image", {}, START, next=5, state=State.ALONE)
    old = protected()
    (reply,) = sent(alone.received(START, Query(START, 0, 0)), TookOver)
    assert any(isinstance(a, Stop) for a in old.received(START, reply))


def test_entries_that_are_too_large_for_a_message_go_in_several() -> None:
    primary = protected()
    large: Entry = (Kind.BLOCK_READ, 0, 0, bytes(MAX_BATCH // 2), b"")
    batches = sent(primary.append(START, [large] * 7), Batch)
    sizes = [len(codec.decode(b.entries)[1]) for b in batches if isinstance(b, Batch)]
    assert sizes == [1] * 7
    firsts = [codec.decode(b.entries)[0] for b in batches if isinstance(b, Batch)]
    assert firsts == list(range(7))


# The secondary


def batch(first: int, entries: list[Entry], released: int = 0, lease: int = 50 * MS) -> Batch:
    return Batch(START, lease, released, codec.encode(first, entries))


@pytest.mark.parametrize("noticed", [Secondary.tick, Secondary.disconnected])
def test_left_before_the_start_it_stops(noticed: Callable[..., list[Action]]) -> None:
    """The primary may wait for another secondary, and start its guest with that one."""
    secondary = Secondary(TIMING, "me", "image", START)
    secondary.received(START, Welcome(PROTOCOL, 1, 0, {}))
    now = START
    while now < START + TIMING.starting:
        now += TIMING.interval
        actions = secondary.tick(now) if now < START + TIMING.starting else noticed(secondary, now)
    assert isinstance(actions[-1], Stop)


def test_entries_are_acknowledged_when_received() -> None:
    actions = following().received(START, batch(0, [CLOCK, LINE]))
    assert Deliver([CLOCK, LINE]) in actions
    assert sent(actions, Answer) == [Answer(START, 50 * MS, 2, 0)]


def test_an_entry_twice_is_taken_once() -> None:
    secondary = following()
    secondary.received(START, batch(0, [CLOCK, LINE]))
    later: Entry = (Kind.CYCLES, 2, 0, 7, b"")
    actions = secondary.received(START, batch(1, [LINE, later]))
    assert Deliver([later]) in actions
    assert secondary.received_entries == 3


def test_a_gap_is_not_acknowledged() -> None:
    secondary = following()
    assert secondary.received(START, batch(3, [CLOCK])) == [Send(Answer(START, 50 * MS, 0, 0))]
    assert secondary.received_entries == 0


def test_a_malformed_batch_ends_the_replica() -> None:
    secondary = following()
    actions = secondary.received(START, Batch(START, 0, 0, b"rubbish"))
    assert sent(actions, Goodbye) and isinstance(actions[-1], Stop)


@pytest.mark.parametrize("lease", [50 * MS, 200 * MS])
def test_a_promise_is_kept_when_the_connection_drops(lease: int) -> None:
    secondary = following()
    answered = START + 5 * MS
    secondary.received(answered, batch(0, [CLOCK], lease=lease))
    secondary.disconnected(answered + MS)
    now = answered + MS
    while secondary.state is State.PARTED:
        now = secondary.deadline()
        secondary.tick(now)
    assert secondary.state is State.CLAIMING
    assert now > answered + lease


def test_it_goes_live_only_with_the_arbiters_word() -> None:
    secondary = following()
    secondary.received(START, batch(0, [CLOCK, LINE], released=0))
    now = START
    while secondary.state is State.FOLLOWING:
        now = secondary.deadline()
        actions = secondary.tick(now)
    assert now == START + TIMING.dead
    assert Claim(1, alone=True) in actions
    assert secondary.received(now, batch(2, [CLOCK])) == []
    assert not any(isinstance(a, GoLive) for a in secondary.arbiter_answered(now, None))
    assert secondary.arbiter_answered(now, Verdict.WON) == [GoLive(2, protected=False)]
    assert list(secondary.outputs) == [1]


def test_a_diverged_secondary_never_goes_live() -> None:
    secondary = following()
    actions = secondary.diverged(START, "the registers differ")
    assert sent(actions, Goodbye)
    assert secondary.state is State.STOPPED
    assert secondary.tick(START + 10 * TIMING.dead) == []
    assert secondary.arbiter_answered(START, Verdict.WON) == []


def test_it_takes_over_only_when_all_is_executed() -> None:
    secondary = following()
    secondary.received(START, batch(0, [CLOCK, CLOCK], released=2))
    assert secondary.received(START, Handover(2, 1, 7)) == []
    assert secondary.progressed(START, 1) == []
    assert secondary.progressed(START, 2) == [Claim(1, alone=False)]
    took_over, live = secondary.arbiter_answered(START, Verdict.WON)
    assert took_over == Send(TookOver(2, False))
    assert live == GoLive(2, protected=True, not_before=Position(1, 7))


def test_a_handover_is_repeated_until_it_is_answered() -> None:
    primary = protected()
    primary.switchover(START)
    handover = sent(primary.held(START, Position(1, 7)), Handover)
    assert sent(primary.tick(START + TIMING.interval), Handover) == handover
    successor = Primary(TIMING, 2, "image", {}, START, state=State.PROTECTED)
    (took_over,) = successor.received(START, handover[0])
    assert took_over == Send(TookOver(2, False))
    assert Follow(2, 0) in primary.received(START, TookOver(2, False))


@pytest.mark.parametrize("took_over", [TookOver(3, False), TookOver(2, True)])
def test_who_handed_over_does_not_follow_one_that_has_gone_on_alone(took_over: TookOver) -> None:
    primary = protected()
    primary.switchover(START)
    primary.held(START, Position(1, 7))
    assert isinstance(primary.received(START, took_over)[-1], Stop)


def test_one_that_went_live_alone_says_so_to_who_hands_over() -> None:
    handover = Handover(0, 1, 7)
    secondary = following()
    secondary.disconnected(START)
    secondary.tick(secondary.deadline())
    secondary.arbiter_answered(START + TIMING.dead, Verdict.WON)
    assert secondary.state is State.LIVE
    assert secondary.received(START + TIMING.dead, handover) == [Send(TookOver(2, True))]
    for state in (State.ALONE, State.PROTECTED):
        primary = Primary(TIMING, 2, "image", {}, START, state=state)
        alone = state is State.ALONE
        assert primary.received(START, handover) == [Send(TookOver(2, alone))]


def test_a_primary_may_overrule_a_takeover_that_released_nothing() -> None:
    primary = protected()
    primary.switchover(START)
    assert sent(primary.held(START, Position(1, 7)), Handover)
    while primary.state is State.HANDED_OVER:
        now = primary.deadline()
        primary.tick(now)
    assert primary.arbiter_answered(now, Verdict.TAKEN_OVER) == [Claim(2, alone=True)]
    primary.arbiter_answered(now, Verdict.WON)
    assert (primary.state, primary.generation) == (State.ALONE, 3)


def test_but_not_one_that_went_live_alone() -> None:
    primary = protected()
    primary.switchover(START)
    primary.held(START, Position(1, 7))
    primary.received(START, Goodbye("going"))
    assert any(isinstance(a, Stop) for a in primary.arbiter_answered(START, Verdict.LOST))


# Both


def test_every_state_is_in_the_table_and_leads_to_states_in_it() -> None:
    assert set(TRANSITIONS) == set(State)
    reachable = {State.WAITING, State.JOINING, *(t for ts in TRANSITIONS.values() for t in ts)}
    assert reachable == set(State)


def test_a_step_outside_the_table_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        protected()._to(State.WAITING)


# Both


def claims_after(role: Primary | Secondary, noticed: str) -> int:
    """How long after the peer was last heard `role` claims, in ms."""
    now = START
    if noticed == "lost connection":
        role.disconnected(now)
    while True:
        now += MS
        if any(isinstance(action, Claim) for action in role.tick(now)):
            return (now - START) // MS


@pytest.mark.parametrize("noticed", ["silence", "lost connection"])
@pytest.mark.parametrize("make", [protected, following])
def test_one_without_a_network_lets_the_other_claim_first(
    make: Callable[[], Primary | Secondary], noticed: str
) -> None:
    usual = claims_after(make(), noticed)
    isolated = make()
    isolated.isolated = True
    assert claims_after(isolated, noticed) == usual + TIMING.dead // MS


@pytest.mark.parametrize("late", [0, 1, 20, 49, 60, 300], ids="{} ms".format)
@pytest.mark.parametrize("misses", [2, 3, 5])
@pytest.mark.parametrize("make", [protected, following])
def test_who_is_called_late_sees_silence_all_the_same(
    make: Callable[[], Primary | Secondary], misses: int, late: int
) -> None:
    """As many late calls as there are misses, and one more to be sure, are enough."""
    role = make()
    role.timing = Timing(misses=misses)
    calls = 0
    while role.state is not State.CLAIMING:
        role.tick(role.deadline() + late * MS)
        calls += 1
        assert calls <= misses + 1


@pytest.mark.parametrize("misses", [2, 3, 5])
@pytest.mark.parametrize("before", [0, 10, 49, 60, 99])
@pytest.mark.parametrize("make", [protected, following])
def test_who_was_stopped_listens_for_an_interval_before_it_judges(
    make: Callable[[], Primary | Secondary], before: int, misses: int
) -> None:
    """However long it stood still, and however long the peer had been silent before."""
    role = make()
    role.timing = Timing(misses=misses)
    for now in range(START, START + before * MS + 1, MS):
        role.tick(now)
    awake = START + before * MS + 10_000 * MS
    for now in range(awake, awake + 49 * MS, MS):
        role.tick(now)
        assert role.state is not State.CLAIMING
    role.received(now, Query(now, 50 * MS, 0))
    role.tick(now + 49 * MS)
    assert role.state is not State.CLAIMING


def test_a_lease_outlives_a_round_trip_that_is_longer_than_death() -> None:
    """Otherwise no answer would ever permit anything."""
    primary, secondary = protected(), following()
    primary.timing = secondary.timing = Timing(interval=2 * MS, misses=2)
    now = START
    for _ in range(8):
        (query,) = sent([Send(primary._query(now))], Query)
        (answer,) = sent(secondary.received(now + 10 * MS, query), Answer)
        primary.received(now + 20 * MS, answer)
        now += 20 * MS
    primary.append(now, [LINE])
    query = Query(now, primary.lease, 0)
    assert isinstance(query, Query) and query.lease == 40 * MS
    assert releases(primary.received(now + 20 * MS, Answer(now, query.lease, 1, 0))) == [1]


def test_a_primary_that_leaves_before_its_guest_has_started_says_so() -> None:
    waiting = Primary(TIMING, 1, "image", {}, START)
    assert waiting.leave(START, "why") == [Stop("why")]
    welcoming = Primary(TIMING, 1, "image", {}, START)
    welcoming.received(START, Hello(PROTOCOL, "me", "image", 0))
    welcomed = Primary(TIMING, 1, "image", {}, START)
    welcomed.received(START, Hello(PROTOCOL, "me", "image", 0))
    welcomed.received(START, Answer(0, 0, 0, 0))
    for primary in (welcoming, welcomed):
        assert primary.leave(START, "why") == [Send(Goodbye("why")), Stop("why")]
        assert primary.idle


def test_a_primary_whose_guest_does_not_stop_leaves_without_a_word() -> None:
    """Its secondary notices, and takes over."""
    primary = protected()
    assert primary.leave(START, "why") == [Hold()]
    now = START
    while primary.state is State.HOLDING:
        now = primary.deadline()
        primary.received(now, Answer(now, 50 * MS, 0, 0))
        actions = primary.tick(now)
    assert Stop("why") in actions and not sent(actions, Goodbye)
    assert now == START + HOLD_LIMIT


def test_a_secondary_that_may_be_live_already_leaves_when_that_shows() -> None:
    secondary = following()
    secondary.received(START, batch(0, [CLOCK, LINE], released=0))
    while secondary.state is not State.CLAIMING:
        secondary.tick(secondary.deadline())
    assert secondary.leave(START, "why") == []
    assert GoLive(2, protected=False) in secondary.arbiter_answered(START, Verdict.WON)


def test_a_secondary_that_lost_its_primary_does_not_say_that_the_guest_goes_on() -> None:
    secondary = following()
    assert secondary.leave(START, "why") == [Send(Goodbye("why")), Stop("why", orderly=True)]
    secondary = following()
    secondary.disconnected(START)
    assert secondary.leave(START, "why") == [Send(Goodbye("why")), Stop("why")]


def test_a_secondary_whose_guest_has_ended_but_for_the_rest_sees_it_end() -> None:
    secondary = following()
    secondary.received(START, batch(0, [CLOCK, LINE, END]))
    secondary.received(START, Finished(START))
    assert secondary.state is State.DRAINED
    assert secondary.leave(START, "why") == []
    assert secondary.progressed(START, 3) == [Done()]


@pytest.mark.parametrize("held", [False, True])
def test_a_switchover_is_called_off_for_the_reason_that_there_is(held: bool) -> None:
    primary = protected()
    primary.append(START, [LINE])
    primary.switchover(START)
    if held:
        primary.held(START, Position(2))
    now = START + HOLD_LIMIT
    primary.received(now, Answer(now, 50 * MS, 1, 1))
    reason = "outputs were not released" if held else "guest made no exit"
    assert primary.tick(now) == [Resume(), Reply(0, f"the {reason} within 2 s")]


# What the simulator found


def asked_by(role: Primary | Secondary, limit: int) -> int:
    """The first time before `limit` at which a role that hears nothing does something final, if it
    is only called when it asks to be."""
    while role.state not in (State.STOPPED, State.WAITING):
        now = role.deadline()
        assert now < limit
        role.tick(now)
    return now


def test_nobody_waits_for_ever_for_one_that_lost_its_power_before_the_start() -> None:
    secondary = Secondary(TIMING, "me", "image", START)
    secondary.received(START, Welcome(PROTOCOL, 1, 0, {}))
    assert asked_by(secondary, START + 2 * TIMING.starting) >= START + TIMING.starting
    primary = Primary(TIMING, 1, "image", {}, START)
    primary.received(START, Hello(PROTOCOL, "me", "image", 0))
    assert asked_by(primary, START + 2 * TIMING.starting) >= START + TIMING.starting


def test_a_secondary_that_comes_back_while_the_primary_claims_may_claim_too() -> None:
    primary = protected()
    primary.received(START, Goodbye("the disk is gone"))
    assert primary.state is State.CLAIMING
    assert primary.received(START, Hello(PROTOCOL, "me", "image", 0)) == []


def test_a_secondary_that_comes_back_after_the_end_gets_the_rest() -> None:
    primary = protected()
    primary.append(START, [CLOCK, LINE, END])
    primary.received(START + MS, Answer(START, 50 * MS, 3, 0))
    primary.performed(START + MS, 3)
    actions = primary.received(START + 2 * MS, Hello(PROTOCOL, "me", "image", 3))
    assert sent(actions, Welcome) and sent(actions, Finished)


def test_the_word_that_the_guest_has_ended_is_repeated_until_it_is_answered() -> None:
    primary = protected()
    primary.append(START, [CLOCK, LINE, END])
    primary.received(START + MS, Answer(START, 50 * MS, 3, 0))
    primary.performed(START + MS, 3)
    assert sent(primary.tick(primary.deadline()), Finished)
    secondary = following()
    secondary.received(START, batch(0, [CLOCK, LINE, END]))
    for _ in range(2):
        assert sent(secondary.received(START, Finished(START)), Answer)
    assert secondary.state is State.DRAINED


def test_one_that_goes_live_with_nothing_left_to_do_is_done() -> None:
    replica = Primary(TIMING, 2, "image", {}, START, next=3, state=State.ALONE, ended=2)
    assert Done() in replica.begin(START)


def test_a_primary_that_has_ended_does_not_mind_who_took_over() -> None:
    primary = protected()
    primary.append(START, [CLOCK, LINE, END])
    primary.received(START + MS, Answer(START, 50 * MS, 3, 0))
    primary.performed(START + MS, 3)
    assert primary.received(START + 2 * MS, TookOver(2, False)) == [Done()]


def waiting_for_its_first_answer() -> Primary:
    primary = Primary(TIMING, 1, "image", {}, START)
    primary.received(START, Hello(PROTOCOL, "me", "image", 0))
    primary.received(START, Answer(0, 0, 0, 0))
    assert primary.state is State.PROTECTED and primary.idle
    return primary


def test_a_guest_starts_and_is_announced_only_within_the_lease() -> None:
    primary = waiting_for_its_first_answer()
    late = START + 51 * MS
    assert primary.received(late, Answer(START, 50 * MS, 0, 0)) == []
    (query,) = sent(primary.tick(late), Query)
    assert isinstance(query, Query)
    actions = primary.received(late + MS, Answer(query.sent, query.lease, 0, 0))
    assert actions == [Start({}), Announce()]


def test_nor_while_the_primary_asks_the_arbiter() -> None:
    primary = waiting_for_its_first_answer()
    primary.received(START, Goodbye("the disk is gone"))
    assert primary.received(START + MS, Answer(START, 50 * MS, 0, 0)) == []


def test_who_takes_over_with_a_follower_announces_itself_when_that_has_answered() -> None:
    replica = Primary(TIMING, 2, "image", {}, START, next=3, state=State.PROTECTED)
    assert replica.begin(START) == []
    assert Announce() in replica.received(START + MS, Answer(START, 50 * MS, 3, 3))
    assert Announce() not in replica.received(START + 2 * MS, Answer(START, 50 * MS, 3, 3))


def test_one_that_diverges_while_it_goes_live_stops() -> None:
    secondary = following()
    secondary.received(START, Goodbye("the disk is gone"))
    secondary.arbiter_answered(START, Verdict.WON)
    assert secondary.state is State.LIVE
    assert isinstance(secondary.diverged(START, "other registers")[-1], Stop)


def test_a_look_at_who_is_there_does_not_begin_the_protection() -> None:
    """The primary may have given this replica up, and run the guest with another."""
    secondary = Secondary(TIMING, "me", "image", START)
    secondary.received(START, Welcome(PROTOCOL, 1, 0, {}))
    secondary.received(START, Query(START, 0, 0))
    assert secondary.state is State.READY
    while secondary.state is State.READY:
        actions = secondary.tick(secondary.deadline())
    assert isinstance(actions[-1], Stop)


def test_a_handover_says_that_every_output_is_released() -> None:
    """The new primary must not make them again: it could die halfway."""
    secondary = following()
    secondary.received(START, Batch(START, 0, 0, codec.encode(0, [CLOCK, LINE])))
    assert list(secondary.outputs) == [1]
    secondary.received(START, Handover(2, 2, 0))
    assert not secondary.outputs

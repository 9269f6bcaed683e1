"""A replica joins a guest that runs: it costs the guest nothing, and is a member or is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from protocol.roles import (
    CLOCK,
    END,
    LINE,
    START,
    THERE,
    TIMING,
    alone,
    answer,
    append,
    batch,
    hello,
    joining,
    kinds,
    protected,
    query,
    record,
    releases,
    ruling,
    sent,
    went_live,
)

from vlockstep.arbiter.rule import Record
from vlockstep.machine.position import BOOT, Position
from vlockstep.protocol.actions import (
    NEVER,
    Action,
    Claim,
    Deliver,
    Done,
    Forget,
    GoLive,
    Hold,
    Load,
    Notice,
    Release,
    Reply,
    Resume,
    Send,
    Stop,
    StopTransfer,
    Transfer,
)
from vlockstep.protocol.messages import (
    Answer,
    Batch,
    Ended,
    Finished,
    Goodbye,
    Handover,
    Hello,
    Join,
    Later,
    Message,
    Query,
    Refuse,
    Ruling,
    Welcome,
)
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND as MS
from vlockstep.protocol.timing import Timing
from vlockstep.replay.entry import Entry, Kind

NOW = START + MS
EARLIER = NOW - TIMING.dead
"""So long ago that an entry behind a state is not awaited any more."""
JOIN = "n"
HELD = Position(9, 7)


def says(primary: Primary, received: int, executed: int | None = None, *, lease: int = 0,
         now: int = NOW) -> list[Action]:  # fmt: skip
    """What the newcomer answers."""
    executed = received if executed is None else executed
    return primary.received(now, JOIN, Answer(now, lease, received, executed))


def greeted(primary: Primary) -> Primary:
    """The newcomer is there, and gets the guest's state."""
    assert primary.received(NOW, JOIN, hello()) == [Send(Join(primary.generation, {}), JOIN)]
    assert says(primary, 0) == [Transfer(JOIN)]
    return primary


def captured(primary: Primary) -> Primary:
    """And its state was taken, after an output that is not released if there are others."""
    if primary.joiner is None:
        greeted(primary)
    append(primary, NOW, CLOCK, LINE)
    assert primary.captured(EARLIER, primary.next) == []
    return primary


def bound(primary: Primary) -> Primary:
    """And it has it, and all have what it lacks."""
    first = captured(primary).next
    for member in list(primary.followers):
        answer(primary, NOW, member, first)
    says(primary, first)
    assert primary.state is State.BINDING
    return primary


def asked(primary: Primary) -> Primary:
    """And the arbiter is asked to take it in."""
    claim = Claim(bound(primary).generation, take_in={JOIN: THERE})
    assert claim in says(primary, primary.next)
    assert primary.state is State.TAKING_IN
    return primary


@pytest.fixture(params=["alone", "protected"])
def primary(request: pytest.FixtureRequest) -> Primary:
    return alone() if request.param == "alone" else protected("b", "c")


# Hello


def test_who_comes_when_the_guest_runs_gets_its_state(primary: Primary) -> None:
    greeted(primary)
    assert primary.known == {*primary.followers, JOIN}
    assert JOIN not in primary.followers and JOIN not in primary.ruling().members


def test_who_asks_twice_is_told_twice_and_gets_it_once(primary: Primary) -> None:
    greeted(primary)
    assert kinds(primary.received(NOW, JOIN, hello())) == {Send}
    assert sent(primary.received(NOW, JOIN, hello()), Join)


def test_another_one_waits_for_its_turn(primary: Primary) -> None:
    greeted(primary)
    assert primary.received(NOW, "o", hello()) == [Send(Later(), "o")]
    primary.received(NOW, JOIN, Goodbye("for good"))
    assert sent(primary.received(NOW, "o", hello()), Join, "o")


def finishing() -> Primary:
    primary = protected()
    append(primary, START, CLOCK, LINE, END)
    answer(primary, START, "b", 3)
    primary.performed(START, 3)
    assert primary.state is State.FINISHING
    return primary


def ended() -> Primary:
    primary = protected()
    primary.end(START, "enough")
    return primary


def holding() -> Primary:
    primary = protected()
    primary.switchover(START)
    return primary


def leaving_out() -> Primary:
    primary = protected()
    primary.received(START, "b", Goodbye("gone"))
    assert primary.state is State.CLAIMING
    return primary


@pytest.mark.parametrize("make", [finishing, ended, holding, leaving_out])
def test_who_comes_at_another_time_has_to_wait(make: Callable[[], Primary]) -> None:
    primary = make()
    assert primary.received(NOW, JOIN, hello()) == [Send(Later(), JOIN)]
    assert primary.joiner is None


def test_who_has_entries_already_must_not_be_fed_others(primary: Primary) -> None:
    (refusal,) = sent(primary.received(NOW, JOIN, hello(next=1, origin=1)), Refuse)
    assert "start it anew" in refusal.reason and primary.joiner is None


def test_who_was_left_out_does_not_join() -> None:
    (refusal,) = sent(alone().received(NOW, "x", hello()), Refuse)
    assert "left out" in refusal.reason


def test_one_that_has_another_image_does_not_join(primary: Primary) -> None:
    assert sent(primary.received(NOW, JOIN, hello(image="other")), Refuse, JOIN)
    assert primary.joiner is None


def test_one_that_says_not_where_it_is_reached_does_not_join_others() -> None:
    silent = Hello("image", 0, 0, "", "")
    assert sent(protected("b", "c").received(NOW, JOIN, silent), Refuse)
    assert sent(alone().received(NOW, JOIN, silent), Join)


# Catching up


def test_what_it_says_before_its_state_was_taken_counts_for_nothing(primary: Primary) -> None:
    greeted(primary)
    assert says(primary, 0) == []
    append(primary, NOW, CLOCK)
    captured(primary)
    assert says(primary, 0) == [] and says(primary, 2) == []


def test_entries_from_its_state_on_are_kept_for_it_and_sent_when_it_replays() -> None:
    primary = captured(alone())
    first = primary.next
    assert not sent(append(primary, NOW, CLOCK, LINE), Batch)
    assert primary.journal.since(first)
    (entries,) = sent(says(primary, first), Batch, JOIN)
    assert entries.lease == 0
    (more,) = sent(append(primary, NOW, CLOCK), Batch, JOIN)
    assert more.lease == 0
    says(primary, first + 2)
    assert len(primary.journal.since(first)) == 1
    says(primary, first + 3)
    assert not primary.journal.since(first)


def test_nothing_is_kept_for_nobody() -> None:
    primary = greeted(alone())
    append(primary, NOW, CLOCK)
    assert not primary.logs and not primary.journal.since(0)
    captured(primary)
    assert primary.logs
    append(primary, NOW, CLOCK)
    primary.disconnected(NOW, JOIN)
    assert not primary.logs and not primary.journal.since(0)


def test_outputs_do_not_wait_for_it_while_it_catches_up(primary: Primary) -> None:
    captured(primary)
    append(primary, NOW, LINE)
    actions = [a for member in list(primary.followers)
               for a in answer(primary, NOW, member, primary.next)]  # fmt: skip
    assert releases(actions or append(primary, NOW, LINE)) == [primary.next]


def test_the_guest_is_slowed_for_it_only_when_it_replays() -> None:
    primary = captured(alone())
    append(primary, NOW, CLOCK)
    late = NOW + 2 * TIMING.max_lag
    assert not primary.slowed(late)
    says(primary, primary.next - 1, now=NOW)
    assert primary.slowed(late)
    says(primary, primary.next, now=late)
    assert not primary.slowed(late)


@pytest.mark.parametrize(("speed", "joins"), [(0.5, False), (1.0, True)])
def test_the_guest_waits_for_a_newcomer_for_a_part_of_the_time_and_not_for_ever(
    speed: float, joins: bool
) -> None:
    """The guest makes an entry each millisecond in which it need not wait; when the newcomer begins
    to execute them it is 5 s behind."""
    primary, now, waited, executed = captured(alone()), NOW, 0, 0.0
    first, longest, at_once = primary.next, 0, 0
    for _ in range(5000):
        now += MS
        append(primary, now, CLOCK)
    began = now
    while primary.state is State.ALONE and primary.joiner is not None:
        now += MS
        if primary.slowed(now):
            waited += MS
            at_once += 1
        else:
            at_once = 0
            append(primary, now, CLOCK)
        longest = max(longest, at_once)
        executed = min(executed + speed, primary.next - first)
        says(primary, primary.next, first + int(executed), now=now)
        primary.tick(now)
    assert (primary.state is State.BINDING) == joins
    assert 0 < waited <= 500 * MS + (now - NOW) // 5 + MS
    assert longest <= 26, "ms at once"
    assert now - began < 2 * TIMING.patience


def test_it_is_not_waited_for_while_it_lags() -> None:
    primary = captured(alone())
    first = primary.next
    append(primary, NOW, CLOCK)
    late = NOW + 2 * TIMING.max_lag
    says(primary, first + 1, first, now=late)
    assert primary.state is State.ALONE
    says(primary, first + 1, now=late)
    assert primary.state is State.BINDING


def test_nor_while_a_member_lacks_what_it_could_not_send() -> None:
    primary = captured(protected("b", "c"))
    answer(primary, NOW, "b", 2)
    says(primary, 2)
    assert primary.state is State.PROTECTED
    answer(primary, NOW, "c", 2)
    says(primary, 2)
    assert primary.state is State.BINDING


def test_nor_for_a_moment_while_an_entry_behind_its_state_may_come() -> None:
    """Without that another member might interrupt its guest before that state."""
    primary = greeted(protected())
    primary.captured(NOW, primary.next)
    answer(primary, NOW, "b", primary.next)
    says(primary, primary.next)
    assert primary.state is State.PROTECTED
    append(primary, NOW, CLOCK)
    says(primary, primary.next)
    assert primary.state is State.PROTECTED, "the other member lacks it"
    answer(primary, NOW, "b", primary.next)
    says(primary, primary.next)
    assert primary.state is State.BINDING


def test_but_not_for_long() -> None:
    primary = greeted(alone())
    primary.captured(NOW, primary.next)
    says(primary, primary.next, now=NOW + TIMING.dead - MS)
    assert primary.state is State.ALONE
    says(primary, primary.next, now=NOW + TIMING.dead)
    assert primary.state is State.BINDING


def test_it_is_asked_for_no_promise_and_named_nowhere_before_it_may_be_a_member() -> None:
    primary = captured(protected("b", "c"))
    now = NOW
    for _ in range(5):
        now += TIMING.interval
        for member in ("b", "c"):
            answer(primary, now, member, 1)
        actions = primary.tick(now)
        assert [q.lease for q in sent(actions, Query, JOIN)] == [0]
        assert not sent(actions, Ruling, JOIN)
        assert all(JOIN not in r.members for r in sent(actions, Ruling))
        says(primary, 2, now=now)
    answer(primary, now, "b", 2)
    answer(primary, now, "c", 2)
    (asked,) = sent(says(primary, 2, now=now), Query, JOIN)
    assert primary.state is State.BINDING and asked.lease == 0


# Binding


def test_from_then_on_outputs_wait_for_it(primary: Primary) -> None:
    bound(primary)
    actions = append(primary, NOW, LINE)
    for member in list(primary.followers):
        if member != JOIN:
            actions += answer(primary, NOW, member, primary.next)
    assert not releases(actions)


def test_the_arbiter_is_asked_when_it_has_every_entry_whose_output_may_have_been_made() -> None:
    """Permitted, whether or not that was done."""
    primary = captured(alone())
    first = primary.next
    assert releases(append(primary, NOW, CLOCK, LINE)) == [first + 2]
    says(primary, first)
    assert primary.state is State.BINDING
    says(primary, first + 1)
    assert primary.state is State.BINDING
    append(primary, NOW, LINE)
    actions = says(primary, first + 2)
    assert Claim(2, take_in={JOIN: THERE}) in actions


def test_no_output_is_begun_without_its_promise_once_the_arbiter_is_asked() -> None:
    """What was permitted while there was nobody, for ever, may not be made yet."""
    primary = bound(alone())
    permitted = primary.next
    actions = says(primary, permitted)
    assert actions[0] == Release(permitted, NOW) and kinds(actions[1:]) == {Send, Claim}
    (asked,) = sent(actions, Query, JOIN)
    assert asked.lease > 0
    assert releases(says(primary, permitted, lease=asked.lease)) == [permitted]


def test_nobody_is_called_in_the_past_while_it_is_waited_for() -> None:
    primary = captured(alone())
    append(primary, NOW, LINE)
    says(primary, primary.next - 1)
    assert primary.state is State.BINDING
    append(primary, NOW, LINE)
    assert primary.deadline() > NOW + TIMING.interval // 2
    later = NOW + 3 * TIMING.interval // 4
    assert primary.deadline() > later
    primary.tick(later)
    assert primary.deadline() > later


# The arbiter


def test_it_is_a_member_when_the_arbiter_says_so(primary: Primary) -> None:
    asked(primary)
    others = set(primary.followers)
    actions = primary.arbiter_answered(NOW, record(primary.generation + 1, "a", *others))
    assert primary.state is State.PROTECTED and primary.joiner is None
    for member in others:
        (told,) = sent(actions, Ruling, member)
        assert set(told.members) == {"a", *others}


def test_until_then_outputs_need_it_and_its_promise(primary: Primary) -> None:
    asked(primary)
    others = [member for member in primary.followers if member != JOIN]
    append(primary, NOW, LINE)
    for member in others:
        assert not releases(answer(primary, NOW, member, primary.next, lease=400 * MS))
    assert primary.next not in releases(says(primary, primary.next - 1, lease=400 * MS))
    assert releases(says(primary, primary.next, lease=400 * MS)) == [primary.next]


def test_until_then_it_is_told_of_no_members_and_others_are_not_told_of_it() -> None:
    """A ruling that does not name it would tell it that it was left out."""
    primary = asked(protected("b", "c"))
    actions = [*primary.tick(NOW + TIMING.interval), *primary.connected(NOW, JOIN)]
    primary.disconnected(NOW, JOIN)
    actions += primary.received(NOW, JOIN, hello(next=2, origin=1))
    assert not sent(actions, Ruling, JOIN)
    assert sent(actions, Ruling, "b")
    assert all(JOIN not in told.members for told in sent(actions, Ruling))


@pytest.mark.parametrize(
    "answered",
    [record(2, "b", "a", "c"), record(3, "c", "b")],
    ids=["another owns it", "and took somebody over"],
)
def test_who_lost_the_generation_meanwhile_stops(answered: Record) -> None:
    primary = asked(protected("b", "c"))
    assert Stop in kinds(primary.arbiter_answered(NOW, answered))
    assert primary.state is State.STOPPED


def test_without_an_answer_it_is_asked_again_and_outputs_go_on(primary: Primary) -> None:
    asked(primary)
    (notice,) = primary.arbiter_answered(NOW, None)
    assert isinstance(notice, Notice) and "waits for it" in notice.text
    later = NOW + TIMING.interval
    assert primary._claimed in primary.tick(later)
    append(primary, later, LINE)
    actions: list[Action] = []
    for member in list(primary.followers):
        actions += primary.received(
            later, member, Answer(later, 99 * MS, primary.next, primary.next)
        )
    assert releases(actions)[-1] == primary.next


def test_a_guest_that_has_ended_elsewhere_ends() -> None:
    primary = asked(protected("b"))
    ended = Record(1, "a", ("a", "b"), ended=True)
    (stop,) = primary.arbiter_answered(NOW, ended)
    assert isinstance(stop, Stop) and stop.orderly


# It is lost


def given_up(primary: Primary, actions: list[Action]) -> bool:
    told = sent(actions, Refuse, JOIN)
    (stopped,) = [action for action in actions if isinstance(action, StopTransfer)]
    assert [refusal.reason for refusal in told] == [f"the join was given up: {stopped.reason}"]
    return primary.joiner is None and JOIN not in primary.followers


def lost(primary: Primary) -> list[Action]:
    return primary.disconnected(NOW, JOIN)


def goodbye(primary: Primary) -> list[Action]:
    return primary.received(NOW, JOIN, Goodbye("no room"))


def silent(primary: Primary) -> list[Action]:
    members, now, actions = [m for m in primary.followers if m != JOIN], NOW, list[Action]()
    while primary.joiner is not None and primary.state is not State.CLAIMING:
        now = max(now + MS, primary.deadline())
        for member in members:
            primary.received(now, member, Answer(now, 99 * MS, primary.next, primary.next))
        actions = primary.tick(now)
        assert now < NOW + 100 * TIMING.starting
    return actions


@pytest.mark.parametrize("way", [lost, goodbye, silent])
@pytest.mark.parametrize("state", [greeted, captured, bound])
def test_a_newcomer_that_is_lost_is_given_up_and_the_guest_goes_on(
    state: Callable[[Primary], Primary], way: Callable[[Primary], list[Action]], primary: Primary
) -> None:
    before = primary.state
    assert given_up(state(primary), way(primary))
    assert primary.state is before
    assert primary._former.isdisjoint({JOIN})  # it may come again


def test_one_that_is_bound_and_lost_holds_no_output_back() -> None:
    primary = bound(alone())
    append(primary, NOW, LINE)
    assert Release(primary.next, NEVER) in lost(primary)


@pytest.mark.parametrize("way", [goodbye, silent])
def test_one_that_may_be_a_member_is_left_out_by_the_arbiter(
    way: Callable[[Primary], list[Action]], primary: Primary
) -> None:
    generation, others = asked(primary).generation, set(primary.followers) - {JOIN}
    assert Claim(generation, leave_out=frozenset({JOIN})) in way(primary)
    actions = primary.arbiter_answered(NOW, record(generation + 1, "a", *others))
    assert given_up(primary, actions) and primary.generation == generation + 1
    assert sent(primary.received(NOW, JOIN, hello(next=1)), Refuse)  # it may think it is one


def test_so_is_one_that_was_taken_in_by_then(primary: Primary) -> None:
    generation, others = asked(primary).generation, set(primary.followers) - {JOIN}
    goodbye(primary)
    actions = primary.arbiter_answered(NOW, record(generation + 1, "a", *others, JOIN))
    assert Claim(generation + 1, leave_out=frozenset({JOIN})) in actions
    primary.arbiter_answered(NOW, record(generation + 2, "a", *others))
    assert JOIN not in primary.followers


def test_one_whose_connection_is_lost_then_may_come_back(primary: Primary) -> None:
    next = asked(primary).next
    assert lost(primary) == [] and primary.state is State.TAKING_IN
    back = primary.received(NOW, JOIN, hello(next=next, origin=primary.generation))
    assert sent(back, Welcome, JOIN)
    others = set(primary.followers)
    primary.arbiter_answered(NOW, record(primary.generation + 1, "a", *others))
    assert primary.state is State.PROTECTED and JOIN in primary.followers


def test_who_comes_no_nearer_is_given_up(primary: Primary) -> None:
    captured(primary)
    now, members, actions = NOW, list(primary.followers), list[Action]()
    while primary.joiner is not None:
        now += TIMING.interval
        for member in members:
            answer(primary, now, member, primary.next)
        primary.received(now, JOIN, Query(0, now, 0, 0, 0))
        actions = primary.tick(now)
    assert given_up(primary, actions) and now - EARLIER == TIMING.patience


def test_who_takes_more_of_the_state_comes_nearer() -> None:
    primary, now = greeted(alone()), NOW
    for _ in range(5):
        now += TIMING.patience - MS
        primary.received(now, JOIN, Query(0, now, 0, 0, 0))
        primary.transferred(now)
        primary.tick(now)
        assert primary.joiner is not None


def test_the_guest_waits_a_little_for_a_log_that_is_full_and_no_longer() -> None:
    timing = Timing(max_log=1 << 16)
    primary = protected(timing=timing)
    captured(primary)
    answer(primary, NOW, "b", 2)
    text = (*LINE[:3], bytes(1 << 16), b"")
    append(primary, NOW, text)
    answer(primary, NOW, "b", 3, 3)
    primary.transferred(NOW)
    assert primary.slowed(NOW)
    primary.tick(NOW + timing.dead - MS)
    assert primary.joiner is not None
    actions = primary.tick(NOW + timing.dead)
    assert any("log" in told.reason for told in sent(actions, Refuse, JOIN))
    assert not primary.slowed(NOW) and not primary.journal.since(0)


def test_a_state_that_cannot_be_taken_is_told(primary: Primary) -> None:
    before = greeted(primary).state
    assert given_up(primary, primary.uncaptured(NOW, "out of memory"))
    assert primary.state is before
    assert primary.uncaptured(NOW, "out of memory") == []


def test_a_state_that_was_taken_may_fail_no_more(primary: Primary) -> None:
    captured(primary)
    assert primary.uncaptured(NOW, "late") == [] and primary.joiner is not None


# Somebody else is lost


@pytest.mark.parametrize("state", [greeted, captured, bound])
def test_a_member_that_leaves_is_left_out_and_the_join_goes_on(
    state: Callable[[Primary], Primary],
) -> None:
    primary = state(protected("b", "c"))
    actions = primary.received(NOW, "c", Goodbye("gone"))
    assert Claim(1, leave_out=frozenset("c")) in actions
    assert primary.joiner is not None and JOIN not in primary.followers
    assert JOIN in primary.known
    assert not sent(actions, Ruling, JOIN)
    actions = primary.arbiter_answered(NOW, record(2, "a", "b"))
    assert primary.state is State.PROTECTED and not sent(actions, Ruling, JOIN)
    if state is greeted:
        primary.captured(EARLIER, primary.next)
    answer(primary, NOW, "b", primary.next)
    says(primary, primary.next)
    assert primary.state is State.BINDING


def test_the_guest_goes_on_though_its_state_is_taken_while_the_arbiter_is_asked() -> None:
    primary = greeted(protected("b", "c"))
    primary.received(NOW, "c", Goodbye("gone"))
    append(primary, NOW, CLOCK)
    primary.captured(EARLIER, 1)
    append(primary, NOW, CLOCK)
    assert says(primary, 1) == []
    primary.arbiter_answered(NOW, record(2, "a", "b"))
    answer(primary, NOW, "b", 2)
    (entries,) = sent(says(primary, 1), Batch, JOIN)
    assert entries.origin == 1 and entries.generation == 2


def test_a_member_that_is_lost_while_the_newcomer_is_taken_in() -> None:
    primary = asked(protected("b", "c"))
    assert Claim(1, leave_out=frozenset("c")) in primary.received(NOW, "c", Goodbye("gone"))
    append(primary, NOW, LINE)
    assert not releases(answer(primary, NOW, "b", 3))
    primary.arbiter_answered(NOW, record(2, "a", "b", "c", JOIN))  # both claims, as it came out
    assert JOIN in primary.followers and primary.state is State.CLAIMING
    primary.arbiter_answered(NOW, record(3, "a", "b", JOIN))
    assert set(primary.followers) == {"b", JOIN} and primary.state is State.PROTECTED


def test_a_connection_to_a_member_that_drops_binds_nobody() -> None:
    primary = bound(protected("b", "c"))
    assert Notice in kinds(primary.disconnected(NOW, "c"))
    assert primary.state is State.PROTECTED and primary.joiner is not None
    says(primary, primary.next)
    assert primary.state is State.BINDING


# People, and the guest's end


def test_who_is_to_leave_gives_the_join_up_and_hands_over() -> None:
    for state in (greeted, captured, bound):
        primary = state(protected())
        actions = primary.leave(NOW, "asked to")
        assert given_up(primary, actions) and Hold in kinds(actions)


def test_one_that_is_alone_ends_the_guest() -> None:
    for state in (greeted, captured, bound):
        primary = state(alone())
        actions = primary.leave(NOW, "asked to")
        assert given_up(primary, actions) and primary.state is State.FINISHED


def test_who_is_to_leave_hands_over_to_who_was_taken_in() -> None:
    primary = asked(alone())
    assert primary.leave(NOW, "asked to") == []
    actions = primary.arbiter_answered(NOW, record(3, "a", JOIN))
    assert Hold() in actions and primary.state is State.HOLDING


@pytest.mark.parametrize("state", [greeted, captured, bound])
def test_a_guest_that_is_to_end_ends(state: Callable[[Primary], Primary], primary: Primary) -> None:
    others = set(state(primary).followers) - {JOIN}
    actions = primary.end(NOW, "enough")
    assert given_up(primary, actions)
    assert primary.state is (State.ENDING if others else State.FINISHED)
    assert not sent(actions, Ended, JOIN)


def test_so_it_does_when_the_newcomer_was_taken_in(primary: Primary) -> None:
    others = set(asked(primary).followers)
    assert primary.end(NOW, "enough") == []
    actions = primary.arbiter_answered(NOW, record(primary.generation + 1, "a", *others))
    assert sent(actions, Ended, JOIN) and primary.state is State.ENDING


@pytest.mark.parametrize("state", [greeted, captured])
def test_a_switchover_comes_first(state: Callable[[Primary], Primary]) -> None:
    primary = state(protected())
    actions = primary.switchover(NOW)
    assert given_up(primary, actions) and Hold() in actions


@pytest.mark.parametrize("state", [bound, asked])
def test_unless_the_newcomer_is_about_to_be_a_member(state: Callable[[Primary], Primary]) -> None:
    (reply,) = state(protected()).switchover(NOW)
    assert isinstance(reply, Reply) and reply.reason


def ends(primary: Primary) -> list[Action]:
    """The guest has come to its end, and the world has all of it."""
    append(primary, NOW, END)
    actions = list[Action]()
    for member in list(primary.followers):
        if member != JOIN:
            actions += answer(primary, NOW, member, primary.next, primary.next)
    return [*actions, *primary.performed(NOW, primary.next)]


@pytest.mark.parametrize("state", [greeted, captured])
def test_a_guest_that_ends_is_not_joined(
    state: Callable[[Primary], Primary], primary: Primary
) -> None:
    actions = ends(state(primary))
    assert given_up(primary, actions)
    assert sent(actions, Finished) if primary.followers else Done() in actions


def test_nor_does_who_is_bound_then_keep_it_from_ending(primary: Primary) -> None:
    actions = ends(bound(primary))
    assert primary.state is State.BINDING
    actions = lost(primary)
    assert given_up(primary, actions)
    assert primary.state is (State.FINISHING if primary.followers else State.FINISHED)


def test_who_was_taken_in_learns_of_the_end(primary: Primary) -> None:
    ends(bound(primary))
    says(primary, primary.next)
    others = set(primary.followers)
    primary.arbiter_answered(NOW, record(primary.generation + 1, "a", *others))
    assert primary.state is State.FINISHING or sent(
        says(primary, primary.next, lease=99 * MS), Finished, JOIN
    )


def test_a_member_that_is_left_out_of_a_guest_that_has_ended_is_so_first() -> None:
    """Nobody hears of the end before."""
    primary = bound(protected("b", "c"))
    ends(primary)
    actions = primary.received(NOW, "c", Goodbye("gone"))
    assert primary.state is State.CLAIMING and not sent(actions, Finished)
    assert sent(primary.arbiter_answered(NOW, record(2, "a", "b")), Finished, "b")


# The newcomer


def loading() -> Secondary:
    secondary = joining(JOIN)
    actions = secondary.received(START, "a", Join(3, {"memory": 1}))
    assert actions[0] == Load({"memory": 1}) and secondary.state is State.LOADING
    return secondary


def loaded(outputs: tuple[int, ...] = ()) -> Secondary:
    secondary = loading()
    (told,) = sent(secondary.loaded(START, 5, HELD, 2, outputs), Answer)
    assert (told.received, told.executed, told.lease) == (5, 5, 0)
    assert secondary.state is State.READY
    return secondary


def test_who_is_told_to_wait_waits() -> None:
    secondary = joining(JOIN)
    later = START + TIMING.patience - MS
    assert secondary.received(later, "a", Later()) == []
    assert Stop not in kinds(secondary.tick(later + TIMING.patience - MS))
    assert Stop in kinds(secondary.tick(later + TIMING.patience))


def test_it_loads_once() -> None:
    assert loading().received(START, "a", Join(3, {})) == []


def test_it_says_what_it_has_and_who_made_it() -> None:
    (told,) = sent(loaded().connected(START, "a"), Hello)
    assert (told.next, told.origin) == (5, 2)


def test_it_takes_entries_from_its_state_on() -> None:
    secondary = loaded()
    actions = secondary.received(START, "a", batch(5, [CLOCK, LINE], generation=3, lease=0))
    assert Deliver in kinds(actions) and secondary.state is State.READY
    assert secondary.received_entries == 7 and list(secondary.outputs) == [6]


def test_outputs_that_were_not_released_at_its_state_are_its_own_if_it_takes_over() -> None:
    secondary = loaded((2, 4))
    assert secondary.released == 2
    actions = secondary.received(START, "a", query(3, lease=0, released=3))
    assert Forget(3) in actions and list(secondary.outputs) == [4]


def test_it_follows_only_when_it_is_asked_for_a_promise() -> None:
    secondary = loaded()
    (told,) = sent(secondary.received(START, "a", query(3, lease=0)), Answer)
    assert secondary.state is State.READY and told.lease == 0
    (told,) = sent(secondary.received(START, "a", query(3)), Answer)
    assert secondary.state is State.FOLLOWING and told.lease > 0


@pytest.mark.parametrize("make", [loading, loaded])
@pytest.mark.parametrize(
    "message", [Goodbye("gone"), Ended(START, "enough"), Refuse("the join was given up: x")]
)
def test_before_that_it_stops_when_its_primary_does(
    make: Callable[[], Secondary], message: Message
) -> None:
    secondary = make()
    actions = secondary.received(START, "a", message)
    assert secondary.state is State.STOPPED and Claim not in kinds(actions)


def silent_for_long(secondary: Secondary) -> list[Action]:
    """Until it does something about it."""
    before, now, actions = secondary.state, START, list[Action]()
    while secondary.state is before:
        now = secondary.deadline()
        actions += secondary.tick(now)
    assert now >= START + TIMING.starting
    return actions


def test_and_when_that_is_lost() -> None:
    assert Stop in kinds(loading().disconnected(START, "a"))
    actions = silent_for_long(loading())
    assert Stop in kinds(actions) and Claim not in kinds(actions)


def test_once_it_has_the_state_only_the_arbiter_knows_whether_it_is_a_member() -> None:
    assert Claim in kinds(loaded().disconnected(START, "a"))
    secondary = loaded()
    assert Claim in kinds(silent_for_long(secondary))
    stranger = record(secondary.generation + 1, "b", "c")
    assert Stop in kinds(secondary.arbiter_answered(START, stranger))


def suspecting(secondary: Secondary) -> list[Action]:
    actions, now = list[Action](), START
    while secondary.state is not State.CLAIMING:
        now = max(now, secondary.deadline())
        actions = secondary.tick(now)
    return actions


def test_after_that_it_claims_and_the_arbiter_decides() -> None:
    secondary = loaded()
    secondary.received(START, "a", query(3))
    assert Claim(3, leave_out=frozenset("a")) in suspecting(secondary)
    (stop,) = secondary.arbiter_answered(START, record(4, "b", "c"))
    assert isinstance(stop, Stop)


@pytest.mark.parametrize("found", [record(2, "a", "b"), record(3, "a", "b")])
def test_it_asks_again_while_what_takes_it_in_may_show_late(found: Record) -> None:
    """Its primary may have asked for that before it died."""
    secondary, now = loaded(), START
    secondary.received(START, "a", query(3))
    suspecting(secondary)
    assert kinds(secondary.arbiter_answered(now, found)) == {Notice}
    now = secondary.deadline()
    assert secondary.tick(now) == [Claim(3, leave_out=frozenset("a"))]
    assert secondary.arbiter_answered(now, found) == []
    now = secondary.deadline()
    secondary.tick(now)
    secondary.arbiter_answered(now, record(4, "a", "b", JOIN))
    assert secondary.state is State.PARTED


def test_but_not_for_ever() -> None:
    secondary, now = loaded(), START
    secondary.received(START, "a", query(3))
    suspecting(secondary)
    actions = list[Action]()
    while secondary.state is not State.STOPPED:
        secondary.tick(now)
        actions = secondary.arbiter_answered(now, record(3, "a", "b"))
        now = secondary.deadline()
    assert kinds(actions) == {Stop}


def test_if_it_is_a_member_it_goes_live_with_all_others() -> None:
    secondary = loaded()
    secondary.received(START, "a", query(3))
    secondary.received(START, "a", ruling(4, "a", "b", JOIN))
    secondary.received(START, "b", ruling(4, "a", "b", JOIN))
    suspecting(secondary)
    actions = secondary.arbiter_answered(START, record(5, JOIN, "b"))
    (live,) = (action for action in actions if isinstance(action, GoLive))
    assert live.members == frozenset("b")
    assert secondary.stable == 5


def test_if_it_was_taken_in_meanwhile_it_follows_again() -> None:
    secondary = loaded()
    secondary.received(START, "a", query(3))
    suspecting(secondary)
    actions = secondary.arbiter_answered(START, record(4, "a", "b", JOIN))
    assert secondary.state is State.PARTED and sent(actions, Hello, "a")
    assert set(secondary.members) == {"a", "b", JOIN}


def test_it_does_not_follow_who_goes_on_before_its_state_was_taken() -> None:
    """Another member, which had all entries, and whose timer went off sooner."""
    secondary = loaded()
    secondary.received(START, "a", query(3))
    secondary.received(START, "a", ruling(4, "b", JOIN))
    secondary.received(START, "b", Welcome(4, 5, {}))
    sooner: Entry = (Kind.INTERRUPT, 9, 6, 32, b"")
    actions = secondary.received(START, "b", batch(5, [sooner], generation=4, origin=4))
    assert kinds(actions) == {Send, Stop} and not sent(actions, Answer)


def test_it_is_reached_where_it_has_said() -> None:
    primary = asked(protected("b"))
    primary.arbiter_answered(NOW, record(2, "a", "b", JOIN))
    assert primary.ruling().members[JOIN] == THERE


# Before the first entry


def test_who_still_loads_the_state_before_the_first_entry_is_not_bound() -> None:
    """Of a guest that was adopted, and has asked for nothing since."""
    primary = greeted(went_live(3, next=0))
    primary.captured(EARLIER, 0)
    newcomer = loading()
    (told,) = sent(newcomer.received(NOW, "a", Query(3, NOW, 0, 0, 0)), Answer)
    assert primary.received(NOW, JOIN, told) == [] and primary.state is State.ALONE
    (told,) = sent(newcomer.loaded(NOW, 0, BOOT, 3, ()), Answer)
    primary.received(NOW, JOIN, told)
    (told,) = sent(newcomer.received(NOW, "a", Query(3, NOW, 0, 0, 0)), Answer)
    primary.received(NOW, JOIN, told)
    assert primary.state is State.BINDING


def test_outputs_do_not_wait_long_for_who_answers_and_takes_nothing() -> None:
    primary = captured(alone())
    first = primary.next
    append(primary, NOW, LINE)
    says(primary, first)
    assert primary.state is State.BINDING
    append(primary, NOW, LINE)
    now = NOW
    while now < NOW + TIMING.dead:
        assert primary.state is State.BINDING
        now += TIMING.interval // 2
        says(primary, first, now=now)
        actions = primary.tick(now)
    assert StopTransfer in kinds(actions) and sent(actions, Refuse, JOIN)
    assert primary.state is State.ALONE and primary.next in releases(actions)


# A guest that stands where its state was taken

STAND = 300 * MS


def standing(primary: Primary) -> Primary:
    """Its state was taken, and it stands there for a while."""
    greeted(primary)
    append(primary, NOW, CLOCK, LINE)
    assert primary.captured(NOW, primary.next, STAND) == []
    assert primary.stands
    return primary


def loaded_there(primary: Primary) -> list[Action]:
    """All have what there is, and the newcomer is taken in, as far as the arbiter."""
    for member in list(primary.followers):
        answer(primary, NOW, member, primary.next)
    says(primary, primary.next)
    return says(primary, primary.next)


def test_a_guest_that_stands_is_handed_over_where_it_does(primary: Primary) -> None:
    members = {*standing(primary).followers, JOIN}
    assert Claim(primary.generation, take_in={JOIN: THERE}) in loaded_there(primary)
    actions = primary.arbiter_answered(NOW, record(primary.generation + 1, "a", *members))
    assert Resume() not in actions and primary.state is State.PROTECTED and primary.stands
    actions = primary.switchover(NOW, JOIN)
    assert actions == [Hold()] and not primary.stands
    for member in members:
        says_all = Answer(NOW, 50 * MS, primary.next, primary.next)
        primary.received(NOW, member, says_all)
    primary.performed(NOW, primary.next)
    actions = primary.held(NOW, Position(7, 3))
    assert sent(actions, Handover, JOIN) == [Handover(primary.next, 7, 3)]


def test_it_stands_no_longer_than_it_may(primary: Primary) -> None:
    standing(primary)
    assert primary.deadline() <= NOW + STAND
    assert Resume() not in primary.tick(NOW + STAND - 1)
    actions = primary.tick(NOW + STAND)
    assert Resume() in actions and sent(actions, Refuse, JOIN)
    assert primary.joiner is None and not primary.stands


def test_not_even_if_the_arbiter_takes_long(primary: Primary) -> None:
    """Who is to take over may be a member then, and follows."""
    members = {*standing(primary).followers, JOIN}
    loaded_there(primary)
    assert primary.state is State.TAKING_IN
    for member in members:
        primary.received(NOW + STAND, member, Answer(NOW, 50 * MS, primary.next, primary.next))
    assert Resume() in primary.tick(NOW + STAND)
    assert primary.state is State.TAKING_IN and not primary.stands
    append(primary, NOW + STAND, CLOCK)
    primary.arbiter_answered(NOW + STAND, record(primary.generation + 1, "a", *members))
    assert primary.state is State.PROTECTED and JOIN in primary.followers


@pytest.mark.parametrize(
    "fails",
    [
        lambda primary: primary.received(NOW, JOIN, Goodbye("no")),
        lambda primary: primary.disconnected(NOW, JOIN),
        lambda primary: primary.drop(NOW, JOIN, "called off"),
        lambda primary: primary.tick(NOW + TIMING.patience),
    ],
)
def test_whatever_becomes_of_the_newcomer_it_goes_on(
    primary: Primary, fails: Callable[[Primary], list[Action]]
) -> None:
    actions = fails(standing(primary))
    assert Resume() in actions and primary.joiner is None and not primary.stands


def test_it_goes_on_if_who_is_taken_in_is_dropped(primary: Primary) -> None:
    standing(primary)
    loaded_there(primary)
    assert primary.drop(NOW, JOIN, "called off") == [Resume()]


def test_it_goes_on_if_another_member_is_lost() -> None:
    """What is still to be sent of its state changes then: the newcomer gets no more."""
    primary = standing(protected("b", "c"))
    actions = primary.received(NOW, "b", Goodbye("gone"))
    assert Resume() in actions and sent(actions, Refuse, JOIN)
    assert StopTransfer in kinds(actions[: actions.index(Resume())])
    assert primary.joiner is None and not primary.stands


def test_or_was_while_the_arbiter_was_asked_for_something_else() -> None:
    primary = greeted(protected("b", "c"))
    append(primary, NOW, CLOCK, LINE)
    primary.received(NOW, "b", Goodbye("gone"))
    primary.captured(NOW, primary.next, STAND)
    primary.received(NOW, "c", Goodbye("gone, too"))
    actions = primary.arbiter_answered(NOW, record(2, "a", "c"))
    assert Resume() in actions and primary.joiner is None


def test_an_answer_of_the_arbiter_does_not_let_it_go() -> None:
    primary = greeted(protected("b", "c"))
    append(primary, NOW, CLOCK, LINE)
    primary.received(NOW, "b", Goodbye("gone"))
    primary.captured(NOW, primary.next, STAND)
    assert Resume() not in primary.arbiter_answered(NOW, record(2, "a", "c"))
    assert primary.stands and primary.joiner is not None


def test_it_goes_on_if_the_arbiter_takes_the_newcomer_not_in(primary: Primary) -> None:
    members = set(standing(primary).followers)
    loaded_there(primary)
    actions = list[Action]()
    while primary.state is State.TAKING_IN:
        actions = primary.tick(primary.deadline())
    assert Resume() in actions and primary.state is State.CLAIMING
    primary.arbiter_answered(NOW, record(primary.generation + 1, "a", *members))
    assert JOIN not in primary.followers


def test_it_ends_where_it_stands() -> None:
    primary = standing(protected())
    assert Resume() in primary.end(NOW, "enough") and primary.state is State.ENDING

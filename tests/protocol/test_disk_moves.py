"""Disks that all replicas share, on their way to another file: who is asked, and who decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from protocol.roles import (
    LINE,
    START,
    TIMING,
    alone,
    answer,
    append,
    following,
    hello,
    protected,
    query,
    record,
    releases,
    ruling,
    sent,
)

from vlockstep.arbiter.rule import Record
from vlockstep.machine.position import Position
from vlockstep.protocol.actions import (
    Agreed,
    Claim,
    GoLive,
    Hold,
    KeepDisk,
    OpenDisk,
    Send,
    UseDisks,
)
from vlockstep.protocol.diskmove import OPEN_LIMIT
from vlockstep.protocol.messages import Goodbye, Handover, Join, Later, MoveDisk, Opened, Ruling
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND as MS

MOVE = MoveDisk(START, "disk", "/new", 7, {})
MOVED = {"disk": "/new"}
OPENED = Opened(START, "")


def moving(*members: str) -> Primary:
    """Its members are asked to open the new file."""
    primary = protected(*members)
    asked = primary.move_disk(START, "disk", "/new", 7)
    assert asked == [Send(MOVE, member) for member in sorted(members or "b")]
    return primary


def agreed(*members: str) -> Primary:
    primary = moving(*members)
    *others, last = members or "b"
    for member in others:
        assert primary.received(START, member, OPENED) == []
    assert primary.received(START, last, OPENED) == [Agreed()]
    return primary


def deciding(*members: str) -> Primary:
    primary = agreed(*members)
    assert primary.decide_disk(START) == [Claim(1, moved=MOVED)]
    assert primary.state is State.CLAIMING
    return primary


def with_disks(found: Record) -> Record:
    return replace(found, disks=MOVED)


# The primary


def test_when_all_have_opened_it_the_arbiter_is_asked_and_all_are_told() -> None:
    primary = deciding("b", "c")
    actions = primary.arbiter_answered(START, with_disks(record(2, "a", "b", "c")))
    assert UseDisks(MOVED) in actions
    assert {ruling.generation: ruling.disks for ruling in sent(actions, Ruling)} == {2: MOVED}
    assert primary.state is State.PROTECTED


def test_nothing_is_released_while_the_arbiter_is_asked() -> None:
    primary = deciding()
    append(primary, START, LINE)
    assert releases(answer(primary, START, "b", 1)) == []


def test_who_is_alone_asks_nobody_but_the_arbiter() -> None:
    primary = alone()
    assert primary.move_disk(START, "disk", "/new", 7) == [Agreed()]
    assert primary.decide_disk(START) == [Claim(2, moved=MOVED)]
    actions = primary.arbiter_answered(START, with_disks(record(3, "a")))
    assert UseDisks(MOVED) in actions and primary.state is State.ALONE


def test_who_does_not_answer_is_asked_again_and_then_it_stays() -> None:
    primary = moving("b", "c")
    primary.received(START, "b", OPENED)
    now = START + 50 * MS
    for member in "bc":
        answer(primary, now, member, 0)
    assert sent(primary.tick(now), MoveDisk, "b") == []
    for member in "bc":
        primary.followers[member].asked = START
    assert sent(primary.tick(now), MoveDisk, "c") == [MOVE]
    late = START + OPEN_LIMIT
    assert primary.deadline() < late
    for member in "bc":
        answer(primary, late, member, 0)
    actions = primary.tick(late)
    assert any(isinstance(a, KeepDisk) and "within 10 s" in a.reason for a in actions)
    assert [message.path for message in sent(actions, MoveDisk, "b")] == [""]
    assert primary.moving is None


def test_one_that_cannot_open_it_lets_it_stay() -> None:
    primary = moving("b", "c")
    primary.received(START, "b", OPENED)
    actions = primary.received(START, "c", Opened(START, "it is not there"))
    assert actions == [
        KeepDisk("it is not there"),
        *(Send(replace(MOVE, path=""), member) for member in "bc"),
    ]
    assert primary.decide_disk(START) == []


def test_an_answer_to_an_earlier_request_counts_for_nothing() -> None:
    primary = moving()
    assert primary.received(START, "b", Opened(START - 1, "")) == []
    assert primary.received(START, "b", Opened(START - 1, "why")) == []
    assert primary.moving is not None and not primary.moving.agreed


def test_it_goes_on_without_who_is_left_out() -> None:
    primary = moving("b", "c")
    primary.received(START, "b", OPENED)
    assert primary.received(START, "c", Goodbye("why"))
    assert primary.state is State.CLAIMING
    primary.arbiter_answered(START, record(2, "a", "b"))
    assert primary.deadline() == 0
    assert Agreed() in primary.tick(START)
    assert primary.decide_disk(START) == [Claim(2, moved=MOVED)]


def test_what_is_to_be_decided_waits_for_what_the_arbiter_is_asked_already() -> None:
    primary = agreed("b", "c")
    primary.received(START, "c", Goodbye("why"))
    assert primary.decide_disk(START) == []
    primary.arbiter_answered(START, record(2, "a", "b"))
    assert primary.deadline() == 0
    assert Claim(2, moved=MOVED) in primary.tick(START)


def test_who_wants_to_join_waits() -> None:
    primary = deciding()
    primary.arbiter_answered(START, with_disks(record(2, "a", "b")))
    assert sent(primary.received(START, "d", hello()), Later)
    primary.disk_moved({"new": 1})
    [join] = sent(primary.received(START, "d", hello()), Join)
    assert (join.config, join.disks) == ({"new": 1}, MOVED)


def test_it_waits_for_who_joins() -> None:
    primary = protected()
    assert sent(primary.received(START, "d", hello()), Join)
    assert primary.move_disk(START, "disk", "/new", 7) == []
    assert sent(primary.received(START, "d", Goodbye("why")), MoveDisk) == []
    assert sent(primary.tick(START), MoveDisk, "b") == [MOVE]


def test_a_switchover_calls_it_off() -> None:
    primary = agreed()
    actions = primary.switchover(START)
    assert KeepDisk("another replica takes over") in actions
    assert primary.decide_disk(START) == []


@pytest.mark.parametrize("how", ["end", "keep"])
def test_whoever_calls_it_off_is_too_late_when_the_arbiter_is_asked(how: str) -> None:
    for primary, early in ((agreed(), True), (deciding(), False)):
        asked = primary.keep_disk("why") if how == "keep" else primary.end(START, "why")
        assert (KeepDisk("why") in asked) is early


def test_no_disk_moves_before_the_guest_runs() -> None:
    primary = Primary("a", protected().timing, 0, "image", {}, START)
    [kept] = primary.move_disk(START, "disk", "/new", 7)
    assert isinstance(kept, KeepDisk) and "does not run yet" in kept.reason


# A secondary


def told(*others: str) -> Secondary:
    secondary = following("b", *others)
    assert secondary.received(START, "a", MOVE) == [OpenDisk(START, "disk", "/new", 7)]
    return secondary


def test_it_opens_it_and_says_so_again_if_it_is_asked_again() -> None:
    secondary = told()
    assert secondary.received(START, "a", MOVE) == []
    assert secondary.opened(START - 1, "") == []
    assert secondary.opened(START, "") == [Send(OPENED, "a")]
    assert secondary.received(START, "a", MOVE) == [Send(OPENED, "a")]


def test_it_lets_go_of_it_when_it_is_called_off() -> None:
    secondary = told()
    secondary.opened(START, "")
    assert secondary.received(START, "a", replace(MOVE, path="")) == [UseDisks({})]
    assert secondary.opened(START, "") == []


def test_its_owner_tells_what_was_decided() -> None:
    secondary = told("c")
    secondary.opened(START, "")
    unchanged = ruling(1, "a", "b", "c")
    assert UseDisks({}) not in secondary.received(START, "a", unchanged)
    moved = replace(ruling(2, "a", "b", "c"), disks=MOVED)
    assert UseDisks(MOVED) not in secondary.received(START, "c", moved), "it may not know"
    assert UseDisks(MOVED) in secondary.received(START, "a", moved)


def test_another_owner_has_called_it_off() -> None:
    secondary = told("c")
    secondary.opened(START, "")
    secondary.received(START, "c", ruling(2, "c", "b"))
    secondary.received(START, "c", query(2))
    assert UseDisks({}) in secondary.received(START, "c", ruling(2, "c", "b"))


def test_a_move_that_it_had_not_heard_of_comes_before_the_next() -> None:
    secondary = told()
    secondary.opened(START, "")
    other = MoveDisk(START + 1, "disk", "/newer", 8, MOVED)
    assert secondary.received(START, "a", other) == [
        UseDisks(MOVED),
        OpenDisk(START + 1, "disk", "/newer", 8),
    ]


@pytest.mark.parametrize("disks", [{}, MOVED])
def test_who_goes_live_goes_on_where_the_arbiter_says(disks: dict[str, str]) -> None:
    """It has not heard of what was decided, if it was."""
    secondary = told()
    secondary.opened(START, "")
    claims = secondary.received(START, "a", Goodbye("why"))
    assert any(isinstance(action, Claim) for action in claims)
    won = replace(record(2, "b"), disks=disks)
    actions = secondary.arbiter_answered(START, won)
    assert actions[0] == UseDisks(disks)
    assert isinstance(actions[-1], GoLive) and actions[-1].disks == disks
    assert secondary.ruling().disks == disks


def test_nobody_takes_over_while_the_old_file_may_still_be_used() -> None:
    """The record stands, and the thread that is to let go of the old file is late."""
    primary = deciding()
    primary.arbiter_answered(START, with_disks(record(2, "a", "b")))
    assert primary.switchover(START) == [Hold()]
    now = START + TIMING.interval
    assert not sent(primary.held(START, Position(1)), Handover)
    assert not sent(primary.tick(now), Handover) and primary.state is State.HOLDING
    primary.disk_moved({})
    assert sent(answer(primary, now, "b", 0), Handover)

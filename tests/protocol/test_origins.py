"""Whose entries are whose: a member follows a new owner if what it has is a part of that one's."""

from __future__ import annotations

import pytest
from protocol.roles import (
    CLOCK,
    LINE,
    START,
    answer,
    append,
    batch,
    following,
    hello,
    kinds,
    protected,
    record,
    releases,
    ruling,
    sent,
    went_live,
)

from vlockstep.protocol.actions import (
    Action,
    Claim,
    GoLive,
)
from vlockstep.protocol.journal import Batch as Kept
from vlockstep.protocol.journal import Journal
from vlockstep.protocol.messages import (
    Batch,
    Hello,
    Refuse,
    Welcome,
)
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND as MS
from vlockstep.replay import codec

# Whose entries are whose


def two_of_three() -> Primary:
    """`a` has gone live after three entries; `b` has at least one of these."""
    journal = Journal()
    for first in range(3):
        journal.add(_kept(first, 1))
    return went_live(2, "b", next=3, stable=1, journal=journal)


def _kept(first: int, origin: int) -> Kept:
    return Kept(first, first + 1, origin, codec.encode(first, [CLOCK]))


def test_who_lacks_something_gets_it_as_it_was_made() -> None:
    primary = two_of_three()
    append(primary, START, CLOCK)
    actions = primary.received(START, "b", hello(1, origin=1))
    assert sent(actions, Welcome, "b") == [Welcome(2, 1, {})]
    passed_on = [(codec.decode(b.entries)[0], b.origin) for b in sent(actions, Batch, "b")]
    assert passed_on == [(1, 1), (2, 1), (3, 2)]
    assert all(b.generation == 2 for b in sent(actions, Batch))


def test_outputs_of_before_wait_for_it_too() -> None:
    primary = two_of_three()
    primary._outputs.note(1, [LINE])
    primary.begin(START)
    primary.received(START, "b", hello(1, origin=1))
    assert not releases(answer(primary, START + MS, "b", 1))
    assert releases(answer(primary, START + MS, "b", 2)) == [2]


@pytest.mark.parametrize(
    "greeting",
    [
        hello(4, origin=1),  # what nobody else has, while this one made another
        hello(5, origin=1),  # more than there is
        hello(3, origin=7),  # what somebody made that nobody here knows
    ],
)
def test_a_member_that_has_other_entries_is_left_out(greeting: Hello) -> None:
    primary = two_of_three()
    append(primary, START, CLOCK)
    actions = primary.received(START, "b", greeting)
    assert Claim(2, leave_out=frozenset("b")) in actions
    assert not sent(actions, Welcome) and not sent(actions, Refuse), "it may still claim"


def test_and_may_claim_until_it_is() -> None:
    """What it has beyond the new owner's is whole, and nothing was released without it."""
    secondary = following("b", "c")
    secondary.received(START, "a", batch(0, [CLOCK] * 5))
    secondary.progressed(START, 5)
    secondary.received(START, "c", ruling(2, "c", "b"))
    actions: list[Action] = []
    while secondary.state is State.PARTED:
        actions = secondary.tick(secondary.deadline())
    assert actions == [Claim(2, leave_out=frozenset("c"))]
    assert GoLive in kinds(secondary.arbiter_answered(START, record(3, "b")))
    assert secondary.received_entries == 5


def test_who_lacks_what_is_not_kept_is_left_out() -> None:
    primary = protected("b", "c")
    for _ in range(3):
        append(primary, START, CLOCK)
    primary.journal.trim(2)
    primary.disconnected(START, "b")
    actions = primary.received(START, "b", hello(1, origin=1))
    assert Claim(1, leave_out=frozenset("b")) in actions


def test_what_a_secondary_has_is_told_with_who_made_it() -> None:
    secondary = following("b", "c")
    secondary.received(START, "a", batch(0, [CLOCK]))
    secondary.received(START, "c", ruling(2, "c", "b"))
    assert sent(secondary.connected(START, "c"), Hello) == [hello(1, origin=1)]
    secondary.received(START, "c", Welcome(2, 1, {}))
    secondary.received(START, "c", batch(1, [CLOCK], generation=2, origin=1))
    assert sent(secondary.connected(START, "c"), Hello) == [hello(2, origin=1)]
    secondary.received(START, "c", batch(2, [CLOCK], generation=2, origin=2))
    assert sent(secondary.connected(START, "c"), Hello) == [hello(3, origin=2)]

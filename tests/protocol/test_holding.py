"""With `hold` a primary that has no other member emits nothing, and all once it has one."""

from __future__ import annotations

import pytest
from protocol.roles import (
    CLOCK,
    END,
    LEASE,
    LINE,
    START,
    THERE,
    alone,
    answer,
    append,
    hello,
    protected,
    record,
    releases,
    waiting,
    went_live,
)

from vlockstep.errors import UsageError
from vlockstep.protocol.actions import Action, Claim, Done, Release, Start, Stop
from vlockstep.protocol.messages import Answer, Goodbye
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND as MS
from vlockstep.protocol.timing import MOST_HELD, Timing

NOW = START + MS
JOIN = "n"


def holding(primary: Primary | None = None) -> Primary:
    """One that is alone, with an output that waits."""
    primary = primary or alone()
    primary.hold = True
    assert not releases(append(primary, NOW, CLOCK, LINE))
    assert primary.holding
    return primary


def says(primary: Primary, received: int, lease: int = 0, now: int = NOW) -> list[Action]:
    return primary.received(now, JOIN, Answer(now, lease, received, received))


def asked(primary: Primary) -> Primary:
    """The arbiter is asked to take the newcomer in, which has everything."""
    primary.received(NOW, JOIN, hello())
    says(primary, 0)
    primary.captured(NOW - primary.timing.dead, primary.next)
    says(primary, primary.next)
    assert primary.state is State.BINDING and primary.holding
    claim = Claim(primary.generation, take_in={JOIN: THERE})
    assert claim in says(primary, primary.next)
    return primary


def test_who_is_alone_emits_nothing() -> None:
    primary = holding()
    assert not releases(append(primary, NOW, LINE))
    assert not releases(primary.begin(NOW))
    assert not releases(primary.tick(primary.deadline()))


def test_a_start_without_secondaries_holds() -> None:
    primary = waiting(0)
    primary.hold = True
    assert not primary.holding
    primary.tick(primary.deadline())
    assert primary.state is State.CLAIMING
    assert Start({}) in primary.arbiter_answered(START, record(1, "a"))
    holding(primary)


def test_who_is_protected_emits_as_ever() -> None:
    primary = protected("b")
    primary.hold = True
    append(primary, NOW, CLOCK, LINE)
    assert not primary.holding
    assert releases(answer(primary, NOW, "b", 2)) == [2]


def test_all_leaves_when_the_record_with_the_newcomer_stands() -> None:
    """And not before, though it has all and has promised."""
    primary = asked(holding())
    end = primary.next
    assert not releases(says(primary, end, LEASE)) and primary.holding
    actions = primary.arbiter_answered(NOW, record(primary.generation + 1, "a", JOIN))
    assert releases(actions) == [end] and not primary.holding


def test_who_is_not_taken_in_is_nobody() -> None:
    primary = asked(holding())
    primary.received(NOW, JOIN, Goodbye("for good"))
    claim = Claim(primary.generation, leave_out=frozenset({JOIN}))
    assert primary.state is State.CLAIMING and primary._claimed == claim
    assert not releases(primary.arbiter_answered(NOW, record(primary.generation + 1, "a")))
    assert primary.holding


def test_what_was_permitted_waits_from_the_claim_on_that_leaves_the_last_one_out() -> None:
    """The record may stand long before the answer comes."""
    primary = protected("b")
    primary.hold = True
    append(primary, NOW, LINE)
    assert releases(answer(primary, NOW, "b", 1)) == [1]
    actions = primary.received(NOW, "b", Goodbye("for good"))
    assert actions[-2:] == [Release(1, NOW), Claim(1, leave_out=frozenset({"b"}))]
    assert not releases(primary.arbiter_answered(NOW, record(2, "a")))


def test_nothing_waits_for_one_of_several() -> None:
    primary = protected("b", "c")
    primary.hold = True
    append(primary, NOW, LINE)
    assert not releases(primary.received(NOW, "b", Goodbye("for good")))
    primary.arbiter_answered(NOW, record(2, "a", "c"))
    assert releases(answer(primary, NOW, "c", 1)) == [1]


def test_another_one_that_leaves_meanwhile_is_the_last_one() -> None:
    primary = protected("b", "c")
    primary.hold = True
    append(primary, NOW, LINE)
    for member in ("b", "c"):
        answer(primary, NOW, member, 1)
    for member in ("b", "c"):
        primary.received(NOW, member, Goodbye("for good"))
    actions = primary.arbiter_answered(NOW, record(2, "a", "c"))
    assert actions[-2:] == [Release(1, NOW), Claim(2, leave_out=frozenset({"c"}))]


def test_a_guest_that_has_ended_waits_for_nobody() -> None:
    """Nobody can join it any more."""
    primary = holding()
    assert releases(append(primary, NOW, END)) == [primary.next]
    assert not primary.holding
    assert Done() in primary.performed(NOW, primary.next)


def test_nor_does_one_that_had_when_its_primary_died() -> None:
    primary = went_live(2, next=5, ended=4)
    primary._outputs.go_on([3, 4], 5, 4)
    primary.hold = True
    assert releases(primary.begin(NOW)) == [5]


@pytest.mark.parametrize("how", ["end", "leave"])
def test_who_is_to_end_waits_for_nobody(how: str) -> None:
    """What waits is lost."""
    primary = holding()
    (action,) = getattr(primary, how)(NOW, "as asked")
    assert isinstance(action, Stop) and primary.state is State.FINISHED


@pytest.mark.parametrize("how", ["end", "leave"])
def test_nor_does_who_waits_for_a_newcomer(how: str) -> None:
    primary = asked(holding())
    assert not getattr(primary, how)(NOW, "as asked")
    actions = primary.arbiter_answered(NOW, record(primary.generation + 1, "a"))
    assert any(isinstance(action, Stop) for action in actions)


def test_it_can_be_changed() -> None:
    primary = holding()
    assert releases(primary.set_hold(NOW, False)) == [primary.next]
    assert primary.set_hold(NOW, True) == [Release(primary.next, NOW)]
    assert not releases(append(primary, NOW, LINE)) and primary.holding


def test_what_is_permitted_while_it_is_changed_is_permitted_anew() -> None:
    primary = protected("b")
    append(primary, NOW, LINE)
    assert releases(answer(primary, NOW, "b", 1)) == [1]
    halt, release = primary.set_hold(NOW, True)
    assert halt == Release(1, NOW) and release == Release(1, START + LEASE)


def test_no_more_is_held_than_goes_in_a_message() -> None:
    Timing(max_log=MOST_HELD).check_hold()
    with pytest.raises(UsageError, match="takes 64 MiB"):
        Timing(max_log=MOST_HELD + 1).check_hold()

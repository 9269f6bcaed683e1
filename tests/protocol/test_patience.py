"""How long either role waits for the other, whenever it is called."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from protocol.roles import (
    LINE,
    START,
    TIMING,
    append,
    following,
    hello,
    protected,
    ready,
    releases,
    sent,
    waiting,
)

from vlockstep.protocol.actions import Claim
from vlockstep.protocol.messages import Answer, Query
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND as MS
from vlockstep.protocol.timing import Timing

Make = Callable[[Timing], Primary | Secondary]


def a_primary(timing: Timing) -> Primary:
    return protected("b", timing=timing)


def a_secondary(timing: Timing) -> Secondary:
    return following("b", timing=timing)


both = pytest.mark.parametrize("make", [a_primary, a_secondary])


def claims_after(role: Primary | Secondary, noticed: str) -> int:
    """How long after the other was last heard `role` claims, in ms."""
    now = START
    if noticed == "lost connection":
        role.disconnected(now, "b" if isinstance(role, Primary) else "a")
    while True:
        now += MS
        if any(isinstance(action, Claim) for action in role.tick(now)):
            return (now - START) // MS


@pytest.mark.parametrize("noticed", ["silence", "lost connection"])
@both
def test_one_without_a_network_lets_the_other_claim_first(make: Make, noticed: str) -> None:
    usual = claims_after(make(TIMING), noticed)
    isolated = make(TIMING)
    isolated.isolated = True
    assert claims_after(isolated, noticed) == usual + TIMING.dead // MS


@pytest.mark.parametrize("late", [0, 1, 20, 49, 60, 300], ids="{} ms".format)
@pytest.mark.parametrize("misses", [2, 3, 5])
@both
def test_who_is_called_late_sees_silence_all_the_same(make: Make, misses: int, late: int) -> None:
    """As many late calls as there are misses, and one more to be sure, are enough."""
    role, calls = make(Timing(misses=misses)), 0
    while role.state is not State.CLAIMING:
        role.tick(role.deadline() + late * MS)
        calls += 1
        assert calls <= misses + 1


@pytest.mark.parametrize("misses", [2, 3, 5])
@pytest.mark.parametrize("before", [0, 10, 49, 60, 99])
@both
def test_who_was_stopped_listens_for_an_interval_before_it_judges(
    make: Make, before: int, misses: int
) -> None:
    """However long it stood still, and however long the other had been silent before."""
    role = make(Timing(misses=misses))
    for now in range(START, START + before * MS + 1, MS):
        role.tick(now)
    awake = START + before * MS + 10_000 * MS
    for now in range(awake, awake + 49 * MS, MS):
        role.tick(now)
        assert role.state is not State.CLAIMING
    other = "b" if isinstance(role, Primary) else "a"
    role.received(now, other, Query(1, now, 50 * MS, 0, 0))
    role.tick(now + 49 * MS)
    assert role.state is not State.CLAIMING


def test_a_lease_outlives_a_round_trip_that_is_longer_than_death() -> None:
    """Otherwise no answer would ever permit anything."""
    timing = Timing(interval=2 * MS, misses=2)
    primary, secondary = protected("b", timing=timing), following("b", timing=timing)
    now = START
    for _ in range(8):
        query = Query(1, now, primary.lease, 0, 0)
        (given,) = sent(secondary.received(now + 10 * MS, "a", query), Answer)
        primary.received(now + 20 * MS, "b", given)
        now += 20 * MS
    append(primary, now, LINE)
    lease = primary.lease
    assert lease == 40 * MS
    assert releases(primary.received(now + 20 * MS, "b", Answer(now, lease, 1, 0))) == [1]


def asked_by(role: Primary | Secondary, limit: int) -> int:
    """The first time before `limit` at which a role that hears nothing gives somebody up, if it is
    only called when it asks to be."""
    while role.state is not State.STOPPED and (isinstance(role, Secondary) or role.followers):
        now = role.deadline()
        assert now < limit
        role.tick(now)
    return now


def test_nobody_waits_for_ever_for_one_that_lost_its_power_before_the_start() -> None:
    primary = waiting()
    primary.received(START, "b", hello())
    for role in (ready(), primary):
        assert asked_by(role, START + 2 * TIMING.starting) >= START + TIMING.starting

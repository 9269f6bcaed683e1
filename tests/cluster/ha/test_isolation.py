"""What an isolated host does with its guests."""

from __future__ import annotations

import pytest

from vlockstep.cluster.ha.isolation import (
    Action,
    Home,
    Isolation,
    IsolationPolicy,
    IsolationTiming,
    Local,
    Mark,
    PowerOff,
    Response,
    ShutDown,
    Unlist,
    Unmark,
)
from vlockstep.cluster.model import Guest, Priority
from vlockstep.protocol.actions import NEVER

TIMING = IsolationTiming(shutdown=300)
A, B = Guest("a", 64), Guest("b", 64)


def responding(response: Response, **guests: Response) -> Isolation:
    isolation = Isolation(IsolationPolicy(response, guests), TIMING)
    isolation.respond()
    return isolation


@pytest.mark.parametrize(
    ("response", "home", "actions"),
    [
        (Response.NONE, Home.OWNED, []),
        (Response.NONE, Home.UNREACHABLE, []),
        (Response.POWER_OFF, Home.UNOWNED, []),
        (Response.POWER_OFF, Home.OWNED, [Mark("a"), PowerOff("a")]),
        (Response.POWER_OFF, Home.UNREACHABLE, [PowerOff("a")]),
        (Response.SHUT_DOWN, Home.UNOWNED, []),
        (Response.SHUT_DOWN, Home.OWNED, [Mark("a"), ShutDown("a")]),
        (Response.SHUT_DOWN, Home.UNREACHABLE, [ShutDown("a")]),
    ],
)
def test_what_is_done_with_a_guest(response: Response, home: Home, actions: list[Action]) -> None:
    assert responding(response).tick(0, [Local(A, home)]) == actions


def test_by_default_nothing_is_done() -> None:
    """Scenario 4."""
    isolation = Isolation(IsolationPolicy(), TIMING)
    isolation.respond()
    assert isolation.tick(0, [Local(A, Home.OWNED)]) == []


def test_a_guest_leaves_the_list_when_it_has_ended() -> None:
    """Scenario 5: others may start it from then on."""
    isolation = responding(Response.POWER_OFF)
    here = [Local(A, Home.OWNED), Local(B, Home.OWNED)]
    assert isolation.tick(0, here) == [Mark("a"), PowerOff("a"), Mark("b"), PowerOff("b")]
    assert isolation.tick(1, here) == []
    assert isolation.tick(2, here[1:]) == [Unlist("a")]
    assert isolation.tick(3, []) == [Unlist("b")]
    assert isolation.tick(4, []) == []


def test_nothing_is_done_before_the_response_nor_after_the_isolation() -> None:
    """Scenario 6."""
    isolation = Isolation(IsolationPolicy(Response.POWER_OFF), TIMING)
    assert isolation.tick(0, [Local(A, Home.OWNED)]) == []
    isolation.respond()
    isolation.cancel()
    assert isolation.tick(1, [Local(A, Home.OWNED)]) == []


def test_a_guest_whose_home_finds_a_master_later_is_ended_then() -> None:
    isolation = responding(Response.POWER_OFF)
    assert isolation.tick(0, [Local(A, Home.UNOWNED)]) == []
    assert isolation.tick(1, [Local(A, Home.OWNED)]) == [Mark("a"), PowerOff("a")]


def test_a_guest_has_a_response_of_its_own() -> None:
    isolation = responding(Response.NONE, b=Response.POWER_OFF)
    here = [Local(A, Home.OWNED), Local(B, Home.OWNED)]
    assert isolation.tick(0, here) == [Mark("b"), PowerOff("b")]


def test_a_guest_that_is_never_restarted_is_not_ended() -> None:
    """Scenario 23: whatever is said of it."""
    alone = Guest("a", 64, priority=Priority.DISABLED)
    isolation = responding(Response.POWER_OFF, a=Response.POWER_OFF)
    assert isolation.tick(0, [Local(alone, Home.OWNED)]) == []


def test_who_does_not_shut_down_in_time_is_powered_off() -> None:
    isolation = responding(Response.SHUT_DOWN)
    here = [Local(A, Home.OWNED)]
    assert isolation.tick(10, here) == [Mark("a"), ShutDown("a")]
    assert isolation.deadline() == 310
    assert isolation.tick(309, here) == []
    assert isolation.tick(310, here) == [PowerOff("a")]
    assert isolation.deadline() == NEVER
    assert isolation.tick(1000, here) == []
    assert isolation.tick(1001, []) == [Unlist("a")]


def test_who_shuts_down_in_time_is_not() -> None:
    isolation = responding(Response.SHUT_DOWN)
    isolation.tick(10, [Local(A, Home.OWNED)])
    assert isolation.tick(200, []) == [Unlist("a")]
    assert isolation.tick(310, []) == []


def test_who_still_shuts_down_when_the_isolation_is_over_may_go_on() -> None:
    isolation = responding(Response.SHUT_DOWN)
    here = [Local(A, Home.OWNED)]
    isolation.tick(10, here)
    isolation.cancel()
    assert isolation.tick(309, here) == []
    assert isolation.tick(310, here) == [Unmark("a")]
    assert isolation.tick(311, here) == []
    isolation.respond()
    assert isolation.tick(312, here) == [Mark("a"), ShutDown("a")]


def test_who_ends_in_order_after_the_isolation_was_ended_by_it() -> None:
    """The mark stays: others are to start the guest again."""
    isolation = responding(Response.SHUT_DOWN)
    isolation.tick(10, [Local(A, Home.OWNED)])
    isolation.cancel()
    assert isolation.tick(20, []) == [Unlist("a")]


def test_copies_that_were_fenced_are_ended_once_and_not_marked() -> None:
    """A host comes back, and others run its guests."""
    isolation = Isolation(IsolationPolicy(), TIMING)
    here = [Local(A, Home.OWNED), Local(B, Home.OWNED)]
    assert isolation.fenced(["a"]) == [PowerOff("a")]
    assert isolation.fenced(["a"]) == []
    assert isolation.tick(0, here) == []
    assert isolation.tick(1, here[1:]) == [Unlist("a")]


def test_a_copy_that_was_fenced_has_no_time_to_shut_down() -> None:
    isolation = responding(Response.SHUT_DOWN)
    isolation.tick(10, [Local(A, Home.OWNED)])
    assert isolation.fenced(["a"]) == [PowerOff("a")]
    assert isolation.deadline() == NEVER


def test_a_faster_profile_has_all_times_divided() -> None:
    assert IsolationTiming().faster(20).shutdown == 15_000_000_000

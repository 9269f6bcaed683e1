"""When a guest stops that moves by precopy, and how far it is slowed before."""

from __future__ import annotations

import pytest

from vlockstep.errors import HostError, UsageError
from vlockstep.ft.rounds import CopiedRest, Precopy, Round, SentRest, Throttle
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.timing import MILLISECOND as MS
from vlockstep.protocol.timing import SECOND

MB = 1_000_000
MOST = 5


def rounds(downtime: int = 300 * MS, throttled: bool = True) -> SentRest:
    return SentRest(Precopy(downtime, throttled), MOST)


def over(some: SentRest, size: int, left: int, time: int = SECOND) -> bool:
    return some.over(0, Round(size, time, left, 0))


def test_a_guest_stops_when_the_rest_takes_as_long_as_it_may_stand() -> None:
    assert not over(rounds(), 100 * MB, 30 * MB + 1)
    assert over(rounds(), 100 * MB, 30 * MB)
    assert over(rounds(600 * MS), 100 * MB, 60 * MB)
    assert over(rounds(), 100 * MB, 60 * MB, SECOND // 2)


def test_and_not_if_it_writes_more_until_it_can_be_stopped() -> None:
    some = rounds()
    assert over(some, 100 * MB, 30 * MB)
    assert not some.too_much(30 * MB, 0) and some.too_much(31 * MB, 0)


def test_one_that_writes_half_of_what_is_sent_is_slowed_from_its_second_round_on() -> None:
    some, percents = rounds(), []
    for _ in range(11):
        assert not over(some, 100 * MB, 51 * MB)
        percents.append(some.throttle.percent)
    assert percents == [0, 20, 30, 40, 50, 60, 70, 80, 90, 99, 99]


def test_one_that_writes_less_is_not() -> None:
    some = SentRest(Precopy(MS), 100)
    for size in (100, 49, 24, 11):
        assert not over(some, size * MB, size * MB // 2)
    assert some.throttle.percent == 0
    assert not over(some, 100 * MB, 51 * MB)
    assert not over(some, 100 * MB, 49 * MB), "that is one round in a row, and no more"
    assert not over(some, 100 * MB, 51 * MB)
    assert some.throttle.percent == 0


def test_one_that_is_not_to_be_slowed_is_given_up_after_so_many_rounds() -> None:
    some = rounds(throttled=False)
    for _ in range(MOST - 1):
        assert not over(some, 100 * MB, 200 * MB)
    with pytest.raises(HostError, match="writes 200 MB/s and the network takes 100 MB/s"):
        over(some, 100 * MB, 200 * MB)
    assert some.throttle.percent == 0


def test_one_that_cannot_be_slowed_any_more_is_too() -> None:
    some, count = rounds(), 0
    with pytest.raises(HostError, match="slowed by 99 %"):
        while True:
            over(some, 100 * MB, 200 * MB)
            count += 1
            assert count < 100
    assert count == 1 + 9 + MOST - 1


def test_so_is_one_that_writes_much_whenever_it_is_to_be_stopped() -> None:
    some = rounds()
    with pytest.raises(HostError):
        for _ in range(2 * MOST):
            if over(some, 100 * MB, 0):
                assert some.too_much(31 * MB, 0)


def test_a_round_that_brings_nothing_tells_nothing_of_the_network() -> None:
    some = rounds()
    assert not over(some, 100 * MB, 31 * MB)
    assert over(some, 0, 30 * MB)
    assert not over(some, 0, 31 * MB)


@pytest.mark.parametrize("downtime", [0, MS - 1, 61 * SECOND])
def test_a_downtime_that_is_none_is_refused(downtime: int) -> None:
    with pytest.raises(UsageError, match="1 ms to 60 s"):
        Precopy(downtime)


def test_a_throttled_guest_stands_for_that_part_of_the_time() -> None:
    throttle = Throttle()
    assert not throttle.stands(0) and throttle.next(0) == NEVER
    while throttle.tighten(7):
        now, total = 7, 0
        while now < 7 + 10 * SECOND:
            later = throttle.next(now)
            assert later > now
            assert throttle.stands(now) == throttle.stands(later - 1) != throttle.stands(later)
            total += (later - now) * throttle.stands(now)
            now = later
        assert total * 100 // (now - 7) == pytest.approx(throttle.percent, abs=1)
    assert throttle.percent == 99


def copied(*sizes: int) -> list[bool]:
    """Whether rounds that leave so many MB are the last, of a guest that has 100 and may be held
    for no time at all."""
    some = CopiedRest(0, 30, 100 * MB)
    return [
        some.over(0, Round(100 * MB, SECOND, size * MB, number))
        for number, size in enumerate(sizes)
    ]


def test_rounds_that_shrink_go_on() -> None:
    assert copied(79, 60, 40, 10) == [False] * 4


def test_two_in_a_row_that_do_not_are_enough() -> None:
    assert copied(50, 45, 30, 28, 27) == [False, False, False, False, True]


def test_so_is_the_first_in_which_most_of_it_was_written_again() -> None:
    """As much would be in any other."""
    assert copied(81) == [True]


def test_how_long_what_is_left_would_hold_the_guest() -> None:
    sent = SentRest(Precopy(MS), 100)
    assert sent.pause(MB) is None, "nothing was sent yet"
    sent.over(0, Round(100 * MB, SECOND, 10 * MB, 0))
    assert sent.pause(10 * MB) == SECOND // 10
    kept = CopiedRest(0, 30, 100 * MB)
    kept.copied(2_000_000_000, 3 * SECOND)
    assert kept.pause(1_000_000_000) == SECOND, "of all that was copied, and of the first guess"

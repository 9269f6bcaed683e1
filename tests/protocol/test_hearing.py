"""When somebody counts as dead."""

from __future__ import annotations

import pytest

from vlockstep.protocol.hearing import Hearing
from vlockstep.protocol.timing import MILLISECOND as MS

INTERVAL, DEAD = 50 * MS, 250 * MS


def looked_at(hearing: Hearing, *times: int) -> list[bool]:
    return [hearing.silent(time * MS, DEAD) for time in times]


def test_silence_is_what_was_listened_to() -> None:
    assert looked_at(Hearing(0, INTERVAL), 50, 100, 150, 200, 249, 250) == [False] * 5 + [True]


def test_a_word_ends_it() -> None:
    hearing = Hearing(0, INTERVAL)
    assert looked_at(hearing, 50, 100, 150, 200) == [False] * 4
    hearing.heard(220 * MS)
    assert looked_at(hearing, 270, 320, 370, 420, 470) == [False] * 4 + [True]


def test_who_looks_late_listens_once_more() -> None:
    hearing = Hearing(0, INTERVAL)
    assert looked_at(hearing, 50, 100, 150, 200, 100_000) == [False] * 5
    assert looked_at(hearing, 100_049, 100_050) == [False, True]


def test_but_not_twice_in_a_silence() -> None:
    hearing = Hearing(0, INTERVAL)
    assert looked_at(hearing, 1000, 2000, 3000, 4000, 5000, 6000)[-1]


@pytest.mark.parametrize("late", [0, 1, 20, 74, 76, 300])
def test_the_next_look_comes_soon_enough(late: int) -> None:
    """Who looks when it says, or a little later, is not kept waiting for ever."""
    hearing = Hearing(0, INTERVAL)
    now, looks = 0, 0
    while not hearing.silent(now, DEAD):
        now = hearing.next_look(DEAD) + late * MS
        looks += 1
    assert looks <= 6 and now <= 6 * (50 + late) * MS

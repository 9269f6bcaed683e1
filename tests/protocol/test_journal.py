"""What is kept for other members, and who made it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.protocol.journal import Batch, Journal


def journal(*batches: tuple[int, int, int]) -> Journal:
    """Of batches from `first` to `end`, made under a generation."""
    made = Journal()
    for first, end, origin in batches:
        made.add(Batch(first, end, origin, bytes(end - first)))
    return made


def test_what_somebody_lacks_is_kept_and_nothing_else() -> None:
    kept = journal((0, 3, 1), (3, 4, 1), (4, 9, 1))
    assert [batch.first for batch in kept.since(3)] == [3, 4]
    assert [batch.first for batch in kept.since(5)] == [4]
    kept.trim(4)
    assert [batch.first for batch in kept.since(0)] == [4]
    assert kept.bytes == 5
    kept.trim(6)
    assert kept.bytes == 5, "a part of it is lacked"
    kept.trim(9)
    assert kept.bytes == 0 and kept.since(0) == []


@pytest.mark.parametrize(("next", "kept"), [(3, False), (4, True), (7, True), (9, True)])
def test_who_lacks_what_is_gone_can_be_told(next: int, kept: bool) -> None:
    trimmed = journal((0, 4, 1), (4, 9, 1))
    trimmed.trim(4)
    assert trimmed.reaches_back_to(next) is kept


def test_an_empty_one_has_nothing_to_lack() -> None:
    assert Journal().reaches_back_to(0) and Journal().origin(0) == 0


def test_an_entry_is_its_generations() -> None:
    made = journal((0, 3, 1), (3, 5, 1), (5, 6, 4))
    assert [made.origin(next) for next in range(7)] == [0, 1, 1, 1, 1, 1, 4]


def test_a_generation_that_made_nothing_has_no_entries() -> None:
    made = journal((0, 3, 1))
    made.mark(3, 2)
    made.mark(3, 3)
    assert made.origin(3) == 1
    assert made.origin(4) == 3


def test_what_an_older_generation_made_is_not_the_newer_ones() -> None:
    """A new owner passes on what it has received of the one before."""
    made = journal((0, 3, 1), (3, 5, 2), (5, 7, 2))
    made.mark(7, 3)
    assert [made.origin(next) for next in (3, 5, 7, 8)] == [1, 2, 2, 3]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=1), st.data())
def test_trimming_forgets_no_origin_of_what_is_left(
    parts: list[tuple[int, int]], data: st.DataObject
) -> None:
    made, trimmed = Journal(), Journal()
    next = origin = stable = 0
    for length, newer in parts:
        origin += newer
        for kept in (made, trimmed):
            kept.add(Batch(next, next + length, origin + 1, bytes(length)))
        next += length
        stable = data.draw(st.integers(stable, next))
        trimmed.trim(stable)
        for asked in range(stable, next + 2):
            assert trimmed.origin(asked) == made.origin(asked)
            assert trimmed.reaches_back_to(asked)
            assert trimmed.since(asked) == made.since(asked)

"""Lists of words that a test gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from vlockstep.errors import UsageError

_T = TypeVar("_T")


def words(given: Sequence[_T], what: str) -> list[_T]:
    """`UsageError` for a single text, which would be taken letter by letter."""
    if isinstance(given, str):
        raise UsageError(f"{what} takes a list of words: write [{given!r}]")
    return list(given)

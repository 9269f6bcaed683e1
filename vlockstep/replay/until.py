"""Where a replay stops, as text: before an entry is taken, or at a position."""

from __future__ import annotations

from vlockstep.errors import UsageError
from vlockstep.machine.position import MAX_COUNT, Position, shown

_ENTRY = "entry:"
_MAX_DIGITS = 20


def parse_until(text: str) -> int | Position:
    """Read `entry:N` as the sequence number N, and `exits:N` or `exits:N+BLOCKS` as a position."""
    if not text.startswith(_ENTRY):
        return Position.parse(text)
    number = text.removeprefix(_ENTRY)
    if number.isascii() and number.isdecimal() and len(number) <= _MAX_DIGITS:
        entry = int(number)
        if entry <= MAX_COUNT:
            return entry
    raise UsageError(
        f"{shown(text)} names no entry: write entry:N, counting from 0, with a number of 64 bits"
    )

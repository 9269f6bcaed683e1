"""The two sides of a pair, by the role that each began in, and the ways between them."""

from __future__ import annotations

from typing import Literal

from vlockstep.errors import UsageError
from vlockstep.program.tracebacks import hide

__tracebackhide__ = hide

Side = Literal["primary", "secondary"]
SIDES: tuple[Side, Side] = ("primary", "secondary")

Direction = Literal["both", "to_primary", "to_secondary"]
_RECEIVERS: dict[str, frozenset[Side]] = {
    "both": frozenset(SIDES),
    "to_primary": frozenset({"primary"}),
    "to_secondary": frozenset({"secondary"}),
}


def check_side(name: str) -> Side:
    """Raises `UsageError` if it is none."""
    for side in SIDES:
        if name == side:
            return side
    raise UsageError(f"{name!r} is no side of a pair: write {' or '.join(SIDES)}")


def receivers(direction: str) -> frozenset[Side]:
    """Who gets what is sent in this direction. Raises `UsageError` if it is none."""
    try:
        return _RECEIVERS[direction]
    except KeyError:
        known = ", ".join(_RECEIVERS)
        raise UsageError(f"{direction!r} is no direction: write one of {known}") from None

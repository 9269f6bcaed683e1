"""Where in a guest's execution: exits so far, and blocks since the last exit."""

from __future__ import annotations

import re
from typing import NamedTuple

from vlockstep.errors import UsageError

_SPELLING = re.compile(r"exits:([0-9]{1,20})(?:\+([0-9]{1,20}))?")
MAX_COUNT = (1 << 64) - 1
"""Exits, blocks and entries are counted in 64 bits."""
_SHOWN = 60


def shown(text: str) -> str:
    """What somebody wrote, in an error: not more than a line of it."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


class Position(NamedTuple):
    """`exits` exits are complete, and `blocks` basic blocks have begun since the last of them.

    A position is exact and repeatable: two executions with equal inputs are in equal states at
    equal positions. Positions order as tuples do.
    """

    exits: int
    blocks: int = 0

    def __str__(self) -> str:
        return f"exits:{self.exits}+{self.blocks}" if self.blocks else f"exits:{self.exits}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read `exits:N` or `exits:N+BLOCKS`."""
        match = _SPELLING.fullmatch(text)
        position = match and cls(int(match[1]), int(match[2] or 0))
        if position is None or max(position) > MAX_COUNT:
            raise UsageError(
                f"{shown(text)} is not a position: write exits:N or exits:N+BLOCKS, with numbers "
                "of 64 bits"
            )
        return position


BOOT = Position(0, 0)
"""Where every execution begins."""

"""Where in a guest's execution: exits so far, and blocks since the last exit."""

from __future__ import annotations

import re
from typing import NamedTuple

from vlockstep.errors import UsageError

_SPELLING = re.compile(r"exits:([0-9]{1,18})(?:\+([0-9]{1,18}))?")


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
        if match is None:
            raise UsageError(f"{text!r} is not a position: write exits:N or exits:N+BLOCKS")
        return cls(int(match[1]), int(match[2] or 0))


BOOT = Position(0, 0)
"""Where every execution begins."""

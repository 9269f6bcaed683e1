"""Where in a recorded execution, instruction by instruction."""

from __future__ import annotations

import re
from typing import NamedTuple

from vlockstep.errors import UsageError
from vlockstep.machine.position import MAX_COUNT, Position, shown

_SPELLING = re.compile(r"exits:([0-9]{1,20})\+([0-9]{1,20})\.([0-9]{1,20})")


class Mark(NamedTuple):
    """Before the instruction that comes when `steps` have been executed since the block boundary at
    which `exits` exits were complete, and `blocks` blocks had begun since.

    The steps lead through exits of that block, and no further than its last instruction, so each
    instruction of an execution has one mark. Marks order as tuples do. An iteration of an
    instruction with a REP prefix is a block.
    """

    exits: int
    blocks: int
    steps: int

    @property
    def boundary(self) -> Position:
        return Position(self.exits, self.blocks)

    def __str__(self) -> str:
        return f"exits:{self.exits}+{self.blocks}.{self.steps}"

    @classmethod
    def at(cls, boundary: Position, steps: int = 0) -> Mark:
        return cls(*boundary, steps)

    @classmethod
    def parse(cls, text: str) -> Mark | None:
        """Read `exits:N+BLOCKS.STEPS`; None if it is spelled otherwise."""
        match = _SPELLING.fullmatch(text)
        if match is None:
            return None
        mark = cls(*map(int, match.groups()))
        if max(mark) > MAX_COUNT:
            raise UsageError(f"{shown(text)} is no mark: its numbers have 64 bits")
        return mark

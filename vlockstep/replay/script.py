"""A log as a script that is followed to its end, or to a place before it."""

from __future__ import annotations

from collections.abc import Iterator

from vlockstep.errors import UsageError
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.engines import AUTO
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import MAX_COUNT, Position, shown
from vlockstep.machine.world import NoAnswer
from vlockstep.replay.entry import Entry
from vlockstep.replay.replayer import Sequence

Goal = int | Position | None
"""Before which entry, or at which position, a replay stops; None if it goes as far as the log."""

_ENTRY = "entry:"
_MAX_DIGITS = 20


def parse_goal(text: str) -> int | Position:
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


def new_machine(image: Image, config: GuestConfig, goal: Goal, engine: str = AUTO) -> Machine:
    """A machine that can stop at the goal, between exits too."""
    count_blocks = isinstance(goal, Position) and goal.blocks > 0
    return Machine(image, config, count_blocks=count_blocks, engine=engine)


class Script:
    """The entries of a log from number `taken` on as a `Source`. At the goal it asks the machine to
    stop."""

    def __init__(
        self, entries: Iterator[Entry], machine: Machine, goal: Goal, taken: int = 0
    ) -> None:
        self.taken = taken
        self._machine = machine
        self._until = goal if isinstance(goal, int) else None
        self._sequence = Sequence(entries)
        if isinstance(goal, Position):
            machine.break_at(goal, machine.stop)

    def peek(self) -> Entry:
        return self._sequence.peek()

    def take(self) -> Entry:
        if self.taken == self._until:
            self._machine.stop()
            raise NoAnswer
        entry = self._sequence.take()
        self.taken += 1
        return entry

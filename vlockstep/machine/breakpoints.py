"""What to do where, in the order of an execution."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from vlockstep.errors import UsageError
from vlockstep.machine.position import Position


class _Breakpoint(NamedTuple):
    position: Position
    exact: bool
    action: Callable[[], None]


_position = attrgetter("position")


class Breakpoints:
    """Those that have not been reached."""

    def __init__(self) -> None:
        self._waiting: list[_Breakpoint] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, position: Position, action: Callable[[], None], exact: bool) -> None:
        insort(self._waiting, _Breakpoint(position, exact, action), key=_position)

    def blocks_behind(self, exits: int) -> int | None:
        """How many blocks behind exit `exits` the next one lies; None if it is not there."""
        if not self._waiting or self._waiting[0].position.exits != exits:
            return None
        return self._waiting[0].position.blocks

    def reach(self, position: Position) -> None:
        """The guest is at `position`: do what is to be done there, or was before it.

        Raises `UsageError` if there was no such position and it had to be exact.
        """
        while self._waiting and position >= self._waiting[0].position:
            wanted, exact, action = self._waiting.pop(0)
            if exact and position > wanted:
                raise UsageError(
                    f"{wanted} does not exist: the guest went from before it to {position}"
                )
            action()

"""States along an execution, dense near where somebody looks."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from mmap import PAGESIZE

from vlockstep.debug.pages import Table, owned
from vlockstep.machine.position import Position
from vlockstep.machine.state import MachineState

MOST = 160
"""Moments that are kept, of which more would hardly be nearer."""
_PAGES = (512 << 20) // PAGESIZE


@dataclass(frozen=True, eq=False)
class Moment:
    """The guest at a block boundary. `block` are address and size of the block to come; `age` is
    how long its execution had taken when it came here, in seconds of this host, roughly. It is
    `apart` if nobody ran here from the moment before, so that how far that is is not known."""

    boundary: Position
    state: MachineState
    table: Table
    sequence: int
    clock: tuple[int, int]
    block: tuple[int, int]
    rip: int
    age: float
    apart: bool = False


class Ring:
    """Moments in order. The first one is never dropped."""

    def __init__(self, most: int = MOST, pages: int = _PAGES) -> None:
        self._most, self._most_pages = most, pages
        self._moments: list[Moment] = []
        self.pages = 0
        """Pages that are held, about."""

    def __len__(self) -> int:
        return len(self._moments)

    @property
    def first(self) -> Moment:
        return self._moments[0]

    def before(self, boundary: Position, strictly: bool = False) -> Moment | None:
        """The last one at or before a boundary."""
        find = bisect_left if strictly else bisect_right
        index = find(self._moments, boundary, key=_boundary) - 1
        return self._moments[index] if index >= 0 else None

    def at(self, boundary: Position) -> Moment | None:
        found = self.before(boundary)
        return found if found is not None and found.boundary == boundary else None

    def earlier(self, moment: Moment, span: float, lowest: Position) -> Moment:
        """One that is at least `span` seconds older, or at or before `lowest`, or the last one for
        which that is not known."""
        index = bisect_left(self._moments, moment.boundary, key=_boundary)
        while (
            index
            and not self._moments[index].apart
            and self._moments[index].age > moment.age - span
            and self._moments[index].boundary > lowest
        ):
            index -= 1
        return self._moments[index]

    def dense(self, boundary: Position, seconds: float) -> bool:
        """Whether from the moment before to the one behind it is no longer."""
        index = bisect_right(self._moments, boundary, key=_boundary)
        if not 0 < index < len(self._moments) or self._moments[index].apart:
            return False
        return self._moments[index].age - self._moments[index - 1].age <= seconds

    def add(self, moment: Moment, cursor: float) -> None:
        """And drop those that lie densest, for how far from age `cursor` they are."""
        index = bisect_left(self._moments, moment.boundary, key=_boundary)
        if index < len(self._moments) and self._moments[index].boundary == moment.boundary:
            return
        self._moments.insert(index, moment)
        self.pages += self._owned(index)
        while len(self._moments) > 2 and (
            len(self._moments) > self._most or self.pages > self._most_pages
        ):
            index = min(range(1, len(self._moments)), key=lambda i: self._worth(i, cursor))
            self.pages -= self._owned(index)
            del self._moments[index]

    def _owned(self, index: int) -> int:
        moments = self._moments
        before = moments[index - 1].table if index else None
        after = moments[index + 1].table if index + 1 < len(moments) else None
        return owned(before, moments[index].table, after)

    def _worth(self, index: int, cursor: float) -> float:
        moments = self._moments
        here = moments[index].age
        following = moments[min(index + 1, len(moments) - 1)].age
        return (following - moments[index - 1].age + 1e-9) / (abs(here - cursor) + 1e-4)


def _boundary(moment: Moment) -> Position:
    return moment.boundary

"""Entries that some member may still lack, as they were encoded."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import NamedTuple


class Batch(NamedTuple):
    """Entries `first` … `end` - 1, made under the generation `origin`."""

    first: int
    end: int
    origin: int
    content: bytes


class Journal:
    """What a replica keeps for other members, and who made it.

    Entries with equal numbers are equal if the same generation made them, and then so are all
    before them: each generation has one owner, which began with what it had received.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._batches: deque[Batch] = deque()
        self._marks: list[tuple[int, int]] = []
        """From which entry on which generation made them."""

    def mark(self, next: int, generation: int) -> None:
        """Entries from `next` on are made under this generation, or a later one."""
        if not self._marks or self._marks[-1][1] < generation:
            self._marks.append((next, generation))

    def add(self, batch: Batch) -> None:
        self.mark(batch.first, batch.origin)
        self._batches.append(batch)
        self.bytes += len(batch.content)

    def since(self, next: int) -> list[Batch]:
        """What holds the entries from `next` on."""
        return [batch for batch in self._batches if batch.end > next]

    def trim(self, stable: int) -> None:
        """Every member has the entries before `stable`."""
        batches = self._batches
        while batches and batches[0].end <= stable:
            self.bytes -= len(batches.popleft().content)
        while len(self._marks) > 1 and self._marks[1][0] < stable:
            self._marks.pop(0)

    def reaches_back_to(self, next: int) -> bool:
        """Whether all entries from `next` on are kept, if there are any."""
        return not self._batches or self._batches[0].first <= next

    def origin(self, next: int) -> int:
        """The generation that made the entry before `next`; 0 if none did."""
        place = bisect_right(self._marks, next - 1, key=lambda mark: mark[0])
        return self._marks[place - 1][1] if next and place else 0

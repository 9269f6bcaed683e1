"""Virtual time: what happens next, happens at once."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

Call = Callable[[], None]


class VirtualTime:
    """Nanoseconds since the start. What is due at the same time happens in the order in which it
    was asked for."""

    def __init__(self) -> None:
        self.now = 0
        self.watchers: list[Call] = []
        """Called after everything that happens."""
        self._due: list[tuple[int, int, Call]] = []
        self._numbers = count()

    def at(self, time: int, call: Call) -> None:
        assert time >= self.now
        heapq.heappush(self._due, (time, next(self._numbers), call))

    def after(self, delay: int, call: Call) -> None:
        self.at(self.now + delay, call)

    def run(self, until: int) -> None:
        """Let everything happen that is due by then."""
        while self._due and self._due[0][0] <= until:
            self.now, _, call = heapq.heappop(self._due)
            call()
            for watcher in self.watchers:
                watcher()
        self.now = max(self.now, until)

"""How far a long program is, on standard error."""

from __future__ import annotations

import sys
import time

from vlockstep.program import say

INTERVALS = {True: 0.5, False: 10.0}
"""Seconds from one word to the next, in a terminal and elsewhere."""


class Progress:
    """In a terminal a line that changes, elsewhere a new one from time to time: whoever watches a
    pipe or a file sees that something happens."""

    def __init__(self) -> None:
        self._told = time.monotonic()
        self._shown = False

    def tell(self, text: str) -> None:
        """May be called as often as one likes."""
        terminal = sys.stderr.isatty()
        now = time.monotonic()
        if now - self._told < INTERVALS[terminal]:
            return
        self._told = now
        if terminal:
            self._shown = True
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        else:
            say(text)

    def clear(self) -> None:
        """Something else is printed now."""
        if self._shown:
            self._shown = False
            print("\r\033[K", end="", file=sys.stderr, flush=True)

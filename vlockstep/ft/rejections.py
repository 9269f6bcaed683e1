"""What was rejected: all of it is counted, and not more of it told than anybody reads."""

from __future__ import annotations

from vlockstep.protocol.timing import SECOND

_BURST = 20
"""So many are told at once, and then one a second."""


class Rejections:
    def __init__(self) -> None:
        self.total = 0
        self._credit = _BURST * SECOND
        self._counted = 0

    def count(self, now: int) -> bool:
        """One more; whether to tell it. `now` is in nanoseconds and never goes back."""
        self.total += 1
        self._credit = min(self._credit + now - self._counted, _BURST * SECOND)
        self._counted = now
        told = self._credit >= SECOND
        if told:
            self._credit -= SECOND
        return told

"""How far the guest's clock is ahead of this host's, as the log tells it."""

from __future__ import annotations

from vlockstep.protocol.timing import SECOND

_WINDOW = SECOND
"""Clocks of two hosts drift apart by a tenth of a millisecond in it, at the most."""


class ClockLead:
    """By how many nanoseconds a clock that is read elsewhere is ahead of the one here.

    Each reading reaches this host late, so it shows too small a lead: the one that was fastest to
    get here tells best. But only among those of the last window and the one before it, since the
    clocks drift. What was `assumed` counts until something is read.
    """

    def __init__(self, assumed: int | None = None) -> None:
        self._assumed = assumed
        self._since = 0
        self._before: int | None = None
        self._largest: int | None = None

    def note(self, now: int, reading: int) -> None:
        lead = reading - now
        if self._largest is None or now - self._since >= _WINDOW:
            self._since, self._before, self._largest = now, self._largest, lead
        else:
            self._largest = max(self._largest, lead)

    @property
    def value(self) -> int | None:
        """None if nothing was read or assumed yet."""
        if self._largest is None:
            return self._assumed
        if self._before is None:
            return self._largest
        return max(self._before, self._largest)

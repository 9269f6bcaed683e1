"""Which outputs a primary has still to release."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from vlockstep.protocol.timing import Timing
from vlockstep.replay.entry import OUTPUTS, Entry, Kind


class Outputs:
    """The entries with outputs, from the first one that was not released on."""

    def __init__(self, timing: Timing) -> None:
        self.released = 0
        """Every output of an entry before this one has been released."""
        self.allowance = 0
        """How much longer than a round trip a lease is to last, since outputs take their time."""
        self._timing = timing
        self._entries: deque[int] = deque()
        self._end: int | None = None

    def go_on(self, entries: Iterable[int], next: int, end: int | None) -> None:
        """Those of before, up to entry `next`; the guest has already ended with the entry `end`."""
        self._entries.extend(entries)
        self._end = end
        self.released = self._entries[0] if self._entries else next

    def note(self, first: int, entries: Sequence[Entry]) -> None:
        """The guest made these, of which the first has the number `first`."""
        for sequence, entry in enumerate(entries, first):
            if entry[0] in OUTPUTS:
                self._entries.append(sequence)
                if entry[0] == Kind.END:
                    self._end = sequence

    def performed(self, end: int) -> None:
        """All outputs of entries before `end` are made."""
        while self._entries and self._entries[0] < end:
            self.released = self._entries.popleft() + 1
        if not self._entries:
            self.allowance = 0

    def expired(self) -> None:
        """One came too late for its lease."""
        longer = 2 * self.allowance + self._timing.interval
        self.allowance = min(longer, self._timing.max_lease)

    def __bool__(self) -> bool:
        """Whether one waits."""
        return bool(self._entries)

    def wait_before(self, end: int) -> bool:
        """Whether one of an entry before `end` does."""
        return bool(self._entries) and self._entries[0] < end

    def first(self, next: int) -> int:
        """The entry of the first one that waits, or `next` if none does."""
        return self._entries[0] if self._entries else next

    @property
    def ended(self) -> bool:
        """The guest has ended, and makes no other."""
        return self._end is not None

    @property
    def complete(self) -> bool:
        """The guest has ended, and all its outputs are released."""
        return self._end is not None and self.released > self._end

"""When a peer counts as dead."""

from __future__ import annotations


class Hearing:
    """How long a peer has said nothing while this replica listened.

    Silence is what was listened to: an interval at the most from one look to the next. Who looks
    later than that was stopped, or had no CPU, and may have the peer's words still to read: once
    in a silence it listens for another interval before it judges.
    """

    def __init__(self, now: int, interval: int) -> None:
        self._interval = interval
        self._silence = 0
        self._excused = False
        self._looked = self.last = now
        """When there was a word last."""

    def heard(self, now: int) -> None:
        """A word from the peer."""
        self._silence, self._excused = 0, False
        self._looked = self.last = now

    def silent(self, now: int, limit: int) -> bool:
        """Whether it has been silent for `limit` nanoseconds."""
        passed, self._looked = now - self._looked, now
        interval = self._interval
        self._silence += min(passed, interval)
        late = passed > interval + interval // 2
        if late and not self._excused and self._silence > limit - interval:
            self._excused = True
            self._silence = limit - interval
        return self._silence >= limit

    def next_look(self, limit: int) -> int:
        """When to look again."""
        return self._looked + min(limit - self._silence, self._interval)

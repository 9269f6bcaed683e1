"""The primary's side of a replica that joins a guest that runs."""

from __future__ import annotations

from vlockstep.protocol.follower import Follower
from vlockstep.protocol.timing import MILLISECOND, SECOND, Timing

_GRACE = 500 * MILLISECOND
_SHARE = 5
"""The guest waits for a newcomer for a moment, and then for a fifth of the time that the join
takes, at the most."""
_SLICE = 25 * MILLISECOND
"""It waits for so long at once, unless the log is full, and runs for as long before it waits again.
"""


class Joiner:
    """The newcomer `name`, who is no member yet. It costs the guest nothing if it is slow, or gone:
    then the primary gives the join up."""

    def __init__(self, name: str, endpoint: str, timing: Timing, now: int) -> None:
        self.name = name
        self.follower = Follower(timing, 0, now)
        self.follower.endpoint = endpoint
        self.there = False
        """It can take the state: its devices are those that the guest has."""
        self.captured = False
        """Its state was taken: the entries from there on are for it."""
        self._next = 0
        """It gets the state before this entry."""
        self._awaits_until = now
        self.asked = False
        """The arbiter was asked to take it in: it may be a member."""
        self.bound: int | None = None
        """Since when outputs wait for it."""
        self._timing = timing
        self._moved = now
        """When it last came nearer to being a member."""
        self._nearest: int | None = None
        """By how many nanoseconds its execution was behind when that was least."""
        self._began = self._looked = now
        self._slows = False
        self._changed = 0
        """When that was the other way."""
        self._waited = 0
        """Nanoseconds for which the guest has waited for it."""

    def moved(self, now: int) -> None:
        self._moved = now

    def capture(self, now: int, next: int, stands: bool) -> None:
        """It gets the state before entry `next`. Unless the guest `stands` there, that entry is
        awaited for a moment: who has it does not interrupt the guest before that state."""
        self.captured, self._next = True, next
        self._awaits_until = now if stands else now + self._timing.dead
        self.follower.received = self.follower.executed = next
        self.moved(now)

    def replayed(self, now: int) -> None:
        """It has executed some more."""
        lag = self.follower.lag(now)
        if self._nearest is None or lag < self._nearest:
            self._nearest = lag
            self.moved(now)

    def slows(self, now: int, full: bool) -> bool:
        """Whether the guest has to wait, for its execution or since what is kept for it is
        `full`."""
        if self._slows:
            self._waited += now - self._looked
        self._looked = now
        late = self.follower.ready and self.follower.slow(now)
        turns = now >= self._changed + _SLICE
        wanted = full or (late and turns != self._slows)
        if (wanted and not self._spent(now)) != self._slows:
            self._slows, self._changed = not self._slows, now
        return self._slows

    def _spent(self, now: int) -> bool:
        return self._waited >= _GRACE + (now - self._began) // _SHARE

    def caught_up(self, now: int, stable: int) -> bool:
        """Whether its guest is as close to the primary's as a secondary's has to be, and all can
        follow each other. The members have the entries before `stable`."""
        follower = self.follower
        near = follower.ready and not follower.slow(now)
        least = self._next + (now < self._awaits_until)
        return near and min(stable, follower.received) >= least

    def failure(self, now: int, full: bool, crowded: bool) -> str:
        """Why it is to be given up, or "". The guest waits while the log that is kept for it is
        `full`, or what its disks are to get is `crowded`."""
        if self.follower.hearing.silent(now, self._silence):
            return "it does not answer"
        stuck = now >= self._moved + self._timing.dead
        if full and (stuck or self._spent(now)):
            return "the log that is kept for it is full"
        if crowded and stuck:
            return "its disks do not take what the guest writes"
        limit = self._timing.dead + self.follower.round_trip
        if self.bound is not None and now >= self.bound + limit:
            return "outputs wait for it, and it does not take the entries"
        if now >= self._moved + self._timing.patience:
            return f"it comes no nearer within {self._timing.patience // SECOND} s"
        return ""

    @property
    def _silence(self) -> int:
        """Who loads the guest's state may be busy; for who replays, the guest may wait."""
        return self._timing.dead if self.follower.ready else self._timing.starting

    def next_look(self) -> int:
        """When to look after it."""
        look = self.follower.hearing.next_look(self._silence)
        if self._slows:
            look = min(look, max(self._changed + _SLICE, self._looked + 1))
        beat = self.follower.asked + self._timing.interval
        return min(look, beat, self._moved + self._timing.patience)

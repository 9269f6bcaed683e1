"""The primary's side of a replica that joins a guest that runs."""

from __future__ import annotations

from vlockstep.protocol.follower import Follower
from vlockstep.protocol.timing import SECOND, Timing


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
        self.least = 0
        """It and all members must have the entries before this one."""
        self.asked = False
        """The arbiter was asked to take it in: it may be a member."""
        self.bound: int | None = None
        """Since when outputs wait for it."""
        self._timing = timing
        self._moved = now
        """When it last came nearer to being a member."""

    def moved(self, now: int) -> None:
        self._moved = now

    def capture(self, now: int, next: int) -> None:
        """It gets the state before entry `next`."""
        self.captured, self.least = True, next
        self.follower.received = self.follower.executed = next
        self.moved(now)

    def caught_up(self, now: int, stable: int) -> bool:
        """Whether its guest is as close to the primary's as a secondary's has to be, and all can
        follow each other. The members have the entries before `stable`."""
        follower = self.follower
        near = follower.ready and not follower.slow(now)
        return near and min(stable, follower.received) >= self.least

    def failure(self, now: int, full: bool) -> str:
        """Why it is to be given up, or "". The guest waits while what is kept for it is `full`."""
        if self.follower.hearing.silent(now, self._silence):
            return "it does not answer"
        if full and now >= self._moved + self._timing.dead:
            return "the log, or what its disks are to get, is full"
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
        beat = self.follower.asked + self._timing.interval
        return min(look, beat, self._moved + self._timing.patience)

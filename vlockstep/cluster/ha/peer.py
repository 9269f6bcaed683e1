"""What a monitor knows of one other host: its words, its datastore heartbeats, its pings.

A silence is what was listened to (see `Hearing`); a datastore that cannot be read tells nothing.
"""

from __future__ import annotations

from vlockstep.cluster.ha.messages import Candidate, Master, Slave, Word
from vlockstep.cluster.ha.states import Availability, judge
from vlockstep.cluster.ha.timing import Timing
from vlockstep.protocol.hearing import Hearing

_SAYS: dict[type[Word], Availability] = {
    Candidate: Availability.ELECTION,
    Master: Availability.PARTITIONED,
    Slave: Availability.CONNECTED,
}
"""What a host is to a master that hears it say this: another master has a partition of its own."""


class _Heartbeats:
    """Those of a host on one datastore, since the first look."""

    def __init__(self, now: int, counter: int | None, isolated: bool, timing: Timing) -> None:
        self._counter = counter
        self._hearing = Hearing(now, timing.storage_heartbeat)
        self._timing = timing
        self._read = now
        self.isolated = isolated
        self.changed: int | None = None
        """When a change was last seen, if ever."""
        self.silent = False

    def read(self, now: int, counter: int | None, isolated: bool) -> None:
        self._read, self.isolated = now, isolated
        if counter != self._counter:
            self._counter, self.changed = counter, now
            self._hearing.heard(now)
        self.silent = self._hearing.silent(now, self._timing.storage_watch)

    def fresh(self, now: int) -> bool:
        """Whether the last look is recent enough to act on."""
        return now - self._read <= self._timing.storage_heartbeat

    @property
    def beats(self) -> bool:
        return self.changed is not None and not self.silent


class Peer:
    """`datastores` are the host's heartbeat datastores."""

    def __init__(self, now: int, timing: Timing, datastores: frozenset[str]) -> None:
        self._timing = timing
        self.datastores = datastores
        self.heard = False
        """Words came lately, whether the host hears this one or not; it is told so."""
        self.left = False
        """It said that it is in maintenance, and nothing since."""
        self.state = Availability.UNINITIALIZED
        """As this host's monitor judges if it is master."""
        self.word: Word | None = None
        """The last one that is a heartbeat: the host hears this one."""
        self.word_at = now
        """When it came, or listening began."""
        self.silent = False
        """No heartbeat came for so long that the host is unreachable."""
        self._anything = Hearing(now, timing.heartbeat)
        self._words = Hearing(now, timing.heartbeat)
        self._heartbeats: dict[str, _Heartbeats] = {}
        self._pings: Hearing | None = None
        self._ping: bool | None = None
        """Whether it answers pings, if that is known."""

    def forget(self, now: int) -> None:
        """Begin to listen anew."""
        self.word, self.word_at, self.silent, self.heard = None, now, False, False
        self._words = Hearing(now, self._timing.heartbeat)
        self.unwatch()
        self.stop_pings()

    # What comes from it

    def said(self, now: int, word: Word) -> None:
        self.left = False
        self.heard = True
        self._anything.heard(now)
        if word.hears:
            self.word, self.word_at, self.silent = word, now, False
            self._words.heard(now)
            self.stop_pings()
        else:
            self.answered(now)

    def answered(self, now: int) -> None:
        if self._pings is not None:
            self._pings.heard(now)
            self._ping = True

    def read(self, now: int, datastore: str, counter: int | None, isolated: bool) -> None:
        if datastore not in self.datastores:
            return
        if datastore in self._heartbeats:
            self._heartbeats[datastore].read(now, counter, isolated)
        else:
            self._heartbeats[datastore] = _Heartbeats(now, counter, isolated, self._timing)

    # What does not

    def look(self, now: int) -> None:
        """Time has passed."""
        if self.silent and not self.heard and self._pings is None:
            return  # there is nothing that it could still miss
        if self._anything.silent(now, self._timing.unreachable):
            self.heard = False
        if self._words.silent(now, self._timing.unreachable):
            self.silent = True
        if self._pings is not None and self._pings.silent(now, self._timing.ping):
            self._ping = False

    def quiet(self, now: int) -> bool:
        """Whether its datastore heartbeats are worth a look."""
        return now - self.word_at >= self._timing.storage_after

    def start_pings(self, now: int) -> None:
        if self._pings is None:
            self._pings = Hearing(now, self._timing.heartbeat)

    def stop_pings(self) -> None:
        self._pings, self._ping = None, None

    def change_datastores(self, datastores: frozenset[str]) -> None:
        for datastore in self.datastores - datastores:
            self.cannot_read(datastore)
        self.datastores = datastores

    def unwatch(self) -> None:
        self._heartbeats.clear()

    def cannot_read(self, datastore: str) -> None:
        self._heartbeats.pop(datastore, None)

    # Judgement

    def judge(self, now: int) -> Availability | None:
        """Its state as a master judges; None if not enough is known for another one."""
        words = False if self.silent else None if self.word is None else True
        state = judge(words, self._beats(now), self._ping, self._isolated)
        if state is Availability.CONNECTED:
            assert self.word is not None
            return _SAYS[type(self.word)]
        return state

    def _beats(self, now: int) -> bool | None:
        """Whether it has heartbeats on datastores: none counts for no if it can have none."""
        if not self.datastores:
            return False
        fresh = [h for h in self._heartbeats.values() if h.fresh(now)]
        if any(h.beats for h in fresh):
            return True
        lately = now - self._timing.storage_watch
        if any(h.changed is not None and h.changed > lately for h in self._heartbeats.values()):
            return None
        return False if fresh and all(h.silent for h in fresh) else None

    @property
    def _isolated(self) -> bool:
        """What it declares where it wrote last."""
        beating = [h for h in self._heartbeats.values() if h.changed is not None]
        last = max((h.changed or 0 for h in beating), default=0)
        return any(h.isolated for h in beating if h.changed == last)

"""What a secondary's NIC has received and the log has not shown.

The NICs of both replicas may receive the same frames: all of them if the network sends to both
what is for the guest, as `vlockstep switch` does, and otherwise what it floods. The primary logs
what its guest reads. What remains when the secondary goes live was lost with the primary, or came
while nobody was live; the guest finds it waiting, and no client has to send it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vlockstep.net.nic import MAX_FRAME
from vlockstep.net.station import Station
from vlockstep.protocol.timing import SECOND
from vlockstep.replay.entry import Entry, Kind

_HORIZON = 2 * SECOND
"""A frame that is older is forgotten."""
_LIMIT = 4096
_NET_READ = int(Kind.NET_READ)


class StandbyNics:
    """A guest's NICs on either replica, `by_handle`.

    While its replica is the secondary they belong to the host's thread, which calls `collect` and
    `logged`. After `go_live` the guest's thread reads, until `stand_by`. Times are in nanoseconds.
    """

    def __init__(self, stations: Mapping[int, Station]) -> None:
        self.by_handle = {handle: StandbyNic(station) for handle, station in stations.items()}
        self.collecting = False
        self._nics = list(self.by_handle.values())

    def stand_by(self) -> None:
        self.collecting = bool(self._nics)
        for nic in self._nics:
            nic.stand_by()

    def collect(self, now: int) -> None:
        """Take what has come."""
        for nic in self._nics:
            nic.collect(now)

    def logged(self, now: int, entries: Iterable[Entry]) -> None:
        """The primary made these entries."""
        if not self.collecting:
            return
        for kind, _, _, value, _ in entries:
            if kind == _NET_READ:
                assert isinstance(value, tuple)
                handle, frame = value
                if frame is not None and handle in self.by_handle:
                    self.by_handle[handle].logged(now, frame)

    def go_live(self, now: int) -> None:
        if self.collecting:
            self.collecting = False
            for nic in self._nics:
                nic.go_live(now)

    @property
    def isolated(self) -> bool:
        """Whether there are NICs, and none has a network."""
        return bool(self._nics) and not any(nic.connected() for nic in self._nics)

    def announce(self) -> None:
        """Let the network send the guest's frames here."""
        for nic in self._nics:
            nic.announce()


@dataclass(slots=True)
class _Sight:
    """A frame that arrived here or was logged, until the other has happened, too."""

    time: int
    frame: bytes
    arrived: bool
    matched: bool = False


class StandbyNic:
    """One of them; a `NetDevice`."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._recent: deque[_Sight] = deque()
        self._unmatched: dict[bytes, deque[_Sight]] = {}
        """Of equal frames, in order; either all arrived or all were logged."""
        self._kept: deque[bytes] = deque()
        self.descriptors = station.descriptors
        self.write = station.write
        self.announce = station.announce
        self.connected = station.connected

    # While secondary

    def stand_by(self) -> None:
        self._kept.clear()

    def collect(self, now: int) -> None:
        """Take what has come, but no more than would be kept."""
        for _ in range(_LIMIT):
            frame = self._station.read(MAX_FRAME)
            if frame is None:
                return
            self._note(now, frame, arrived=True)

    def logged(self, now: int, frame: bytes) -> None:
        """The primary's guest has read this frame."""
        self._note(now, frame, arrived=False)

    def go_live(self, now: int) -> None:
        """Keep for the guest what the log has not shown, in the order in which it came."""
        self.collect(now)
        self._expire(now)
        self._kept.extend(s.frame for s in self._recent if s.arrived and not s.matched)
        self._recent.clear()
        self._unmatched.clear()

    def _note(self, now: int, frame: bytes, arrived: bool) -> None:
        self._expire(now)
        equal = self._unmatched.get(frame)
        if equal and equal[0].arrived != arrived:
            self._drop(equal.popleft(), equal)
        else:
            sight = _Sight(now, frame, arrived)
            self._recent.append(sight)
            self._unmatched.setdefault(frame, deque()).append(sight)
            self._expire(now)

    def _expire(self, now: int) -> None:
        recent = self._recent
        while recent and (
            recent[0].matched or recent[0].time < now - _HORIZON or len(recent) > _LIMIT
        ):
            sight = recent.popleft()
            if not sight.matched:
                equal = self._unmatched[sight.frame]
                self._drop(equal.popleft(), equal)

    def _drop(self, sight: _Sight, equal: deque[_Sight]) -> None:
        sight.matched = True
        if not equal:
            del self._unmatched[sight.frame]

    # While primary

    def waiting(self) -> bool:
        return bool(self._kept) or self._station.waiting()

    def read(self, limit: int) -> bytes | None:
        while self._kept:
            frame = self._kept.popleft()
            if len(frame) <= limit:
                return frame
        return self._station.read(limit)

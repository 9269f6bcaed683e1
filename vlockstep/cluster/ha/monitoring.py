"""A guest that has failed, or hangs, is started anew where it is.

Theory of operation. The agent of the host on which a guest is live samples what it does. A guest
that makes hypercalls, or waits in one, gives a heartbeat. One that gives none for a while, with its
disks and network still for a while, hangs; one that ends with an error has failed. Either is reset,
a limited number of times within a window: what comes back again and again is not mended by one more
reset.

Time in which nobody looked is no silence: after a gap between samples the watch begins anew.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import NamedTuple

from vlockstep.errors import UsageError
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.timing import SECOND

HOUR = 3600 * SECOND
DAY = 24 * HOUR


@dataclass(frozen=True)
class Monitoring:
    """Times are in nanoseconds of a monotonic clock."""

    failure_interval: int = 30 * SECOND
    """A guest hangs that gives no heartbeat for so long."""
    io_interval: int = 120 * SECOND
    """It does not if its disks or network did something within this time."""
    min_uptime: int = 120 * SECOND
    """After a start it is not judged for so long."""
    max_failures: int = 3
    window: int | None = None
    """More than `max_failures` within this time are not answered; None: in all."""

    def __post_init__(self) -> None:
        if self.failure_interval <= 0:
            raise UsageError("the interval after which a guest hangs must be more than 0 s")
        if min(self.io_interval, self.min_uptime) < 0:
            raise UsageError("the I/O interval and the minimum uptime must not be below 0 s")
        if self.max_failures < 1:
            raise UsageError("a guest is reset 1 time or more; to reset it never, monitor it not")
        if self.window is not None and self.window <= 0:
            raise UsageError("the window in which failures count must be more than 0 s, or none")

    def faster(self, by: int) -> Monitoring:
        return replace(
            self,
            failure_interval=self.failure_interval // by,
            io_interval=self.io_interval // by,
            min_uptime=self.min_uptime // by,
            window=None if self.window is None else self.window // by,
        )


HIGH = Monitoring(window=HOUR)
MEDIUM = Monitoring(failure_interval=60 * SECOND, window=DAY)
LOW = Monitoring(failure_interval=120 * SECOND, window=7 * DAY)


class Sample(NamedTuple):
    """Of a live guest: how many exits it has made; whether it waits, for something that is to come
    or because it is held; how many frames and blocks have gone in and out."""

    exits: int
    waiting: bool
    io: int


@dataclass(frozen=True)
class Reset:
    """End the guest if it still is, and start it anew here; answer with `started`."""

    guest: str
    number: int
    reason: str


@dataclass(frozen=True)
class LeftAlone:
    """The guest has been reset too often to be reset now for this `reason`. It is told once."""

    guest: str
    resets: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.guest} {self.reason}, and is not reset: that was done {self.resets} times; "
            f"mend it, and start it"
        )


Action = Reset | LeftAlone


class GuestMonitor:
    """Of a guest that was started at `now`. One that is not to be monitored has none."""

    def __init__(self, settings: Monitoring, guest: str, now: int) -> None:
        self._settings = settings
        self._guest = guest
        self._resets: deque[int] = deque()
        """When those were that count."""
        self._last: Sample | None = None
        self._seen = self._beat = self._io = now
        self.started(now)

    def started(self, now: int) -> None:
        """The guest runs, and is watched from now on."""
        self._judged_from = now + self._settings.min_uptime
        self._begin(now, None)
        self._resetting = self._told = False
        self._error = ""

    def deadline(self) -> int:
        """When the window lets a guest be reset that has failed and was left alone."""
        return self._next_reset() if self._error and not self._resetting else NEVER

    def sampled(self, now: int, sample: Sample) -> list[Action]:
        if self._resetting:
            return []
        settings, last = self._settings, self._last
        if last is None or now - self._seen >= settings.failure_interval:
            self._begin(now, sample)
            return []
        if sample.waiting or sample.exits != last.exits:
            self._beat = now
            self._told = False
        if sample.io != last.io:
            self._io = now
        self._seen, self._last = now, sample
        silent = now - max(self._beat, self._judged_from)
        if silent < settings.failure_interval or now - self._io < settings.io_interval:
            return []
        return self._respond(now, "gives no sign of life")

    def failed(self, now: int, reason: str) -> list[Action]:
        """The guest has ended with an error."""
        self._error = f"failed ({reason})"
        return self.tick(now)

    def tick(self, now: int) -> list[Action]:
        return self._respond(now, self._error) if self._error and not self._resetting else []

    def _begin(self, now: int, sample: Sample | None) -> None:
        self._last = sample
        self._seen = self._beat = self._io = now

    def _next_reset(self) -> int:
        window = self._settings.window
        return NEVER if window is None else self._resets[0] + window

    def _respond(self, now: int, reason: str) -> list[Action]:
        while self._resets and self._next_reset() <= now:
            self._resets.popleft()
        if len(self._resets) < self._settings.max_failures:
            self._resets.append(now)
            self._resetting = True
            return [Reset(self._guest, len(self._resets), reason)]
        told, self._told = self._told, True
        return [] if told else [LeftAlone(self._guest, len(self._resets), reason)]

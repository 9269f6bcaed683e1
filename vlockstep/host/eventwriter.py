"""Events on their way to somebody who may not read them: nobody who observes waits for that."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from vlockstep.host.background import Background

Event = dict[str, Any]
LIMIT = 1000
"""So many events wait at most, besides a status and the count of those that were dropped."""


class EventWriter:
    """Hands events, in order and each with its `time`, to a `write` that may block.

    Of events named `status` only the newest waits. When the queue is full, other events are
    dropped, and their number is told in their place, as the event `dropped` with its `count`.
    """

    def __init__(
        self,
        background: Background,
        write: Callable[[Event], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._background = background
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[Event] = deque()
        self._status: Event | None = None
        self._dropped: Event | None = None
        self._unwritten = 0
        """Without a status."""

    def observe(self, event: Event) -> None:
        """From any thread."""
        event = {"time": self._clock(), **event}
        with self._lock:
            one_more = self._queue(event)
        if one_more:
            self._background.submit(self._write_one)

    def settle(self, seconds: float) -> None:
        """Wait until the events so far are written, if there are any besides a status."""
        if self._unwritten:
            self._background.drain(seconds)

    def _queue(self, event: Event) -> bool:
        """Whether more wait than before."""
        if event["event"] == "status":
            older, self._status = self._status, event
            if older is not None:
                self._waiting.remove(older)
            self._waiting.append(event)
            return older is None
        if len(self._waiting) < LIMIT:
            self._dropped = None  # what is dropped from now on has its place behind this event
            self._waiting.append(event)
            self._unwritten += 1
            return True
        if self._dropped is not None:
            self._dropped["count"] += 1
            return False
        self._dropped = {"time": event["time"], "event": "dropped", "count": 1}
        self._waiting.append(self._dropped)
        self._unwritten += 1
        return True

    def _write_one(self) -> None:
        with self._lock:
            event = self._waiting.popleft()
            if event is self._status:
                self._status = None
            if event is self._dropped:
                self._dropped = None
        self._write(event)
        if event["event"] != "status":
            with self._lock:
                self._unwritten -= 1

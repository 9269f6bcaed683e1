"""Guests as somebody sees them who looks again and again: how they stand, and at which rates they
read and write."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vlockstep.supervise.client import Sight

SAMPLES = 20


class Line:
    """A guest, and what it has done since somebody looked before. Rates are a second's."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lags: deque[float] = deque(maxlen=SAMPLES)
        self.status: Mapping[str, Any] | None = None
        self.about: Mapping[str, Any] = {}
        self.disk_rate = self.log_rate = self.frame_rate = 0.0
        self._before: Mapping[str, Any] | None = None
        self._seen_at = 0.0

    def see(self, sight: Sight, now: float) -> None:
        before, status = self._before, sight.status
        if status is not None:
            self.lags.append(lag_of(status))
            seconds = now - self._seen_at
            if before is not None and seconds > 0:
                self.disk_rate = (_disk_bytes(status) - _disk_bytes(before)) / seconds
                self.log_rate = (status["channel_bytes"] - before["channel_bytes"]) / seconds
                self.frame_rate = (_frames(status) - _frames(before)) / seconds
            self._seen_at = now
        self.about = sight.about
        self.status = self._before = status

    @property
    def protection(self) -> str:
        """In a word; loud where somebody should look."""
        status = self.status
        if status is None:
            return "no answer"
        if status["role"] == "unprotected":
            return "unprotected"
        return "ALONE" if status["state"] == "alone" else str(status["state_text"])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rates = {
            "disk_bytes_per_s": self.disk_rate,
            "log_bytes_per_s": self.log_rate,
            "network_frames_per_s": self.frame_rate,
        }
        return {"name": self.name, "protection": self.protection, **rates, "status": self.status}


class Board:
    """All guests, in order."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    @property
    def lines(self) -> Sequence[Line]:
        return [*self._lines.values()]

    def see(self, sights: Iterable[Sight], now: float) -> None:
        """At `now`, in seconds of a monotonic clock."""
        seen = {sight.name: sight for sight in sights}
        self._lines = {name: self._lines.get(name) or Line(name) for name in seen}
        for name, line in self._lines.items():
            line.see(seen[name], now)


def lag_of(status: Mapping[str, Any]) -> float:
    """In milliseconds, or entries where that is not known."""
    lag = status["lag_entries"] if status["lag_ms"] is None else status["lag_ms"]
    return float(lag)


def _disk_bytes(status: Mapping[str, Any]) -> int:
    return sum(c["read"] + c["written"] for c in status["disks"].values())


def _frames(status: Mapping[str, Any]) -> int:
    return sum(c["received"] + c["sent"] for c in status["nics"].values())

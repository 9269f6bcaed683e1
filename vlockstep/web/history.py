"""What a guest has done lately: samples of its rates, how far it has moved. Pure."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from vlockstep.web import shapes

SAMPLES = 300
SAMPLE_SECONDS = 1.0
_FIELDS = (
    "time",
    "lag_ms",
    "lag_entries",
    "log_bytes_per_s",
    "disk_bytes_per_s",
    "network_frames_per_s",
)
_OVER = ("done", "failed")
"""Phases of a migration that goes on no more."""


class Rates:
    """Of counters that rise, a second's, from one look to the next."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], tuple[float, Sequence[int], Sequence[float]]] = {}
        self._looked: set[tuple[str, ...]] = set()

    def see(self, key: tuple[str, ...], time: float, counters: Sequence[int]) -> Sequence[float]:
        """Of what `key` names, in the order of its `counters` at this time."""
        self._looked.add(key)
        before = self._seen.get(key)
        if before is not None and time <= before[0]:
            return before[2]
        rates = [0.0] * len(counters)
        if before is not None:
            seconds = time - before[0]
            both = zip(counters, before[1], strict=True)
            rates = [max(0, now - then) / seconds for now, then in both]
        self._seen[key] = time, counters, rates
        return rates

    def forget(self) -> None:
        """What was not seen since this was said last."""
        self._seen = {key: self._seen[key] for key in self._looked}
        self._looked = set()


class History:
    """Of one replica, or of who rules. Times are since the epoch."""

    def __init__(self) -> None:
        self._samples = array("d")
        self.migration: shapes.Migration | None = None
        self.to = ""
        """Where it moves, if that is known."""
        self.role = ""
        """Which replica moves, if that is known."""
        self._moving: Mapping[str, Any] = {}
        self._moved_at = 0.0

    def sample(self, time: float, replica: shapes.Replica) -> None:
        """How its primary stands; more often than once a second is not kept."""
        if self._samples and time < self._samples[-len(_FIELDS)] + SAMPLE_SECONDS:
            return
        values = {**replica, "time": time}
        for name in _FIELDS:
            value = values[name]
            self._samples.append(math.nan if value is None else float(str(value)))
        del self._samples[: -SAMPLES * len(_FIELDS)]

    def moves(self, time: float, told: Mapping[str, Any]) -> None:
        """How far a migration is, as the event `migrating` tells it; what is known says nothing."""
        if told == self._moving:
            return
        self._moving = told
        if told["phase"] in _OVER:
            self.migration = None
            return
        before, seconds = self.migration, time - self._moved_at
        rate = 0.0
        if before is not None:
            sent = told["bytes"] - before["bytes"]
            rate = sent / seconds if seconds > 0 and sent >= 0 else before["bytes_per_s"]
        self._moved_at = time
        self.migration = {
            "phase": told["phase"],
            "text": told["text"],
            "bytes": told["bytes"],
            "bytes_per_s": rate,
            "rounds": told["rounds"],
            "lag_entries": told["lag_entries"],
            "throttle": told["throttle"],
            "pause_ms": told.get("pause_ms"),
            "left": told.get("left"),
            "to": self.to,
            "role": self.role,
        }

    def stays(self) -> None:
        """It does not move any more."""
        self.migration = None

    @property
    def samples(self) -> list[shapes.Sample]:
        width = len(_FIELDS)
        return [
            self._sample(self._samples[at : at + width])
            for at in range(0, len(self._samples), width)
        ]

    def _sample(self, values: array[float]) -> shapes.Sample:
        time, lag_ms, entries, log, disk, frames = values
        return {
            "time": time,
            "lag_ms": None if math.isnan(lag_ms) else lag_ms,
            "lag_entries": None if math.isnan(entries) else int(entries),
            "log_bytes_per_s": log,
            "disk_bytes_per_s": disk,
            "network_frames_per_s": frames,
        }

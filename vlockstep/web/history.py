"""What a guest has done lately: samples of its rates, who ruled it, how far it has moved."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlockstep.arbiter import DirectoryArbiter, Reign
from vlockstep.errors import VlockstepError
from vlockstep.web import shapes

SAMPLES = 300
SAMPLE_SECONDS = 1.0
GENERATIONS = 200
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


class Reigns:
    """Who has ruled a guest, as far as it was seen; what was before is in its arbiter."""

    def __init__(self) -> None:
        self._seen: dict[int, shapes.Generation] = {}
        self._owners: dict[int, str] = {}
        """By process: what it is called."""

    def runs(self, pid: int, name: str) -> None:
        """A replica, so that one that rules is known by name."""
        if pid:
            self._owners[pid] = name
            while len(self._owners) > GENERATIONS:
                del self._owners[next(iter(self._owners))]

    def ruled(self, generation: int, since: float, ruler: str, members: int, reason: str) -> bool:
        """What is known first of its time and reason is true; of its members, what comes last.
        Whether the reason is the one that was given."""
        known = self._seen.get(generation)
        told = known["reason"] if known else ""
        self._seen[generation] = {
            "generation": generation,
            "since": since if known is None else known["since"],
            "ruler": ruler,
            "members": members,
            "reason": told or reason,
        }
        while len(self._seen) > GENERATIONS:
            del self._seen[min(self._seen)]
        return not told

    def copy(self) -> Reigns:
        """As they are now, to be asked without whatever guards these."""
        copied = Reigns()
        copied._seen, copied._owners = dict(self._seen), dict(self._owners)
        return copied

    def all(self, arbiter: Path | None) -> list[shapes.Generation]:
        """The newest, by generation. The arbiter's files are read."""
        found = dict(self._seen)
        for reign in _reigns(arbiter):
            record = reign.record
            told = found.get(record.generation)
            owner = self._owners.get(record.pid, f"{record.name} on {record.host}")
            found[record.generation] = {
                "generation": record.generation,
                "since": reign.since or (told["since"] if told else 0.0),
                "ruler": told["ruler"] if told else owner,
                "members": told["members"] if told else len(record.members),
                "reason": told["reason"] if told else "",
            }
        return [found[number] for number in sorted(found)][-GENERATIONS:]


def _reigns(arbiter: Path | None) -> list[Reign]:
    """What cannot be read is left out."""
    if arbiter is None:
        return []
    try:
        return DirectoryArbiter(arbiter, "view").reigns(GENERATIONS)
    except VlockstepError:
        return []


class History:
    """Of one replica, or of who rules. Times are since the epoch."""

    def __init__(self) -> None:
        self._samples = array("d")
        self.migration: shapes.Migration | None = None
        self.to = ""
        """Where it moves, if that is known."""
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
        """How far a migration is, as the event `migrating` tells it."""
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
            "to": self.to,
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

"""What happened since the server began to look, and what it found then, counted for the metrics.
Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from vlockstep.arbiter.causes import FAILOVERS, ReignCause
from vlockstep.cluster.records import TEST
from vlockstep.web import shapes
from vlockstep.web.exposition import Exposition, Histogram
from vlockstep.web.model import Picture

_DURATIONS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds."""
_GAPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)
"""Seconds in which nobody answers for a guest."""
_PASSES = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0)
_MOST = 1 << 63
_UNKNOWN = "unknown"
_REASONS = (*sorted(FAILOVERS), TEST)
_MIGRATIONS = {"migrate": "live", "maintenance": "maintenance"}
_RESTARTS = {
    "replica-started": "done",
    "replica-not-started": "failed",
    "restart-given-up": "given up",
}
"""Of events of a cluster whose details say that they are of a restart, what came of it."""


class Counts:
    """It is shown each picture once."""

    def __init__(self) -> None:
        self._failovers = Counter[str](dict.fromkeys(_REASONS, 0))
        self._switchovers = 0
        self._restarts = Counter[str](dict.fromkeys(_RESTARTS.values(), 0))
        self._elections = 0
        self._migrations: Counter[tuple[str, str]] = Counter()
        self._moves: Counter[tuple[str, str]] = Counter()
        self._bytes = 0
        self._silences = Histogram(_GAPS)
        self._durations = Histogram(_DURATIONS)
        self._gaps = Histogram(_GAPS)
        self._passes = Histogram(_PASSES)
        self._over: set[str] = set()

    def see(self, picture: Picture) -> None:
        for event in picture.events:
            self._happened(event)
        self._over &= picture.tasks.keys()
        for number, task in picture.tasks.items():
            if task["ended"] is not None and number not in self._over:
                self._over.add(number)
                self._ended(task)

    def _happened(self, event: shapes.Event) -> None:
        details = event.get("details", {})
        cause = details.get("cause")
        match event["kind"]:
            case "guest-switched-over":
                self._switchovers += 1
            case "live" if cause == ReignCause.SWITCHOVER:
                self._switchovers += 1
            case "live" if cause == ReignCause.RESUMED:
                pass  # nobody took over: it was started again
            case "guest-failed-over" | "live":
                self._failovers[cause if cause in _REASONS else _UNKNOWN] += 1
                if silent := _number(details.get("silent_ms")):
                    self._silences.observe(silent / 1000)
            case "master-elected":
                self._elections += 1
            case kind if kind in _RESTARTS and details.get("restart") is True:
                self._restarts[_RESTARTS[kind]] += 1

    def _ended(self, task: Mapping[str, Any]) -> None:
        kind, state = task["kind"], task["state"]
        if kind in _MIGRATIONS:
            self._migrations[_MIGRATIONS[kind], state] += 1
        if kind != "migrate":
            return
        if reason := task["details"].get("reason"):
            self._moves[str(reason), state] += 1
        if state == "done":
            self._durations.observe(task["ended"] - (task["begun"] or task["created"]))
            took = task["result"].get("took")
            self._moved(took if isinstance(took, Mapping) else {})

    def _moved(self, took: Mapping[str, Any]) -> None:
        """A replica, which took this, as far as that is known."""
        if not took:
            return
        self._bytes += int(_number(took.get("bytes")) + _number(took.get("disk_bytes")))
        self._passes.observe(_number(took.get("rounds")))
        if took.get("role") == "primary":
            self._gaps.observe(_number(took.get("gap_ms")) / 1000)

    def tell(self, told: Exposition) -> None:
        about = "Secondaries that took over without having been asked to, by why they did."
        for reason, count in sorted(self._failovers.items()):
            told.counter("vlockstep_ft_failovers_total", about, count, reason=reason)
        about = "Primaries that handed over as they were asked to."
        told.counter("vlockstep_ft_switchovers_total", about, self._switchovers)
        about = "From the last word of a primary to when a secondary ruled in its place."
        told.histogram("vlockstep_failover_duration_seconds", about, self._silences)
        self._tell_migrations(told)
        about = "Replicas that had failed and that HA was to start again, by what came of that."
        for result, count in sorted(self._restarts.items()):
            told.counter("vlockstep_ha_restarts_total", about, count, result=result)
        about = "Elections of a master."
        told.counter("vlockstep_ha_elections_total", about, self._elections)
        about = "Moves that load balancing made, by why, and what came of them."
        for (reason, result), count in sorted(self._moves.items()):
            labels = {"reason": reason, "result": result}
            told.counter("vlockstep_drs_moves_total", about, count, **labels)

    def _tell_migrations(self, told: Exposition) -> None:
        about = "Migrations and emptied hosts, by what came of them."
        for (kind, result), count in sorted(self._migrations.items()):
            told.counter("vlockstep_migrations_total", about, count, kind=kind, result=result)
        about = "From when a migration had begun to when it was done."
        told.histogram("vlockstep_migration_duration_seconds", about, self._durations)
        about = "For how long a guest stood still when its primary moved."
        told.histogram("vlockstep_migration_downtime_seconds", about, self._gaps)
        about = "RAM and disks that migrations have sent."
        told.counter("vlockstep_migration_transferred_bytes_total", about, self._bytes)
        about = "How often a migration has sent the RAM that had changed meanwhile."
        told.histogram("vlockstep_migration_passes", about, self._passes)


def _number(told: object) -> float:
    """What others wrote; 0 if it is none."""
    if not isinstance(told, int | float) or not 0 <= told < _MOST:
        return 0.0
    return float(told)

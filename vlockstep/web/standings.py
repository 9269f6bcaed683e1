"""How a cluster's guests stand, worked out again only where something has changed. Pure but for
the time of each look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import is_
from typing import Any, cast

from vlockstep.cluster.operator import Operator
from vlockstep.cluster.plain import to_plain
from vlockstep.cluster.records import GuestRecord, ReplicaReport, Report, Task
from vlockstep.cluster.standing import Seats, alive, seats, stand
from vlockstep.protocol.states import State
from vlockstep.web import shapes
from vlockstep.web.history import History, Rates
from vlockstep.web.reigns import Reigns

_Rate = tuple[float, ...]


class Guests:
    """All of a cluster's, from look to look. What is told must not be changed: where nothing has,
    it is the same object the next time."""

    def __init__(self) -> None:
        self.histories: dict[str, History] = {}
        self.reigns: dict[str, Reigns] = {}
        self._rates = Rates()
        self._facts: dict[str, tuple[GuestRecord, Seats, dict[str, Any]]] = {}
        self._replicas: dict[tuple[str, str], tuple[ReplicaReport, str, _Rate, shapes.Replica]] = {}
        self._shown: dict[str, tuple[tuple[object, ...], shapes.Guest]] = {}

    def look(
        self, cluster: Operator, moving: Mapping[str, Mapping[str, Any]], now: float
    ) -> dict[str, shapes.Guest]:
        """`moving` are those that migrate, and what their tasks have told: from, to, role; `now` is
        since the epoch."""
        records, where, reports = cluster.guests(), seats(cluster), cluster.reports()
        self.histories = {name: self.histories.get(name) or History() for name in records}
        self.reigns = {name: self.reigns.get(name) or Reigns() for name in records}
        facts = {name: self._stand(name, records[name], where[name]) for name in records}
        self._facts = {n: (records[n], where[n], told) for n, told in facts.items()}
        replicas = {
            (name, seat[0]): self._replica(name, seat, each, reports)
            for name in records
            for seat, each in zip(where[name].replicas, facts[name]["replicas"], strict=True)
        }
        self._replicas = replicas
        self._rates.forget()
        shown = {name: self._guest(name, facts[name], moving, now) for name in sorted(records)}
        self._shown = shown
        return {name: guest for name, (_, guest) in shown.items()}

    def _stand(self, name: str, record: GuestRecord, where: Seats) -> dict[str, Any]:
        known = self._facts.get(name)
        if known is not None and known[0] is record and known[1] == where:
            return known[2]
        return stand(record, where)

    def _replica(
        self,
        guest: str,
        seat: tuple[str, ReplicaReport, str],
        facts: Mapping[str, Any],
        reports: Mapping[str, Report],
    ) -> tuple[ReplicaReport, str, _Rate, shapes.Replica]:
        host, report, host_state = seat
        counters = (report.channel_bytes, report.disk_bytes, report.frames)
        key = (guest, host, str(report.attempt))
        rates = tuple(self._rates.see(key, reports[host].time, counters))
        known = self._replicas.get((guest, host))
        if known and known[0] is report and known[1:3] == (host_state, rates):
            return known
        log, disk, frames = rates
        state = State.__members__.get(report.state.upper())
        replica = {
            **facts,
            "state_text": facts["life"] if state is None else state.value,
            "log_bytes_per_s": log,
            "disk_bytes_per_s": disk,
            "network_frames_per_s": frames,
        }
        return report, host_state, rates, cast(shapes.Replica, replica)

    def _guest(
        self,
        name: str,
        facts: dict[str, Any],
        moving: Mapping[str, Mapping[str, Any]],
        now: float,
    ) -> tuple[tuple[object, ...], shapes.Guest]:
        history, reigns = self.histories[name], self.reigns[name]
        replicas = {
            each["host"]: self._replicas[name, each["host"]][3] for each in facts["replicas"]
        }
        for each in alive(facts):
            reigns.runs(each["pid"], each["host"])
            if each["role"] == "primary":
                _saw_primary(history, reigns, each, replicas[each["host"]], now)
        migration = None
        if name in moving:
            told = moving[name]
            history.to, history.role = str(told.get("to", "")), str(told.get("role", ""))
            for each in alive(facts):
                if each["role"] == history.role and each["migration"]:
                    history.moves(now, each["migration"])
            migration = history.migration
        basis = (facts, migration, *replicas.values())
        known = self._shown.get(name)
        if known and len(known[0]) == len(basis) and all(map(is_, known[0], basis)):
            return known
        guest: shapes.Guest = {
            "name": name,
            "image": str(facts["file"].get("image", "")),
            "power": facts["power"],
            "host": facts["host"],
            "ft": bool(facts["file"].get("ft", False)),
            "protection": facts["state"],
            "level": _level_of_guest(facts["state"]),
            "replicas": replicas,
            "peers": [],
            "pending": facts["pending"],
            "migration": migration,
        }
        return basis, cast(shapes.Guest, {**facts, **guest})


class Tasks:
    """Tasks as plain values, the same as long as they are."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Task, dict[str, Any]]] = {}

    def of(self, tasks: Iterable[Task]) -> dict[str, dict[str, Any]]:
        """By number."""
        found = {}
        for task in tasks:
            known = self._known.get(str(task.number))
            plain = known[1] if known and known[0] is task else to_plain(task)
            found[str(task.number)] = task, plain
        self._known = found
        return {number: plain for number, (_, plain) in found.items()}


def _saw_primary(
    history: History,
    reigns: Reigns,
    facts: Mapping[str, Any],
    replica: shapes.Replica,
    now: float,
) -> None:
    history.sample(now, replica)
    if replica["generation"]:
        generation, ruler, members = replica["generation"], replica["host"], replica["members"]
        reigns.ruled(generation, now, ruler, members, facts["cause"], facts["silent_ms"])


def _level_of_guest(state: str) -> shapes.Level:
    if state in ("protected", "runs"):
        return "good"
    if state.startswith(("waits", "unknown")) or "outputs wait" in state:
        return "bad"
    failed = state.startswith("off: ") and not state.endswith("with status 0")
    return "warn" if failed or state == "not protected" else "plain"

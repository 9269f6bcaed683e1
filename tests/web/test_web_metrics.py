"""Metrics, as Prometheus reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from simulated import SimulatedSource

import vlockstep.web
from vlockstep.web.counts import Counts
from vlockstep.web.exposition import Exposition, Histogram
from vlockstep.web.metrics import of_view
from vlockstep.web.model import Model, Picture

LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
GRAFANA = Path(vlockstep.web.__file__).with_name("grafana.json")


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """By name; each line is checked."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP|TYPE) [a-z_]+ .+", line), line
            continue
        parts = LINE.fullmatch(line)
        assert parts, line
        labels = dict(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', parts[2] or ""))
        found.setdefault(parts[1], []).append((labels, float(parts[3])))
    return found


def seen(source: SimulatedSource) -> tuple[Model, Counts]:
    model, counts = Model("cluster", 0), Counts()
    picture = source.look()
    counts.see(picture)
    model.see(picture)
    return model, counts


def test_a_cluster() -> None:
    model, counts = seen(SimulatedSource(hosts=3, guests=5))
    found = samples(of_view(model.view(), counts))
    assert len(found["vlockstep_vm_up"]) == 5
    assert [value for _, value in found["vlockstep_host_up"]] == [1, 1, 1]
    assert found["vlockstep_host_memory_usage_bytes"][0][1] == 30000 * (1 << 20)
    assert sum(value for _, value in found["vlockstep_ha_master"]) == 1
    assert {labels["state"] for labels, value in found["vlockstep_ft_state"] if value} == {
        "protected",
        "following",
    }
    assert [lag for _, lag in found["vlockstep_ft_lag_seconds"]] == [
        next(r["lag_ms"] for r in guest["replicas"].values() if r["role"] == "primary") / 1000
        for guest in model.view()["guests"].values()
    ]


def test_who_was_on_a_dead_host_is_not_up() -> None:
    """Its host's last report may be true no longer."""
    source = SimulatedSource(hosts=2, guests=2)
    picture = source.look()
    guests: Any = picture.guests
    for replica in guests["guest-1"]["replicas"].values():
        replica["host_state"] = "hostDown"
    model = Model("cluster", 0)
    model.see(picture)
    found = samples(of_view(model.view(), Counts()))
    for name in ("vlockstep_vm_up", "vlockstep_vm_protected"):
        told = {labels["vm"]: value for labels, value in found[name]}
        assert told == {"guest-1": 0, "guest-2": 1}


def test_names_are_as_prometheus_wants_them() -> None:
    model, counts = seen(SimulatedSource(hosts=2, guests=2, wild=True))
    text = of_view(model.view(), counts)
    samples(text)
    kinds = dict(re.findall(r"# TYPE (\S+) (\S+)", text))
    assert len(kinds) == text.count("# TYPE") == text.count("# HELP")
    for name, kind in kinds.items():
        assert name.startswith("vlockstep_")
        assert (kind == "counter") == name.endswith("_total")


def test_labels_are_escaped() -> None:
    told = Exposition()
    told.gauge("x_y", "about", 1.5, vm='a"b\\c\nd\udcff')
    assert told.text().splitlines()[-1] == r'x_y{vm="a\"b\\c\nd?"} 1.5'


def task(state: str, ended: float | None) -> dict[str, Any]:
    told = {"kind": "migrate", "state": state, "begun": 1.0, "created": 0.5, "ended": ended}
    return told | {"details": {}, "result": {}}


def test_what_happened_is_counted_once() -> None:
    counts = Counts()
    event: Any = {"kind": "master-elected"}
    counts.see(Picture(events=[event, event], tasks={"1": task("running", None)}))
    for _ in range(2):
        counts.see(Picture(tasks={"1": task("done", 3.0), "2": task("failed", 9.0)}))
    told = Exposition()
    counts.tell(told)
    found = samples(told.text())
    assert found["vlockstep_ha_elections_total"] == [({}, 2)]
    assert found["vlockstep_migrations_total"] == [
        ({"kind": "live", "result": "done"}, 1),
        ({"kind": "live", "result": "failed"}, 1),
    ]
    assert found["vlockstep_migration_duration_seconds_sum"] == [({}, 2.0)]


def counted(*, events: Any = (), tasks: Any = ()) -> dict[str, list[tuple[dict[str, str], float]]]:
    counts, told = Counts(), Exposition()
    counts.see(Picture(events=events, tasks={str(n): each for n, each in enumerate(tasks)}))
    counts.tell(told)
    return samples(told.text())


def test_takeovers_are_counted_by_reason_and_apart_from_those_that_were_asked_for() -> None:
    def event(kind: str, **details: Any) -> dict[str, Any]:
        return {"kind": kind, "details": details}

    found = counted(
        events=[
            event("guest-failed-over", cause="silence", silent_ms=1500.0),
            event("guest-failed-over", cause="test", silent_ms=100.0),
            event("live", cause="lost", silent_ms=400.0),
            event("live", cause="switchover", silent_ms=None),
            event("live", cause="resumed", silent_ms=None),
            {"kind": "live"},
            event("guest-failed-over", cause="without"),
            event("guest-failed-over", cause=["?"]),
            event("guest-switched-over"),
        ]
    )
    told = {labels["reason"]: n for labels, n in found["vlockstep_ft_failovers_total"]}
    assert told == {"silence": 1, "lost": 1, "left": 0, "test": 1, "unknown": 3}
    assert found["vlockstep_ft_switchovers_total"] == [({}, 2)]
    assert found["vlockstep_failover_duration_seconds_sum"] == [({}, 2.0)]
    bounds = {labels["le"]: n for labels, n in found["vlockstep_failover_duration_seconds_bucket"]}
    assert (bounds["0.05"], bounds["0.1"], bounds["0.5"], bounds["2"]) == (0, 1, 2, 3)


def test_what_a_person_asked_for_is_no_restart() -> None:
    def event(kind: str, **details: Any) -> dict[str, Any]:
        return {"kind": kind, "details": details}

    found = counted(
        events=[
            event("replica-started", restart=False),
            event("replica-started", restart=True),
            event("replica-not-started", restart=False),
            event("restart-given-up", restart=True),
            event("replica-started"),
        ]
    )
    told = {labels["result"]: n for labels, n in found["vlockstep_ha_restarts_total"]}
    assert told == {"done": 1, "failed": 0, "given up": 1}


def test_what_migrations_took_and_why_load_balancing_asked_for_them() -> None:
    took = {"role": "primary", "gap_ms": 12.0, "bytes": 300, "disk_bytes": 30, "rounds": 4}
    of_secondary = {**took, "role": "secondary"}
    balanced = {"details": {"reason": "fairnessCpuAvg"}}
    found = counted(
        tasks=[
            task("done", 3.0) | {"result": {"took": took}} | balanced,
            task("done", 3.0) | {"result": {"took": of_secondary}},
            task("done", 3.0) | {"result": {"took": {"bytes": "many", "rounds": None}}},
            task("failed", 3.0) | balanced,
        ]
    )
    assert found["vlockstep_migration_transferred_bytes_total"] == [({}, 660)]
    assert found["vlockstep_migration_downtime_seconds_sum"] == [({}, 0.012)]
    assert found["vlockstep_migration_downtime_seconds_count"] == [({}, 1)]
    assert found["vlockstep_migration_passes_sum"] == [({}, 8)]
    assert found["vlockstep_drs_moves_total"] == [
        ({"reason": "fairnessCpuAvg", "result": "done"}, 1),
        ({"reason": "fairnessCpuAvg", "result": "failed"}, 1),
    ]


def test_histograms() -> None:
    made = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        made.observe(value)
    assert made.cumulative() == [(1.0, 2), (2.0, 3), (float("inf"), 4)]
    assert (made.count, made.sum) == (4, 12.0)


def test_the_board_of_grafana_asks_for_what_there_is() -> None:
    model, counts = seen(SimulatedSource(hosts=2, guests=2))
    balanced = {"details": {"reason": "fairnessCpuAvg"}}
    done = Picture(tasks={"1": task("done", 3.0) | balanced})
    counts.see(done)
    known = samples(of_view(model.view(), counts)).keys()
    known |= {"vlockstep_ft_log_bytes_total"}  # which real replicas have
    board = json.loads(GRAFANA.read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"vlockstep_\w+", target["expr"])
    }
    assert asked and asked <= known

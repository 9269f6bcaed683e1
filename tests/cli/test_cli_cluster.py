"""`vlockstep cluster`: what it shows of a store, and asks for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_command import Command

from vlockstep.cli import clusteroptions
from vlockstep.cluster.model import Role
from vlockstep.cluster.plain import to_plain
from vlockstep.cluster.records import (
    ADVICE,
    GUESTS,
    ORDERS,
    REPORTS,
    STATUS,
    Advice,
    Begin,
    GuestRecord,
    Life,
    MasterStatus,
    Order,
    Power,
    ReplicaReport,
    Report,
    key,
)
from vlockstep.cluster.store import open_store


def recommendation(guest: str, target: str, *needs: str) -> dict[str, Any]:
    move = {"guest": guest, "role": "primary", "from": "a", "to": target}
    key = f"{guest}:{target}"
    return {
        "key": key, "priority": 1, "reason": f"why {guest}", "prerequisites": [*needs],
        "moves": [move],
    }  # fmt: skip


@pytest.fixture
def lab(vlockstep: Command, tmp_path: Path) -> str:
    store = str(tmp_path / "lab")
    assert vlockstep("cluster", "create", "lab", "--cluster", store).status == 0
    return store


@pytest.fixture
def advised(lab: str) -> str:
    found = (
        recommendation("x", "d"),
        recommendation("other", "c"),
        recommendation("large", "b", "x:d", "done-by-itself:d"),
    )
    open_store(lab).put(ADVICE, to_plain(Advice(0.0, found)), None)
    return lab


def test_status_tells_faults(vlockstep: Command, lab: str) -> None:
    told = MasterStatus("a", 0.0, 0.0, {"a": "master"}, faults=("guest large is not moved",))
    open_store(lab).put(STATUS, to_plain(told), None)
    assert "guest large is not moved" in vlockstep("cluster", "status", "--cluster", lab).out


def test_recommendations_are_shown_with_what_they_need(vlockstep: Command, advised: str) -> None:
    out = vlockstep("cluster", "recommendations", "--cluster", advised).out
    [line] = [line for line in out.splitlines() if line.startswith("large:b")]
    assert "x:d" in line and "large from a to b" in line and "why large" in line


def test_one_is_carried_out_after_what_it_needs(
    vlockstep: Command, advised: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def do(*arguments: Any, **details: str) -> None:
        asked.append((*arguments[3:], details["host"], details["role"]))

    monkeypatch.setattr(clusteroptions, "do", do)
    done = vlockstep("cluster", "recommendations", "--apply", "large:b", "--cluster", advised)
    assert done.status == 0
    assert asked == [("migrate", "x", "d", "primary"), ("migrate", "large", "b", "primary")]


def test_what_is_recommended_no_longer_is_not_done(vlockstep: Command, advised: str) -> None:
    refused = vlockstep("cluster", "recommendations", "--apply", "large:c", "--cluster", advised)
    assert refused.status != 0 and "no recommendation 'large:c' any more" in refused.err


@pytest.mark.parametrize(
    ("states", "follower", "shown"),
    [
        ({"a": "master", "b": "connectedToMaster"}, "", ["a, b", "protected"]),
        ({"a": "master", "b": "fdmUnreachable"}, "", ["a", "protected"]),
        (
            {"a": "hostDown", "b": "fdmUnreachable"},
            "",
            ["unknown: a is hostDown, b is fdmUnreachable"],
        ),
        ({"a": "master", "b": "fdmUnreachable"}, "a", ["a", "unknown: b is fdmUnreachable"]),
    ],
    ids=["both tell", "one tells", "none tells", "a follower tells"],
)
def test_what_a_silent_host_said_last_is_not_told_as_if_it_were_so(
    vlockstep: Command, lab: str, states: dict[str, str], follower: str, shown: list[str]
) -> None:
    store = open_store(lab)
    guest = GuestRecord("x", "shared", "x", {"image": "hello"}, Power.ON)
    store.put(key(GUESTS, "x"), to_plain(guest), None)
    store.put(STATUS, to_plain(MasterStatus("a", 0.0, 0.0, states)), None)
    for host in states:
        order = Order("x", 1, Begin.BOOT, "shared", "x", {"image": "hello"})
        replica = ReplicaReport(1, Life.RUNNING, role=Role.PRIMARY, members=2)
        if host == follower:
            replica = replace(replica, role=Role.SECONDARY, state="following")
        store.put(key(ORDERS, host, "x"), to_plain(order), None)
        store.put(key(REPORTS, host), to_plain(Report(host, host, 1, 0.0, {"x": replica})), None)
    out = vlockstep("guest", "list", "--cluster", lab).out
    [line] = [line for line in out.splitlines() if line.startswith("x")]
    assert re.split(r"\s{2,}", line)[2:-3] == shown

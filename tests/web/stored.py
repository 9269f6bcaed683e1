"""A cluster's store as agents and a master leave it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlockstep.cluster.guestfile import parse
from vlockstep.cluster.model import Role
from vlockstep.cluster.operator import Operator
from vlockstep.cluster.plain import to_plain
from vlockstep.cluster.records import (
    GUESTS,
    HOSTS,
    ORDERS,
    REPORTS,
    STATUS,
    Begin,
    HostRecord,
    Life,
    MasterStatus,
    Order,
    Power,
    ReplicaReport,
    Report,
    key,
)
from vlockstep.cluster.store import Store, open_store

MOVE = {"guest": "books", "role": "primary", "from": "a", "to": "c"}
ADVISED = {
    "key": "books:c",
    "priority": 2,
    "reason": "a is busy",
    "code": "balance",
    "gain": 0.1,
    "cost": 0.0,
    "risk": 0.0,
    "prerequisites": [],
    "moves": [MOVE],
}


class Cluster:
    """Hosts a, b and c; `books` runs on a with its secondary on b, `idle` is powered off, and
    `late` waits."""

    def __init__(self, path: Path) -> None:
        (path / "store").mkdir()
        self.shared = path / "shared"
        self.shared.mkdir()
        self.name = str(path / "store")
        self.store: Store = open_store(self.name)
        self.operator = Operator(self.store)
        self.operator.create("lab")
        for name in "abc":
            where = {"shared": str(self.shared)}
            host = HostRecord(name, name, f"tcp://{name}", "127.0.0.1", 1000, 4096, where)
            self.store.put(key(HOSTS, name), to_plain(host), 0)
        for name in ("books", "idle", "late"):
            file = parse({"image": "ledger", "memory": 64, "ft": name == "books"})
            self.operator.create_guest(name, "shared", file, None, {})
        for name, host in (("books", "a"), ("late", None)):
            record = replace(self.operator.guest(name), power=Power.ON, host=host)
            self.store.put(key(GUESTS, name), to_plain(record), None)
        for host, begin in (("a", Begin.BOOT), ("b", Begin.JOIN)):
            order = Order("books", 1, begin, "shared", "books", {})
            self.store.put(key(ORDERS, host, "books"), to_plain(order), 0)
        self.report(1.0, 0)
        self.tell()

    def report(self, when: float, sent: int, generation: int = 1, **others: Any) -> None:
        usual: dict[str, Any] = {"generation": generation, "members": 2, "channel_bytes": sent}
        usual |= others
        roles = {"a": (Role.PRIMARY, "protected"), "b": (Role.SECONDARY, "following")}
        for host, (role, state) in roles.items():
            lag = 3.5 if role is Role.PRIMARY else None
            replica = ReplicaReport(
                1, Life.RUNNING, role=role, state=state, lag_ms=lag, cpu=20, memory=32, **usual
            )
            report = Report(host, host, 1, when, {"books": replica}, 20, 32)
            self.store.put(key(REPORTS, host), to_plain(report), None)

    def tell(self, **changes: Any) -> None:
        states = {"a": "master", "b": "connectedToMaster", "c": "connectedToMaster"}
        told: dict[str, Any] = {
            "pending": {"late": "no host has room"},
            "imbalance": 0.3,
            "hosts": states,
        }
        told["time"] = time.time()
        status = MasterStatus("a", since=1.0, **told | changes)
        self.store.put(STATUS, to_plain(status), None)

"""The management view of a large cluster: what a look costs, twice a second."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from benchmarks.contest import Claim, Contestant, Report, interleave
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
    GuestRecord,
    HostRecord,
    Life,
    MasterStatus,
    Order,
    Power,
    ReplicaReport,
    key,
)
from vlockstep.cluster.records import (
    Report as HostReport,
)
from vlockstep.cluster.store import Content, MemoryStore
from vlockstep.web.clusters import ClusterSource
from vlockstep.web.model import Model

HOSTS_THERE, GUESTS_THERE = 8, 1000
LOOKS = 10
"""In each round."""


class _Cluster:
    """Each guest is protected, and has a replica on each of two hosts."""

    def __init__(self) -> None:
        self.store = MemoryStore(Content(time.monotonic))
        Operator(self.store).create("large")
        names = [f"h{number}" for number in range(HOSTS_THERE)]
        for host in names:
            there = HostRecord(host, host, f"tcp://{host}", host, 1e6, 1e6, {"shared": "/shared"})
            self.store.put(key(HOSTS, host), to_plain(there), 0)
        self.reports = {host: HostReport(host, host, 0, 0.0, {}) for host in names}
        file = parse({"image": "ledger", "memory": 64, "ft": True}).to_dict()
        for number in range(GUESTS_THERE):
            guest = f"g{number:04}"
            first, second = names[number % len(names)], names[(number + 1) % len(names)]
            record = GuestRecord(guest, "shared", guest, file, Power.ON, first)
            self.store.put(key(GUESTS, guest), to_plain(record), 0)
            for host, role in ((first, Role.PRIMARY), (second, Role.SECONDARY)):
                order = Order(guest, 1, Begin.BOOT, "shared", guest, file)
                self.store.put(key(ORDERS, host, guest), to_plain(order), 0)
                self.reports[host] = self._with(self.reports[host], guest, role)
        self.tell()

    def _with(self, report: HostReport, guest: str, role: Role) -> HostReport:
        primary = role is Role.PRIMARY
        replica = ReplicaReport(
            1,
            Life.RUNNING,
            role=role,
            state="protected" if primary else "following",
            generation=1,
            members=2,
            lag_ms=1.0 if primary else None,
        )
        return replace(report, replicas={**report.replicas, guest: replica})

    def tell(self) -> None:
        """Each host reports anew: a tenth of its guests have done something meanwhile."""
        for host, before in self.reports.items():
            number = before.number + 1
            replicas = {
                guest: replica
                if (index + number) % 10
                else replace(replica, progress=number, channel_bytes=number, cpu=float(number))
                for index, (guest, replica) in enumerate(before.replicas.items())
            }
            now = time.time()
            report = replace(before, number=number, time=now, replicas=replicas)
            self.reports[host] = report
            self.store.put(key(REPORTS, host), to_plain(report), None)
        states = dict.fromkeys(self.reports, "connectedToMaster")
        status = MasterStatus("h0", 0.0, time.time(), states)
        self.store.put(STATUS, to_plain(status), None)


def measure(_directory: Path, rounds: int) -> Report:
    cluster = _Cluster()
    model = Model("cluster", 0)
    with closing(ClusterSource("large", cluster.store)) as source:
        model.see(source.look())

        def looks(reports: bool) -> float:
            spent = 0.0
            for _ in range(LOOKS):
                if reports:
                    cluster.tell()
                began = time.process_time()
                model.see(source.look())
                spent += time.process_time() - began
            return spent / LOOKS * 1000

        figures = interleave(
            [
                Contestant("nothing is new", lambda: looks(False)),
                Contestant("each host has reported", lambda: looks(True)),
            ],
            rounds,
        )
    quiet, busy = (min(figures[name]) for name in figures)
    return Report(
        f"view: a look at {HOSTS_THERE} hosts and {GUESTS_THERE:,} protected guests, CPU time",
        "ms",
        figures,
        [
            Claim("nothing is new", quiet, 20, at_least=False, unit="ms"),
            Claim("each host has reported", busy, 150, at_least=False, unit="ms"),
        ],
    )

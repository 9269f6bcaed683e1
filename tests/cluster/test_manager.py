"""A master's round."""

from __future__ import annotations

from concurrent.futures import Future
from itertools import count

import pytest

from vlockstep.cluster.drs.oracle import Answer
from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.master.manager import SECOND, Manager, Sight
from vlockstep.cluster.model import Cluster, Role
from vlockstep.cluster.plain import from_plain, to_plain
from vlockstep.cluster.records import (
    CLUSTER,
    GUESTS,
    HOSTS,
    ORDERS,
    REPORTS,
    STATUS,
    TASKS,
    Begin,
    ClusterRecord,
    GuestRecord,
    HostRecord,
    Life,
    Order,
    Power,
    ReplicaReport,
    Report,
    Task,
    TaskState,
    key,
    numbered,
)
from vlockstep.cluster.store import Content, Entry, Lease, MemoryStore, StoreError
from vlockstep.cluster.store.interface import Value

CONFIG = ClusterRecord("lab", "1")


def ask(cluster: Cluster) -> Future[Answer]:
    """Nobody answers."""
    return Future()


class SlowStore(MemoryStore):
    """After `taken` readings another master owns the datastore."""

    def __init__(self, taken: int) -> None:
        super().__init__(Content(lambda: 0.0))
        self.put(CLUSTER, to_plain(CONFIG), 0)
        self.left = taken

    def list(self, prefix: str) -> dict[str, Entry]:
        self.left -= 1
        return super().list(prefix)

    def look(self) -> Sight:
        owned = frozenset({"shared"} if self.left > 0 else ())
        return Sight({"a": Availability.MASTER}, owned, True)


@pytest.mark.parametrize(("taken", "decides"), [(1000, True), (2, False)])
def test_who_is_master_no_longer_when_all_is_read_decides_nothing(
    taken: int, decides: bool
) -> None:
    store = SlowStore(taken)
    Manager("a", store, CONFIG, 0.0, 1, ask).round(0, 0.0, store.look)
    assert bool(store.get(STATUS)) is decides


class FailingStore(MemoryStore):
    """Takes no orders while it is `full`."""

    full = False

    def put(self, key: str, value: Value, expected: int | None, lease: Lease | None = None) -> int:
        if self.full and key.startswith(ORDERS):
            raise StoreError("it is full")
        return super().put(key, value, expected, lease)


def test_a_master_goes_on_whose_orders_the_store_has_not_taken() -> None:
    store = FailingStore(Content(lambda: 0.0))
    host = HostRecord("a", "a", "a", "a", 10_000, 1024, {"shared": "/"})
    store.put(CLUSTER, to_plain(CONFIG), 0)
    store.put(key(HOSTS, "a"), to_plain(host), 0)
    for guest in ("g", "h"):
        record = GuestRecord(guest, "shared", guest, {"image": "hello"}, Power.ON)
        store.put(key(GUESTS, guest), to_plain(record), 0)
    manager = Manager("a", store, CONFIG, 0.0, SECOND, ask)
    seconds = count()

    def round() -> None:
        now = next(seconds)
        store.put(key(REPORTS, "a"), to_plain(Report("a", "a", now, now, {})), None)
        sight = Sight({"a": Availability.MASTER}, frozenset({"shared"}), True)
        manager.round(now * SECOND, now, lambda: sight)

    round()
    store.full = True
    with pytest.raises(StoreError):
        round()
    store.full = False
    for _ in range(10):
        round()
    assert list(store.list(ORDERS)) == ["orders/a/g", "orders/a/h"]


class Lab:
    """Two hosts, of which `a` runs the guest `g`. A round a second."""

    def __init__(self) -> None:
        self.store = MemoryStore(Content(lambda: 0.0))
        self.store.put(CLUSTER, to_plain(CONFIG), 0)
        for host in "ab":
            record = HostRecord(host, host, host, host, 10_000, 1024, {"shared": "/"})
            self.store.put(key(HOSTS, host), to_plain(record), 0)
        guest = GuestRecord("g", "shared", "g", {"image": "hello"}, Power.ON, attempt=1)
        self.store.put(key(GUESTS, "g"), to_plain(guest), 0)
        order = Order("g", 1, Begin.BOOT, "shared", "g", {"image": "hello"})
        self.store.put(key(ORDERS, "a", "g"), to_plain(order), 0)
        self._manager = Manager("b", self.store, CONFIG, 0.0, SECOND, ask)
        self._seconds = count()

    def report(self, host: str, number: int) -> None:
        replica = ReplicaReport(1, Life.RUNNING, role=Role.PRIMARY, state="alone", generation=1)
        replicas = {"g": replica} if host == "a" else {}
        report = Report(host, host, number, number, replicas)
        self.store.put(key(REPORTS, host), to_plain(report), None)

    def round(self) -> None:
        now = next(self._seconds)
        states = {"a": Availability.CONNECTED, "b": Availability.MASTER}
        sight = Sight(states, frozenset({"shared"}), True)
        self._manager.round(now * SECOND, now, lambda: sight)

    def task(self, number: int) -> Task:
        entry = self.store.get(numbered(TASKS, number))
        assert entry is not None
        return from_plain(Task, entry.value)


@pytest.mark.parametrize(
    ("kind", "details"), [("migrate", {"host": "b"}), ("migrate", {}), ("test-failover", {})]
)
def test_a_new_master_refuses_nothing_before_the_guests_host_has_reported(
    kind: str, details: dict[str, str]
) -> None:
    lab = Lab()
    for host in "ab":
        lab.report(host, 1)
    task = Task(1, kind, "g", "me", 0.0, details)
    lab.store.put(numbered(TASKS, 1), to_plain(task), 0)
    for number in range(2, 5):
        lab.report("b", number)
        lab.round()
        assert lab.task(1).state is TaskState.QUEUED, lab.task(1).reason
    for number in range(5, 8):
        for host in "ab":
            lab.report(host, number)
        lab.round()
    wanted = TaskState.RUNNING if kind == "migrate" else TaskState.FAILED
    assert lab.task(1).state is wanted, lab.task(1).reason

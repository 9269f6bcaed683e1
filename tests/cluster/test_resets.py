"""Guests that seem to hang are started anew, but not those whose outputs wait."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vlockstep.cluster.master.guests import Guests
from vlockstep.cluster.master.manager import SECOND
from vlockstep.cluster.master.reset import Resets
from vlockstep.cluster.master.view import Beliefs, View
from vlockstep.cluster.model import Replica, Role
from vlockstep.cluster.plain import to_plain
from vlockstep.cluster.records import (
    CLUSTER,
    EVENTS,
    GUESTS,
    HOSTS,
    ORDERS,
    REPORTS,
    Begin,
    ClusterRecord,
    End,
    GuestRecord,
    HostRecord,
    Life,
    Order,
    Power,
    ReplicaReport,
    Report,
    key,
)
from vlockstep.cluster.store import Content, MemoryStore

RESUMED = {"image": "hello", "monitoring": "low", "restart": "resume"}
FILE = {"image": "hello", "monitoring": "low", "ft": True, "hold": True}


@pytest.mark.parametrize("holding", [True, False])
def test_a_guest_whose_outputs_wait_does_not_hang(holding: bool) -> None:
    """Behind as many as may wait it makes no exit."""
    store = MemoryStore(Content(lambda: 0.0))
    replica = ReplicaReport(
        1, Life.RUNNING, role=Role.PRIMARY, state="alone", progress=7, holding=holding
    )
    for name, record in (
        (CLUSTER, ClusterRecord("lab", "1")),
        (key(HOSTS, "a"), HostRecord("a", "a", "a", "a", 1, 1, {"shared": "/"})),
        (key(GUESTS, "g"), GuestRecord("g", "shared", "g", FILE, Power.ON, "a", 1)),
        (key(ORDERS, "a", "g"), Order("g", 1, Begin.BOOT, "shared", "g", FILE)),
        (key(REPORTS, "a"), Report("a", "a", 1, 0.0, {"g": replica})),
    ):
        store.put(name, to_plain(record), None)
    resets = Resets(20)
    for second in range(60):
        view = View(store, 0.0)
        view.beliefs = Beliefs(usable=frozenset("a"), trusted=frozenset("a"))
        resets.round(second * SECOND, view, Guests(view, frozenset()))
    kinds = [entry.value["kind"] for entry in store.list(EVENTS).values()]
    assert ("guest-reset" in kinds) is not holding


@pytest.mark.parametrize("usable", ["ab", "b"])
def test_a_guest_that_hangs_boots_wherever_it_is_started_anew(usable: str) -> None:
    """Resumed it would hang again."""
    store = MemoryStore(Content(lambda: 0.0))

    def put(name: str, record: object) -> None:
        found = store.get(name)
        store.put(name, to_plain(record), None if found is None else found.version)

    put(CLUSTER, ClusterRecord("lab", "1"))
    for host in "ab":
        put(key(HOSTS, host), HostRecord(host, host, host, host, 9000, 9000, {"shared": "/"}))
    record = GuestRecord("g", "shared", "g", RESUMED, Power.ON, "a", 1, begun=True)
    put(key(GUESTS, "g"), record)
    put(key(ORDERS, "a", "g"), Order("g", 1, Begin.BOOT, "shared", "g", RESUMED))
    put(key(REPORTS, "b"), Report("b", "b", 1, 0.0, {}))
    hangs = ReplicaReport(1, Life.RUNNING, role=Role.PRIMARY, state="alone", progress=7)
    resets, killed = Resets(20), False
    for second in range(60):
        seen = replace(hangs, life=Life.ENDED, problem="killed") if killed else hangs
        put(key(REPORTS, "a"), Report("a", "a", 1 + second, 0.0, {"g": seen}))
        view = View(store, 0.0)
        trusted = frozenset("ab")
        view.beliefs = Beliefs(
            usable=frozenset(usable), trusted=trusted, owned=frozenset({"shared"})
        )
        guests = Guests(view, frozenset())
        guests.round()
        assert view.resumes("g") or killed
        resets.round(second * SECOND, view, guests)
        if killed:
            break
        killed = any(stored.record.end is End.KILL for stored in view.orders.values())
    assert killed and not View(store, 0.0).resumes("g")
    assert (Replica("g") in guests.missing) is (usable == "b")

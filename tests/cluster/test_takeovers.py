"""What a master tells of a guest whose secondary has taken over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vlockstep.cluster.master.guests import Guests
from vlockstep.cluster.master.protecting import Protecting
from vlockstep.cluster.master.taskround import Refused
from vlockstep.cluster.master.view import Beliefs, View
from vlockstep.cluster.model import Role
from vlockstep.cluster.plain import from_plain, to_plain
from vlockstep.cluster.records import (
    CLUSTER,
    EVENTS,
    GUESTS,
    HOSTS,
    ORDERS,
    REPORTS,
    TASKS,
    Begin,
    ClusterEvent,
    ClusterRecord,
    End,
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
from vlockstep.cluster.store import Content, MemoryStore

FILE = {"image": "hello", "ft": True}


class Cluster:
    """Hosts `a`, `b` and `c`, and a guest `g` that `a` ran as generation 1, with a secondary on
    `b`."""

    def __init__(self) -> None:
        self.store = MemoryStore(Content(lambda: 0.0))
        self.put(CLUSTER, ClusterRecord("lab", "1"))
        for host in "abc":
            record = HostRecord(host, host, host, host, 10_000, 1024, {"shared": "/"})
            self.put(key(HOSTS, host), record)
        guest = GuestRecord("g", "shared", "g", FILE, Power.ON, host="a", begun=True)
        self.put(key(GUESTS, "g"), guest)
        self.order("a", Begin.BOOT)
        self.order("b", Begin.JOIN)
        self.lost: frozenset[str] = frozenset()

    def put(self, name: str, record: Any) -> None:
        self.store.put(name, to_plain(record), None)

    def order(self, host: str, begin: Begin, **details: Any) -> None:
        self.put(key(ORDERS, host, "g"), Order("g", 1, begin, "shared", "g", FILE, **details))

    def reports(self, host: str, role: Role, generation: int, **details: Any) -> None:
        state = "protected" if role is Role.PRIMARY else "following"
        replica = ReplicaReport(1, Life.RUNNING, role=role, state=state, generation=generation)
        self.put(key(REPORTS, host), Report(host, host, 1, 0.0, {"g": replace(replica, **details)}))

    def dies(self, host: str) -> None:
        self.lost |= {host}

    def view(self) -> View:
        view = View(self.store, 0.0)
        alive = frozenset("abc") - self.lost
        view.beliefs = Beliefs(
            usable=alive, trusted=alive, lost=self.lost, owned=frozenset({"shared"})
        )
        return view

    def event(self) -> ClusterEvent:
        """The only one."""
        (entry,) = self.store.list(EVENTS).values()
        return from_plain(ClusterEvent, entry.value)

    def look(self) -> ClusterEvent:
        Guests(self.view(), frozenset()).round()
        return self.event()


@pytest.mark.parametrize("since", ["joined", "without", "disk-moved"])
def test_a_failover_keeps_its_cause_whatever_its_replica_has_claimed_since(since: str) -> None:
    cluster = Cluster()
    cluster.dies("a")
    cluster.reports("b", Role.PRIMARY, 3, cause=since, took_over="silence", silent_ms=400.0)
    event = cluster.look()
    assert event.kind == "guest-failed-over"
    assert event.text == "g goes on on b, where its secondary was: the primary was silent"
    assert event.details == {"cause": "silence", "silent_ms": 400.0}


def test_so_does_a_switchover() -> None:
    cluster = Cluster()
    cluster.reports("b", Role.PRIMARY, 3, cause="joined", took_over="switchover")
    assert cluster.look().kind == "guest-switched-over"


def test_of_a_replica_that_does_not_tell_the_cause_is_not_known() -> None:
    cluster = Cluster()
    cluster.dies("a")
    cluster.reports("b", Role.PRIMARY, 2, cause="joined")
    event = cluster.look()
    assert event.kind == "guest-failed-over" and event.details["cause"] == ""


def test_a_failover_is_tested_if_its_primary_was_to_be_killed() -> None:
    cluster = Cluster()
    cluster.order("a", Begin.BOOT, end=End.DROP)
    cluster.reports("a", Role.PRIMARY, 1, life=Life.ENDED, problem="it was killed")
    cluster.reports("b", Role.PRIMARY, 2, took_over="lost", silent_ms=50.0)
    event = cluster.look()
    assert event.text == "g goes on on b, where its secondary was: its failover is tested"
    assert event.details == {"cause": "test", "silent_ms": 50.0}


def test_it_is_not_if_that_was_another_secondary() -> None:
    """The primary's host dies while the restart of a secondary is tested."""
    cluster = Cluster()
    cluster.order("c", Begin.JOIN, end=End.DROP)
    cluster.dies("a")
    cluster.reports("b", Role.PRIMARY, 2, took_over="silence", silent_ms=400.0)
    cluster.reports("c", Role.SECONDARY, 1, life=Life.ENDED, problem="it was killed")
    assert cluster.look().details["cause"] == "silence"


def switch_over(cluster: Cluster) -> Task:
    """A round in which a switchover is under way, and `a` is lost, which has not said what came of
    it."""
    told = {"from": "a", "to": "b", "generation": 1}
    task = Task(1, "switchover", "g", "me", 0.0, state=TaskState.RUNNING, result=told)
    cluster.put(numbered(TASKS, 1), task)
    cluster.order("a", Begin.BOOT, swap=1, mover=1)
    cluster.reports("a", Role.PRIMARY, 1, mover=1)
    cluster.dies("a")
    view = cluster.view()
    (stored,) = view.tasks.values()
    Protecting(view, 0.0, {}).switch_over(stored)
    entry = cluster.store.get(numbered(TASKS, 1))
    assert entry is not None
    return from_plain(Task, entry.value)


def test_a_switchover_is_done_if_its_source_is_lost_when_it_has_handed_over() -> None:
    cluster = Cluster()
    cluster.reports("b", Role.PRIMARY, 3, cause="without", took_over="switchover")
    task = switch_over(cluster)
    assert task.state is TaskState.DONE
    assert task.progress == "the primary on a handed over to b, and was lost then"
    assert cluster.event().kind == "guest-switched-over"


def test_it_has_failed_if_its_source_is_lost_before() -> None:
    cluster = Cluster()
    cluster.reports("b", Role.PRIMARY, 3, cause="without", took_over="silence", silent_ms=400.0)
    with pytest.raises(Refused, match="lost before it had handed over"):
        switch_over(cluster)
    event = cluster.event()
    assert (event.kind, event.details["cause"]) == ("guest-failed-over", "silence")

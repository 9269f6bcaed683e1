"""What a master makes of the store's content."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from vlockstep.cluster.master import view as views
from vlockstep.cluster.master.balancing import Balancing
from vlockstep.cluster.master.guests import Guests, primary_of
from vlockstep.cluster.master.view import Beliefs, View
from vlockstep.cluster.model import Replica, Role
from vlockstep.cluster.plain import to_plain
from vlockstep.cluster.records import (
    CLUSTER,
    GUESTS,
    HOSTS,
    ORDERS,
    REPORTS,
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
from vlockstep.cluster.store import Content, MemoryStore

FILE = {"image": "hello"}


class Cluster:
    """Hosts `a`, `b` and `c`, and a guest `g`."""

    def __init__(self) -> None:
        self.store = MemoryStore(Content(lambda: 0.0))
        self.put(CLUSTER, ClusterRecord("lab", "1"))
        for host in "abc":
            self.put(key(HOSTS, host), self.host(host))
        self.put(key(GUESTS, "g"), GuestRecord("g", "shared", "g", FILE, Power.ON))

    def host(self, name: str, **details: Any) -> HostRecord:
        return HostRecord(name, name, name, name, 10_000, 1024, {"shared": "/"}, **details)

    def put(self, name: str, record: Any) -> None:
        self.store.put(name, to_plain(record), None)

    def runs(self, host: str, begin: Begin, role: Role, generation: int) -> None:
        self.put(key(ORDERS, host, "g"), Order("g", 1, begin, "shared", "g", FILE))
        replica = ReplicaReport(1, Life.RUNNING, role=role, state="alone", generation=generation)
        self.put(key(REPORTS, host), Report(host, host, 1, 0.0, {"g": replica}))

    def view(self) -> View:
        view = View(self.store, 0.0)
        hosts = frozenset("abc")
        view.beliefs = Beliefs(usable=hosts, trusted=hosts, owned=frozenset({"shared"}))
        return view


def test_of_two_that_say_they_rule_the_later_one_does_and_both_are_in_their_places() -> None:
    cluster = Cluster()
    cluster.runs("a", Begin.JOIN, Role.PRIMARY, 3)
    cluster.runs("b", Begin.BOOT, Role.PRIMARY, 2)
    assert cluster.view().cluster().placed == {
        Replica("g"): "a",
        Replica("g", Role.SECONDARY): "b",
    }


def test_nobody_rules_as_long_as_a_later_one_may_that_cannot_be_trusted() -> None:
    cluster = Cluster()
    cluster.runs("a", Begin.BOOT, Role.PRIMARY, 2)
    cluster.runs("b", Begin.JOIN, Role.PRIMARY, 5)
    view = cluster.view()
    beliefs, others = view.beliefs, frozenset("ac")
    view.beliefs = replace(beliefs, trusted=others)
    assert primary_of(view.seats("g")) is None
    view.beliefs = replace(beliefs, trusted=others, lost=frozenset("b"))
    primary = primary_of(view.seats("g"))
    assert primary is not None and primary.host == "a"


def test_who_ruled_before_and_says_nothing_is_no_secondary() -> None:
    """Another one is to protect the guest, whatever became of it."""
    cluster = Cluster()
    cluster.runs("a", Begin.JOIN, Role.PRIMARY, 3)
    cluster.runs("b", Begin.BOOT, Role.PRIMARY, 2)
    view = cluster.view()
    view.beliefs = replace(view.beliefs, trusted=frozenset("ac"))
    assert view.cluster().placed == {Replica("g"): "a"}


def test_a_third_replica_is_in_the_way_of_others_too() -> None:
    cluster = Cluster()
    cluster.runs("a", Begin.BOOT, Role.PRIMARY, 3)
    cluster.runs("b", Begin.JOIN, Role.SECONDARY, 3)
    cluster.runs("c", Begin.JOIN, Role.SECONDARY, 2)
    found = cluster.view().cluster()
    assert found.placed[Replica("g", Role.SECONDARY)] == "b"
    assert found.moving == {Replica("g", Role.SECONDARY): "c"}


@pytest.mark.parametrize(("owned", "moves"), [({"shared"}, ["g"]), (set(), [])])
def test_only_who_is_responsible_for_a_guest_moves_it(owned: set[str], moves: list[str]) -> None:
    cluster = Cluster()
    cluster.runs("a", Begin.BOOT, Role.PRIMARY, 1)
    cluster.put(key(HOSTS, "a"), cluster.host("a", maintenance=True))
    view = cluster.view()
    view.beliefs = replace(view.beliefs, owned=frozenset(owned))
    Balancing(lambda cluster: Future()).round(0.0, view)
    assert [task.record.target for task in view.open_tasks()] == moves


def test_a_move_that_nobody_is_responsible_for_holds_up_no_other() -> None:
    cluster = Cluster()
    cluster.runs("a", Begin.BOOT, Role.PRIMARY, 1)
    cluster.put(key(HOSTS, "a"), cluster.host("a", maintenance=True))
    cluster.put(key(GUESTS, "other"), GuestRecord("other", "away", "other", FILE, Power.ON))
    cluster.put(numbered(TASKS, 1), Task(1, "migrate", "other", "me", 0.0))
    view = cluster.view()
    view.beliefs = replace(view.beliefs, owned=frozenset({"shared"}))
    Balancing(lambda cluster: Future()).round(0.0, view)
    assert [task.record.target for task in view.open_tasks()] == ["other", "g"]


def test_on_a_host_is_what_may_run_there() -> None:
    cluster = Cluster()
    cluster.runs("a", Begin.BOOT, Role.PRIMARY, 1)
    assert cluster.view().on("a") == ["g"]
    ended = ReplicaReport(1, Life.ENDED, problem="the guest panicked")
    cluster.put(key(REPORTS, "a"), Report("a", "a", 2, 0.0, {"g": ended}))
    view = cluster.view()
    assert view.on("a") == view.on("b") == []
    view.beliefs = replace(view.beliefs, trusted=frozenset())
    assert view.on("a") == ["g"]


def test_old_tasks_are_forgotten_when_they_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "TASKS_KEPT", 2)
    cluster = Cluster()
    for number, state in enumerate(["done", "running", "failed", "queued"], 1):
        task = Task(number, "start", "g", "me", 0.0)
        cluster.put(numbered(TASKS, number), replace(task, state=TaskState(state)))
    view = cluster.view()
    view.forget_tasks()
    assert [task.record.number for task in view.tasks.values()] == [2, 3, 4]
    assert len(cluster.store.list(TASKS)) == 3


def test_a_guest_is_resumed_only_once_it_has_run_since_it_was_to_boot() -> None:
    cluster = Cluster()
    file = FILE | {"restart": "resume"}
    cluster.put(key(GUESTS, "g"), GuestRecord("g", "shared", "g", file, Power.ON))
    assert not cluster.view().resumes("g"), "it may never have run"
    cluster.runs("a", Begin.BOOT, Role.PRIMARY, 1)
    Guests(cluster.view(), frozenset()).round()
    view = cluster.view()
    assert view.resumes("g")
    view.order("b", "g", Begin.RESUME)
    assert cluster.view().resumes("g")
    cluster.view().order("b", "g", Begin.BOOT)
    assert not cluster.view().resumes("g"), "its log is of what was before"


def test_other_guests_boot() -> None:
    cluster = Cluster()
    cluster.runs("a", Begin.BOOT, Role.PRIMARY, 1)
    Guests(cluster.view(), frozenset()).round()
    assert not cluster.view().resumes("g")


def test_a_host_has_kvm_for_the_models_that_its_record_names() -> None:
    cluster = Cluster()
    cluster.put(key(HOSTS, "d"), cluster.host("d", kvm=("westmere",)))
    view = cluster.view()
    assert (view.host("d").kvm, view.host("a").kvm) == ({"westmere"}, frozenset())

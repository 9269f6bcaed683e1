"""Load balancing at work: what it orders, shows and says in a master's rounds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

import pytest

from vlockstep.cluster.drs import oracle
from vlockstep.cluster.drs.oracle import Answer
from vlockstep.cluster.guestfile import GuestFile
from vlockstep.cluster.master.balancing import Balancing
from vlockstep.cluster.master.view import Beliefs, View
from vlockstep.cluster.model import Allocation, Automation, Cluster, Replica, Role
from vlockstep.cluster.plain import from_plain, to_plain
from vlockstep.cluster.records import (
    ADVICE,
    CLUSTER,
    EVENTS,
    GUESTS,
    HOSTS,
    ORDERS,
    REPORTS,
    RULES,
    TASKS,
    Advice,
    Begin,
    ClusterRecord,
    GuestRecord,
    HostRecord,
    Life,
    Order,
    Power,
    ReplicaReport,
    Report,
    RuleRecord,
    Task,
    TaskState,
    key,
    numbered,
)
from vlockstep.cluster.store import Content, MemoryStore

CPUS = {"a": 1000, "b": 1000, "c": 1000, "d": 700}
CRAMMED = {
    "large": ("a", 900),
    "x": ("b", 300),
    "y": ("b", 300),
    "z": ("c", 300),
    "v": ("c", 300),
    "w": ("d", 100),
}
"""Where each guest is, and what it reserves: two must move before there is room for `large`."""
INTERVAL = 15


class Lab:
    """Hosts and guests that do at once what they are told. Questions are answered when a test does
    so, unless it brings who answers."""

    def __init__(
        self,
        guests: dict[str, tuple[str, float]],
        ask: Callable[[Cluster], Future[Answer]] | None = None,
        automation: Automation = Automation.FULL,
    ) -> None:
        self.store = MemoryStore(Content(lambda: 0.0))
        self.put(CLUSTER, ClusterRecord("lab", "1", automation=automation, interval=INTERVAL))
        self.guests = guests
        self.at = {name: host for name, (host, _) in guests.items()}
        self.demands: dict[str, float] = {}
        for name, (_, reserved) in guests.items():
            file = GuestFile("hello", cpu_resources=Allocation(reservation=reserved))
            self.put(key(GUESTS, name), GuestRecord(name, "shared", name, file.to_dict(), Power.ON))
        self.set_host("a")
        for host in "bcd":
            self.set_host(host)
        self.asked: list[tuple[Cluster, Future[Answer]]] = []
        self._answer = ask
        self.balancing = Balancing(self._ask)
        self.now = 0.0

    def put(self, name: str, record: object) -> None:
        self.store.put(name, to_plain(record), None)

    def set_host(self, name: str, maintenance: bool = False) -> None:
        record = HostRecord(name, name, name, name, CPUS[name], 10_000, {"shared": "/"})
        self.put(key(HOSTS, name), replace(record, maintenance=maintenance))

    def _ask(self, cluster: Cluster) -> Future[Answer]:
        answer: Future[Answer] = self._answer(cluster) if self._answer else Future()
        self.asked.append((cluster, answer))
        return answer

    def round(self, later: float = INTERVAL) -> list[Task]:
        """The tasks that it makes; they are done when the next round begins."""
        for name, host in self.at.items():
            order = Order(name, 1, Begin.BOOT, "shared", name, {"image": "hello"})
            self.put(key(ORDERS, host, name), order)
        for host in CPUS:
            replicas = {
                name: ReplicaReport(
                    1, Life.RUNNING, role=Role.PRIMARY, state="alone", cpu=self.demands.get(name, 0)
                )
                for name, where in self.at.items()
                if where == host
            }
            self.put(key(REPORTS, host), Report(host, host, 1, 0.0, replicas))
        self.now += later
        view = View(self.store, self.now)
        view.beliefs = Beliefs(
            usable=frozenset(CPUS), trusted=frozenset(CPUS), owned=frozenset({"shared"})
        )
        self.balancing.round(self.now, view)
        made = [
            task
            for entry in self.store.list(TASKS).values()
            if (task := from_plain(Task, entry.value)).state is TaskState.QUEUED
        ]
        for task in made:
            self.store.delete(key(ORDERS, self.at[task.target], task.target), None)
            self.at[task.target] = task.details["host"]
            self.put(numbered(TASKS, task.number), replace(task, state=TaskState.DONE))
        return made

    def advice(self) -> dict[str, list[str]]:
        """The keys of what is recommended, and what each one needs."""
        entry = self.store.get(ADVICE)
        assert entry is not None
        found = from_plain(Advice, entry.value).recommendations
        return {each["key"]: each["prerequisites"] for each in found}

    def events(self) -> list[str]:
        return [str(entry.value["text"]) for entry in self.store.list(EVENTS).values()]


NEAR = partial(oracle.ask, aim=oracle.NEAR, seconds=60)


def test_who_stays_where_it_may_not_is_named_with_what_is_in_the_way() -> None:
    lab = Lab(CRAMMED)
    lab.set_host("a", maintenance=True)
    assert not lab.round()
    [fault] = lab.balancing.faults
    assert fault == (
        "guest large is not moved: host a is in maintenance (b: host b has 400 of 1000 MIPS that "
        "are not reserved, and the guest reserves 900; c: host c has 400 of 1000 MIPS that are not "
        "reserved, and the guest reserves 900; d: host d has 600 of 700 MIPS that are not "
        "reserved, and the guest reserves 900)"
    )


def test_a_host_is_emptied_by_way_of_several_others() -> None:
    lab = Lab(CRAMMED, NEAR)
    lab.set_host("a", maintenance=True)
    assert not lab.round() and len(lab.asked) == 1
    lab.asked[0][1].result(60)
    made = lab.round(0.1)  # the answer is not left waiting for the interval
    assert len(made) == 2 and not lab.balancing.faults
    made += lab.round()
    assert [task.target for task in made][2:] == ["large"] and lab.at["large"] in ("b", "c")
    assert not lab.round() and not lab.balancing.faults and len(lab.asked) == 1
    assert any(text.endswith("room for guest large") for text in lab.events())


def test_a_rule_is_restored_by_way_of_several_others() -> None:
    lab = Lab(CRAMMED, NEAR)
    lab.put(key(RULES, "far"), RuleRecord("far", "hosts", 1, ("large",), ("b", "c")))
    lab.put(key(RULES, "home"), RuleRecord("home", "hosts", 2, ("x",), ("b", "d")))
    assert not lab.round()
    assert "rule far keeps guest large off host a" in lab.balancing.faults[0]
    lab.asked[0][1].result(60)
    while lab.round():
        pass
    assert lab.at["large"] in ("b", "c") and not lab.balancing.faults


def test_no_round_waits_and_an_answer_for_another_cluster_is_not_used() -> None:
    lab = Lab(CRAMMED)
    lab.set_host("a", maintenance=True)
    assert not lab.round() and not lab.round()
    [(_, answer)] = lab.asked
    lab.at["w"] = "c"
    lab.store.delete(key(ORDERS, "d", "w"), None)
    answer.set_result({Replica(name): "d" for name in ("x", "y")})
    assert not lab.round(0.1)
    assert [question.placed[Replica("w")] for question, _ in lab.asked] == ["d", "c"]


def test_demands_that_change_do_not_matter_to_the_answer() -> None:
    lab = Lab(CRAMMED)
    lab.set_host("a", maintenance=True)
    lab.round()
    lab.demands["w"] = 10
    where = {name: host for name, (host, _) in CRAMMED.items()}
    wanted = {**where, "x": "d", "y": "d", "large": "b"}
    lab.asked[0][1].set_result({Replica(name): host for name, host in wanted.items()})
    assert {task.target for task in lab.round(0.1)} == {"x", "y"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "moving several other guests would not help either"),
        ({"large": "b"}, "the moves that would help find no room on their way"),
    ],
)
def test_an_answer_that_does_not_help_is_asked_for_once(
    answer: dict[str, str] | None, said: str
) -> None:
    lab = Lab(CRAMMED)
    lab.set_host("a", maintenance=True)
    lab.round()
    where = {Replica(name): host for name, (host, _) in CRAMMED.items()}
    wanted = answer and {Replica(name): host for name, host in answer.items()}
    lab.asked[0][1].set_result(wanted and {**where, **wanted})
    for _ in range(3):
        assert not lab.round()
        assert said in lab.balancing.faults[-1] and len(lab.balancing.faults) == 2
    assert len(lab.asked) == 1


def test_without_highs_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "find_spec", lambda name: None)
    lab = Lab(CRAMMED, NEAR)
    lab.set_host("a", maintenance=True)
    lab.round()
    assert lab.asked[0][1].exception(60)
    assert not lab.round()
    assert "pip install 'vlockstep[drs]'" in lab.balancing.faults[-1]


def test_without_consent_it_is_shown_with_what_it_needs() -> None:
    lab = Lab(CRAMMED, NEAR, Automation.MANUAL)
    lab.set_host("a", maintenance=True)
    lab.round()
    lab.asked[0][1].result(60)
    assert not lab.round(0.1) and not lab.balancing.faults
    *others, large = lab.advice()
    assert large in ("large:b", "large:c") and lab.advice()[large] == others and len(others) == 2


def test_a_spike_shorter_than_the_hold_time_moves_nothing() -> None:
    lab = Lab({"one": ("a", 0), "two": ("a", 0), "three": ("b", 0)})
    hold = ClusterRecord("lab", "1").hold
    for _ in range(3):
        assert not lab.round(hold)
    lab.demands = {"one": 900, "two": 900}
    assert not lab.round(1)
    assert not lab.round(hold - 1)
    lab.demands = {}
    for _ in range(3):
        assert not lab.round(hold)
    lab.demands = {"one": 900, "two": 900}
    assert not lab.round(1)
    assert lab.round(hold)

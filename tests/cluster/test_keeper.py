"""What a host does with its orders, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from vlockstep.cluster.keeper import Keeper
from vlockstep.cluster.model import Role
from vlockstep.cluster.plain import from_plain, to_plain
from vlockstep.cluster.records import Begin, End, Life, Order, ReplicaReport, Report
from vlockstep.cluster.store import Content, MemoryStore, StoreError
from vlockstep.errors import HostError

FILE = {"image": "hello"}


class Local:
    """Replicas that do what a test has them do."""

    def __init__(self) -> None:
        self.replicas: dict[str, ReplicaReport] = {}
        self.did: list[tuple[Any, ...]] = []
        self.refusal = ""

    def look(self) -> Mapping[str, ReplicaReport]:
        return dict(self.replicas)

    def start(self, order: Order) -> None:
        self.did.append(("start", order.guest, order.attempt))
        if self.refusal:
            raise HostError(self.refusal)
        self.replicas[order.guest] = ReplicaReport(order.attempt, Life.RUNNING, since=1)

    def end(self, guest: str, how: End, reason: str) -> None:
        self.did.append(("end", guest, how))

    def move(self, guest: str, endpoint: str, mover: int) -> None:
        self.did.append(("move", guest, endpoint))
        self.replicas[guest] = replace(self.replicas[guest], mover=mover)

    def swap(self, guest: str, mover: int) -> None:
        self.did.append(("swap", guest))
        self.replicas[guest] = replace(self.replicas[guest], mover=mover)

    def call_off(self, guest: str) -> None:
        self.did.append(("call off", guest))

    def hold(self, guest: str, hold: bool) -> None:
        self.did.append(("hold", guest, hold))
        self.replicas[guest] = replace(self.replicas[guest], hold=hold)

    def ended(self, guest: str, problem: str) -> None:
        now = self.replicas[guest]
        self.replicas[guest] = replace(now, life=Life.ENDED, problem=problem)


class Host:
    """A keeper, its store and its replicas."""

    def __init__(self) -> None:
        self.time = 0.0
        self.store = MemoryStore(Content(lambda: self.time))
        self.local = Local()
        self.agent()

    def agent(self) -> None:
        """Start another one."""
        self.keeper = Keeper("a", "agent", self.store, self.local, every=1.0)

    def order(self, attempt: int, **details: Any) -> None:
        order = Order("g", attempt, Begin.BOOT, "shared", "g", FILE, **details)
        self.store.put("orders/a/g", to_plain(order), None)

    def round(self, passed: float = 0.1) -> ReplicaReport | None:
        self.time += passed
        self.keeper.round(self.time, 1000 + self.time)
        entry = self.store.get("reports/a")
        assert entry is not None
        return from_plain(Report, entry.value).replicas.get("g")

    @property
    def did(self) -> list[tuple[Any, ...]]:
        done, self.local.did = self.local.did, []
        return done


@pytest.fixture
def host() -> Host:
    return Host()


def test_an_order_is_carried_out_once(host: Host) -> None:
    host.order(1)
    first = host.round()
    assert first is not None and first.life is Life.STARTING
    assert host.did == [("start", "g", 1)]
    second = host.round()
    assert second is not None and second.life is Life.RUNNING
    host.local.ended("g", "killed")
    for _ in range(3):
        third = host.round()
        assert third is not None and (third.life, third.problem) == (Life.ENDED, "killed")
    assert host.did == []
    host.order(2)
    host.round()
    assert host.did == [("start", "g", 2)]


def test_a_replica_holds_its_outputs_or_does_not(host: Host) -> None:
    """Whatever it was started by, once it has begun."""
    host.order(1, hold=True)
    host.round()
    host.round()
    assert host.did == [("start", "g", 1)]
    host.local.replicas["g"] = replace(host.local.replicas["g"], state="alone")
    host.round()
    host.round()
    assert host.did == [("hold", "g", True)]
    host.order(1)
    host.round()
    assert host.did == [("hold", "g", False)]


def test_another_agent_does_not_carry_it_out_again(host: Host) -> None:
    host.order(1)
    host.round()
    assert host.did == [("start", "g", 1)]
    host.local.replicas.clear()  # the host was started anew
    host.agent()
    found = host.round()
    assert found is not None
    assert (found.life, found.problem) == (Life.ENDED, "its process has gone")
    assert host.did == []


def test_an_agent_finds_a_replica_that_was_not_reported(host: Host) -> None:
    host.order(1)
    host.local.replicas["g"] = ReplicaReport(1, Life.RUNNING)
    found = host.round()
    assert found is not None and found.life is Life.RUNNING
    assert host.did == []


def test_a_refusal_is_reported(host: Host) -> None:
    host.local.refusal = "there is no room"
    host.order(1)
    found = host.round()
    assert found is not None and (found.life, found.problem) == (Life.ENDED, "there is no room")
    host.round()
    assert host.did == [("start", "g", 1)]


def test_what_is_said_of_a_refused_attempt_is_not_what_became_of_the_one_before(host: Host) -> None:
    host.order(1)
    host.round()
    host.local.ended("g", "the guest panicked")
    host.round()
    host.local.refusal = "there is no room"
    host.order(2)
    for _ in range(2):
        found = host.round()
        assert found is not None and (found.attempt, found.problem) == (2, "there is no room")


def test_a_replica_of_another_attempt_is_killed_first(host: Host) -> None:
    host.order(1)
    host.round()
    host.order(2)
    found = host.round()
    assert found is not None and found.attempt == 1
    assert host.did == [("start", "g", 1), ("end", "g", End.KILL)]
    host.local.ended("g", "killed")
    host.round()
    assert host.did == [("start", "g", 2)]


def test_an_end_is_asked_for_once_in_a_while(host: Host) -> None:
    host.order(1)
    host.round()
    host.order(1, end=End.POWER_OFF, reason="it is time")
    for _ in range(5):
        host.round()
    assert host.did == [("start", "g", 1), ("end", "g", End.POWER_OFF)]
    host.order(1, end=End.KILL)
    host.round()
    assert host.did == [("end", "g", End.KILL)]
    host.round(60)
    assert host.did == [("end", "g", End.KILL)]


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize(("end", "how"), [(End.DROP, End.KILL), (End.LEAVE, End.LEAVE)])
def test_who_is_to_end_alone_does_not_as_the_only_one(
    host: Host, end: End, how: End, members: int
) -> None:
    host.order(1)
    host.round()
    assert host.did == [("start", "g", 1)]
    running = host.local.replicas["g"]
    host.local.replicas["g"] = replace(running, role=Role.PRIMARY, members=members)
    host.order(1, end=end, reason="a test")
    host.round()
    assert host.did == ([("end", "g", how)] if members > 1 else [])


def test_an_order_that_is_to_end_before_it_began_starts_nothing(host: Host) -> None:
    host.order(1, end=End.KILL, reason="too late")
    found = host.round()
    assert found is not None and (found.life, found.problem) == (Life.ENDED, "too late")
    assert host.did == []


def test_a_move_is_begun_and_called_off_once(host: Host) -> None:
    host.order(1)
    host.round()
    host.order(1, move="tcp://127.0.0.1:1", mover=7)
    host.round()
    host.round()
    assert host.did == [("start", "g", 1), ("move", "g", "tcp://127.0.0.1:1")]
    host.order(1, move="tcp://127.0.0.1:1", mover=7, cancel=True)
    host.round()
    assert host.did == [("call off", "g")]


def test_roles_are_swapped_once_under_a_generation(host: Host) -> None:
    """Whichever agent reads the order, and whatever rules later."""
    host.order(1)
    host.round()

    def rules(role: Role, generation: int, mover: int = 0) -> None:
        now = host.local.replicas["g"]
        host.local.replicas["g"] = replace(now, role=role, generation=generation, mover=mover)
        host.round()

    rules(Role.PRIMARY, 2)
    host.order(1, swap=2, mover=7)
    host.round()
    host.round()
    assert host.did == [("start", "g", 1), ("swap", "g")]
    host.agent()
    rules(Role.SECONDARY, 2)
    rules(Role.SECONDARY, 3)
    rules(Role.PRIMARY, 4)
    assert host.did == []


def test_a_replica_without_an_order_is_left_alone_and_reported(host: Host) -> None:
    host.local.replicas["g"] = ReplicaReport(4, Life.RUNNING)
    found = host.round()
    assert found is not None and found.attempt == 4
    assert host.did == []


def test_a_store_that_does_not_answer_harms_no_replica(host: Host) -> None:
    host.order(1)
    host.round()
    host.store.reachable = False
    with pytest.raises(StoreError):
        host.round()
    host.store.reachable = True
    host.round()
    assert host.did == [("start", "g", 1)]


def test_a_report_is_written_when_it_says_something_new_or_it_is_time(host: Host) -> None:
    def number() -> int:
        entry = host.store.get("reports/a")
        assert entry is not None
        return from_plain(Report, entry.value).number

    host.order(1)
    host.round()
    host.round()
    before = number()
    host.round()
    assert number() == before
    host.round(1.5)
    assert number() == before + 1


def test_an_order_that_cannot_be_read_is_left_out(host: Host) -> None:
    host.store.put("orders/a/g", {"guest": 3}, None)
    assert host.round() is None

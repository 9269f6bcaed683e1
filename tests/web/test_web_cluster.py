"""A cluster in the view: its store as agents and a master leave it, and what is asked of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import wait_until
from stored import ADVISED, MOVE, Cluster

from vlockstep.arbiter import Reign
from vlockstep.cluster.drs.balance import aim_of, priority_of
from vlockstep.cluster.operator import Operator
from vlockstep.cluster.plain import to_plain
from vlockstep.cluster.records import (
    ADVICE,
    EVENTS,
    TASKS,
    Advice,
    ClusterEvent,
    Task,
    TaskState,
    numbered,
)
from vlockstep.cluster.store.interface import Entry, StoreError
from vlockstep.cluster.store.memory import Content, MemoryStore
from vlockstep.errors import UsageError
from vlockstep.web.applying import Applying
from vlockstep.web.clusters import ClusterSource
from vlockstep.web.history import Rates
from vlockstep.web.mirror import Mirror
from vlockstep.web.model import Picture


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@pytest.fixture
def source(cluster: Cluster) -> Iterator[ClusterSource]:
    with closing(ClusterSource(cluster.name)) as made:
        made.look()
        yield made


def test_what_is_seen(cluster: Cluster, source: ClusterSource) -> None:
    seen = source.look()
    assert seen.cluster is not None and seen.cluster["status"] is not None
    assert (seen.cluster["name"], seen.cluster["datastores"]) == (
        "lab",
        {"shared": ["a", "b", "c"]},
    )
    assert {name: host["master"] for name, host in seen.hosts.items()} == {
        "a": True,
        "b": False,
        "c": False,
    }
    words = {name: (each["protection"], each["level"]) for name, each in seen.guests.items()}
    assert words == {
        "books": ("protected", "good"),
        "idle": ("off", "plain"),
        "late": ("waits: no host has room", "bad"),
    }
    replicas = seen.guests["books"]["replicas"]
    assert {host: each["role"] for host, each in replicas.items()} == {
        "a": "primary",
        "b": "secondary",
    }
    assert replicas["a"]["lag_ms"] == 3.5
    (problem,) = seen.problems
    assert (problem["target"], problem["cause"]) == ("guests/late", "no host has room")


def test_the_same_names_as_on_the_command_line(cluster: Cluster, source: ClusterSource) -> None:
    cluster.operator.submit("start", "idle")
    wanted = to_plain(cluster.operator.tasks()[0])
    seen = source.look()
    assert seen.tasks == {"1": wanted}
    record = to_plain(cluster.operator.guest("books"))
    assert record.items() <= {**seen.guests["books"]}.items()
    host = to_plain(cluster.operator.hosts()["a"])
    assert host.items() <= {**seen.hosts["a"]}.items()
    config = to_plain(cluster.operator.config())
    assert seen.cluster is not None and config.items() <= {**seen.cluster}.items()


def test_rates_are_between_two_reports(cluster: Cluster, source: ClusterSource) -> None:
    cluster.report(3.0, 1000)
    replica = source.look().guests["books"]["replicas"]["a"]
    assert replica["log_bytes_per_s"] == 500
    assert source.look().guests["books"]["replicas"]["a"] == replica, "no report since"


def test_rates_forget_who_has_gone() -> None:
    rates = Rates()
    rates.see(("a",), 1.0, [10])
    rates.forget()
    rates.forget()
    assert rates.see(("a",), 2.0, [30]) == [0.0]
    assert rates.see(("a",), 4.0, [20]) == [0.0], "counters that began anew"


@pytest.mark.parametrize(("status", "level"), [(0, "plain"), (1, "warn")])
def test_why_a_guest_is_off(
    cluster: Cluster, source: ClusterSource, status: int, level: str
) -> None:
    why = f"it has ended with status {status}"
    record = replace(cluster.operator.guest("idle"), ended=why)
    cluster.store.put("guests/idle", to_plain(record), None)
    picture = source.look()
    guest = picture.guests["idle"]
    assert (guest["protection"], guest["level"]) == (f"off: {why}", level)
    told = [problem["do"] for problem in picture.problems if problem["target"] == "guests/idle"]
    assert bool(told) == (status != 0) and all("console" in do for do in told)


def test_events_come_once(cluster: Cluster, source: ClusterSource) -> None:
    event = ClusterEvent(1, 5.0, "host-lost", "b is lost", "b")
    cluster.store.put(numbered(EVENTS, 1), to_plain(event), 0)
    (told,) = source.look().events
    assert (told["kind"], told["text"], told["host"]) == ("host-lost", "b is lost", "b")
    assert source.look().events == []


def test_another_generation_has_its_reason(cluster: Cluster, source: ClusterSource) -> None:
    """As who rules tells it, also where no arbiter can be read."""
    cluster.report(4.0, 0, generation=2, cause="silence", silent_ms=412.4)
    source.look()
    cluster.report(5.0, 0, generation=3, cause="joined")
    source.look()
    first, second, third = source.details("books")["generations"]
    assert (first["generation"], first["ruler"], first["reason"]) == (1, "a", "")
    assert second["reason"] == "the primary was silent; taken over 412 ms after its last word"
    assert (third["cause"], third["reason"]) == ("joined", "another replica has joined")


def test_what_is_wrong(cluster: Cluster, source: ClusterSource) -> None:
    states = {"a": "master", "b": "hostDown", "c": "fdmUnreachable"}
    cluster.tell(hosts=states, time=time.time() - 60, pending={}, faults=("rule x fails",))
    found = source.look().problems
    assert found[0]["what"] == "the master a is silent"
    by_target = {each["target"]: each for each in found}
    assert by_target["hosts/c"]["do"] == "start its agent again"
    assert by_target["hosts/c"]["cause"] == "its agent does not answer, the host does"
    assert by_target[""]["cause"] == "rule x fails"


def test_whether_a_guest_could_run_elsewhere(cluster: Cluster, source: ClusterSource) -> None:
    def reasons(host: str, role: str = "primary") -> list[str]:
        told = source.compatibility("books", host, role)
        found = [why for _, why in told["checks"] if why]
        assert told["possible"] == (not found)
        return found

    assert reasons("c") == []
    assert reasons("a") == ["books runs on a already"]
    assert reasons("b") == ["host b has the guest's secondary"]
    assert reasons("a", "secondary") == ["host a has the guest's primary"]
    assert reasons("b", "secondary") == ["books has its secondary on b already"]
    assert reasons("c", "secondary") == []
    cluster.tell(hosts={"a": "master", "c": "hostDown"})
    source.look()
    assert reasons("c") == ["c is hostDown"]
    with pytest.raises(UsageError, match="no host 'z'"):
        source.compatibility("books", "z", "primary")
    with pytest.raises(UsageError, match="primary or secondary"):
        source.compatibility("books", "c", "king")


def test_actions_are_tasks(cluster: Cluster, source: ClusterSource) -> None:
    task = source.act_on_guest("books", "migrate", {"host": "c"})["task"]
    assert (task["kind"], task["details"]) == ("migrate", {"host": "c", "role": "primary"})
    assert source.act_on_host("b", True)["task"]["details"] == {"on": True}
    assert source.cancel(task["number"])["task"]["cancel"]
    source.act_on_guest("idle", "protect", {})
    source.act_on_guest("books", "switchover", {})
    assert cluster.operator.guest("idle").file["ft"] is True
    kinds = [each.kind for each in cluster.operator.tasks()]
    assert kinds == ["migrate", "maintenance", "protect", "switchover"]


@pytest.mark.parametrize(
    ("guest", "action", "given", "why"),
    [
        ("nobody", "stop", {}, "there is no guest 'nobody'"),
        ("idle", "switchover", {}, "idle is not protected: nobody could take over"),
        ("books", "migrate", {"host": 1}, "is the name of a host"),
        ("books", "migrate", {"role": "king"}, "is primary or secondary"),
        ("books", "migrate", {"to": "c"}, "to cannot be given of a cluster's guest"),
    ],
)
def test_what_cannot_be_asked(
    cluster: Cluster, source: ClusterSource, guest: str, action: str, given: Any, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        source.act_on_guest(guest, action, given)
    assert cluster.operator.tasks() == []


def test_recommendations_are_applied_once(cluster: Cluster, source: ClusterSource) -> None:
    cluster.store.put(ADVICE, to_plain(Advice(1.0, (ADVISED,))), 0)
    assert source.look().recommendations == {"books:c": ADVISED}
    task = source.apply(["books:c"])["task"]
    balanced = {"host": "c", "role": "primary", "reason": "balance"}
    assert (task["kind"], task["details"]) == ("migrate", balanced)
    with pytest.raises(UsageError, match="are being applied"):
        source.apply(["books:c"])
    with pytest.raises(UsageError, match="no recommendation 'x' any more"):
        source.apply(["x"])


ANOTHER = {**MOVE, "role": "secondary", "from": "b", "to": "a"}


def asked(cluster: Cluster, source: ClusterSource) -> None:
    """Two moves were agreed to, and the first is a task."""
    advised = {**ADVISED, "moves": [MOVE, ANOTHER]}
    cluster.store.put(ADVICE, to_plain(Advice(1.0, (advised,))), 0)
    source.apply(["books:c"])


def end(cluster: Cluster, number: int, state: TaskState) -> None:
    task = replace(cluster.operator.task(number), state=state, reason="no room")
    cluster.store.put(numbered(TASKS, number), to_plain(task), None)


def test_moves_that_were_not_asked_for_are_told(cluster: Cluster, source: ClusterSource) -> None:
    asked(cluster, source)
    end(cluster, 1, TaskState.FAILED)
    wait_until(lambda: "agreed" in source.look().problems[0]["what"])
    problem = source.look().problems[0]
    assert (problem["what"].partition(": ")[2], problem["cause"]) == ("books to a", "no room")
    assert len(cluster.operator.tasks()) == 1


def test_a_store_that_is_silent_for_a_while_ends_no_moves(
    cluster: Cluster, source: ClusterSource
) -> None:
    followed = threading.Event()

    class Forgetful(Operator):
        def task(self, number: int) -> Task:
            if not followed.is_set():
                followed.set()
                raise StoreError("the store does not answer")
            return super().task(number)

    source._applying = Applying(Forgetful(cluster.store))
    asked(cluster, source)
    wait_until(followed.is_set)
    end(cluster, 1, TaskState.DONE)
    wait_until(lambda: len(cluster.operator.tasks()) == 2)
    assert cluster.operator.task(2).details == {
        "host": "a",
        "role": "secondary",
        "reason": "balance",
    }
    end(cluster, 2, TaskState.DONE)
    assert source.look().problems[0]["target"] == "guests/late"


def test_a_store_that_cannot_be_listed_at_first_is_listed_later() -> None:
    content = Content(lambda: 0.0)
    MemoryStore(content).put("hosts/a", {"name": "a"}, 0)
    store = Unlisted(content)
    with closing(Mirror(store)) as mirror:
        with pytest.raises(StoreError):
            mirror.update(0)
        mirror.update(0)
        assert mirror.list("hosts").keys() == {"hosts/a"}


class Unlisted(MemoryStore):
    """Its first list fails."""

    asked = 0

    def list(self, prefix: str) -> dict[str, Entry]:
        self.asked += 1
        if self.asked == 1:
            raise StoreError("no answer")
        return super().list(prefix)


def test_files_of_an_arbiter_are_read_while_others_look(
    cluster: Cluster, source: ClusterSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Picture] = []

    def reads(arbiter: Path | None) -> list[Reign]:
        assert not source._lock.locked()
        seen.append(source.look())
        return []

    monkeypatch.setattr("vlockstep.web.clusters.reigns_of", reads)
    assert source.details("books")["generations"] and seen


def test_a_console_in_a_datastore(cluster: Cluster, source: ClusterSource) -> None:
    assert source.details("books")["console"] == "it has written nothing yet"
    (cluster.shared / "books" / "console.txt").write_bytes("grüße\n".encode()[:3])
    piece = source.console("books", 0)
    assert (piece["text"], piece["next"]) == ("gr", 2), "no half characters"


def test_a_store_without_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no cluster in this store"):
        ClusterSource(str(tmp_path))


@pytest.mark.parametrize("threshold", range(2, 6))
@pytest.mark.parametrize("hosts", [2, 8, 30])
def test_the_aim_is_where_nothing_is_recommended(threshold: int, hosts: int) -> None:
    aim = aim_of(threshold, hosts)
    assert priority_of(aim * 1.01 + 1e-6, hosts) <= threshold
    assert priority_of(aim * 0.99, hosts) > threshold

"""Hosts as real processes: guests start, move, are protected, and outlive hosts that are killed."""

from __future__ import annotations

import dataclasses
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from vlockstep.errors import HostError
from vlockstep.testing import HostCluster, check_ledger

LINES = 100_000
LEDGER = [f"--lines={LINES}", "--pause=30", "--work=500"]
DISK = {"disk": 64 << 20}


def lines_of(console: bytes) -> int:
    return console.count(b"\n")


def goes_on(cluster: HostCluster, guest: str) -> bool:
    """The guest has written more."""
    before = lines_of(cluster.console(guest))
    return cluster.wait(lambda: lines_of(cluster.console(guest)) > before, f"a line of {guest}")


def emits_once(cluster: HostCluster, guest: str) -> None:
    """Its console is what one life writes: nothing lost, nothing twice."""
    text = cluster.console(guest)
    numbers = [int(line.split()[1]) for line in text.split(b"\n")[:-1] if line.startswith(b"led")]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def holds(cluster: HostCluster, guest: str, host: str) -> bool:
    """The replica there rules, and waits for a secondary."""
    return cluster.primary(guest) == host and cluster.replicas(guest)[host].holding


def test_a_guest_starts_moves_and_stops(tmp_path: Path) -> None:
    with HostCluster(tmp_path, ["a", "b"]) as cluster:
        cluster.create("g", "ledger", LEDGER, DISK)
        cluster.do("start", "g", host="a")
        assert cluster.primary("g") == "a"
        assert goes_on(cluster, "g")
        cluster.do("migrate", "g", host="b")
        assert cluster.primary("g") == "b"
        assert goes_on(cluster, "g")
        emits_once(cluster, "g")
        with pytest.raises(HostError, match="g runs on b already"):
            cluster.do("migrate", "g", host="b")
        with pytest.raises(HostError, match="g is powered on already"):
            cluster.do("start", "g")
        cluster.do("stop", "g")
        cluster.wait(lambda: not cluster.replicas("g"), "its end")
        assert cluster.reigns("g")[-1].ended


def test_hosts_that_die_lose_no_guest(tmp_path: Path) -> None:
    """One that is protected goes on without a gap, one that is not starts again elsewhere."""
    with HostCluster(tmp_path, ["a", "b", "c"]) as cluster:
        cluster.create("pair", "ledger", LEDGER, DISK, ft=True)
        cluster.create("lone", "ledger", LEDGER, DISK)
        cluster.do("start", "pair", host="a")
        cluster.do("start", "lone", host="a")
        cluster.wait(lambda: cluster.members("pair") == 2, "a secondary")
        cluster.kill("a")
        cluster.wait(lambda: cluster.primary("pair") not in ("", "a"), "a takeover")
        cluster.wait(lambda: cluster.members("pair") == 2, "another secondary")
        cluster.wait(lambda: cluster.primary("lone") not in ("", "a"), "a restart")
        assert goes_on(cluster, "pair") and goes_on(cluster, "lone")
        emits_once(cluster, "pair")
        assert {*cluster.replicas("pair")} == {"b", "c"}
        assert [reign.runs for reign in cluster.reigns("lone")] == [False, True]


def test_a_guest_that_keeps_a_log_goes_on_elsewhere(tmp_path: Path) -> None:
    """Where it was, not from boot, and again; but after it was powered off and on it boots."""
    with HostCluster(tmp_path, ["a", "b", "c"]) as cluster:
        cluster.create("g", "ledger", LEDGER, DISK, restart="resume")
        cluster.do("start", "g", host="a")
        owner = "a"
        for count in range(1, 3):
            assert goes_on(cluster, "g")
            cluster.kill(owner)
            before = cluster.console("g")
            owner = cluster.wait(partial(goes_elsewhere, cluster, owner), "a restart")
            assert goes_on(cluster, "g")
            emits_once(cluster, "g")
            assert cluster.console("g").startswith(before)
            # The master, which tells it, may be the next one that is killed.
            cluster.wait(partial(told_restarts, cluster, count), "word of it")
        assert all("resumed after" in event.text for event in cluster.events("replica-started"))
        cluster.do("stop", "g")
        cluster.wait(lambda: not cluster.replicas("g"), "its end")
        cluster.do("start", "g")
        assert goes_on(cluster, "g")
        assert cluster.console("g").startswith(b"ledger 000001")
        assert cluster.console("g")[: len(before)] != before


def told_restarts(cluster: HostCluster, count: int) -> bool:
    return len(cluster.events("replica-started")) == count


def goes_elsewhere(cluster: HostCluster, before: str) -> str:
    """Where, if it does."""
    primary = cluster.primary("g")
    return "" if primary == before else primary


def test_agents_may_die(tmp_path: Path) -> None:
    """The guests go on meanwhile, and an agent that is started again finds them."""
    with HostCluster(tmp_path, ["a", "b"]) as cluster:
        cluster.create("g", "ledger", LEDGER, DISK)
        cluster.do("start", "g", host="a")
        pid = cluster.pids("a")["g"]
        for host in ("a", "b"):
            cluster.signal(host, signal.SIGKILL, "agent")
            cluster.agents[host].wait_exit()
        assert goes_on(cluster, "g")
        for host in ("a", "b"):
            cluster.start(host)
        cluster.do("stop", "g")
        assert pid not in cluster.pids("a").values()
        cluster.do("start", "g", host="b")
        assert goes_on(cluster, "g")


def test_a_guest_that_ends_by_itself_is_powered_off(tmp_path: Path) -> None:
    with HostCluster(tmp_path, ["a", "b"]) as cluster:
        cluster.create("g", "ledger", ["--lines=50", "--pause=20"], DISK, ft=True)
        cluster.do("start", "g")
        cluster.wait(lambda: cluster.events("guest-ended"), "its end")
        record = cluster.operator.guest("g")
        assert (record.power, record.ended) == ("off", "it has ended with status 0")
        text = cluster.console("g")
        disk = (cluster.folder("g") / "disk.img").read_bytes()
        check_ledger(text, disk, lines=50)


def test_why_a_guest_is_off_is_known_until_it_is_stopped(tmp_path: Path) -> None:
    """Its disk is too small: it ends at once, or soon."""
    with HostCluster(tmp_path, ["a"]) as cluster:
        cluster.create("g", "ledger", LEDGER, {"disk": 4096})
        with suppress(HostError):
            cluster.do("start", "g")
        cluster.wait(lambda: cluster.operator.guest("g").power == "off", "its end")
        assert "with status 2" in cluster.operator.guest("g").ended
        (cluster.folder("g") / "disk.img").write_bytes(bytes(64 << 20))
        cluster.do("start", "g")
        assert cluster.operator.guest("g").ended == ""
        cluster.do("stop", "g")
        assert cluster.operator.guest("g").ended == "", "as somebody has asked for"


def test_hosts_in_maintenance_are_left_by_all(tmp_path: Path) -> None:
    with HostCluster(tmp_path, ["a", "b", "c"]) as cluster:
        cluster.create("pair", "ledger", LEDGER, DISK, ft=True)
        cluster.create("lone", "ledger", LEDGER, DISK)
        cluster.do("start", "lone", host="b")
        cluster.do("start", "pair", host="b")
        cluster.wait(lambda: cluster.members("pair") == 2, "a secondary")
        cluster.do("maintenance", "b", on=True)
        for guest in ("pair", "lone"):
            assert cluster.primary(guest) in ("a", "c")
            assert goes_on(cluster, guest)
            emits_once(cluster, guest)
        with pytest.raises(HostError, match="b is in maintenance"):
            cluster.do("migrate", "lone", host="b")
        cluster.do("maintenance", "b", on=False)
        cluster.do("migrate", "lone", host="b")
        cluster.do("maintenance", "c", on=True)
        cluster.do("remove-host", "c")
        assert cluster.agents["c"].wait_exit() == 0


def test_load_is_balanced(tmp_path: Path) -> None:
    """Guests that compute on one host move to the other, but for those that are to stay."""
    work = ["--work=4000000000"]
    settings = {"interval": 2.0, "hold": 2.0, "threshold": 5}
    with HostCluster(tmp_path, ["a", "b"], **settings) as cluster:
        for name in ("one", "two"):
            cluster.create(name, "preempt", work)
            cluster.do("start", name, host="a")
        cluster.wait(lambda: cluster.replicas("one")["a"].dirty > 0, "what it writes")
        found = cluster.wait(lambda: cluster.events("guest-moved"), "a move")
        assert found[0].host == "b"
        assert {cluster.primary(name) for name in ("one", "two")} == {"a", "b"}


@pytest.mark.long
def test_a_host_is_left_by_way_of_several_others(tmp_path: Path) -> None:
    """Both guests of another host must make room, which hill climbing does not find."""
    capacities = {"a": 1000, "b": 1000, "c": 800}
    hosts = {host: ["--capacity", str(mips)] for host, mips in capacities.items()}
    guests = {"large": ("a", 900), "x": ("b", 400), "y": ("b", 400)}
    with HostCluster(tmp_path, hosts, interval=2.0, threshold=1) as cluster:
        for name, (host, mips) in guests.items():
            resources = {"cpu": {"reservation": mips}}
            cluster.create(name, "ledger", LEDGER, DISK, resources=resources)
            cluster.do("start", name, host=host)
        cluster.do("maintenance", "a", on=True)
        there = {"large": "b", "x": "c", "y": "c"}
        cluster.wait(lambda: {g: cluster.primary(g) for g in guests} == there, "word of it")


def test_drills_end_with_a_guest_that_is_protected(tmp_path: Path) -> None:
    with HostCluster(tmp_path, ["a", "b", "c"]) as cluster:
        cluster.create("g", "ledger", LEDGER, DISK)
        cluster.do("start", "g", host="a")
        for drill in ("test-failover", "switchover"):
            with pytest.raises(HostError, match="g is not protected"):
                cluster.do(drill, "g")
        cluster.operator.set_guest("g", lambda file: dataclasses.replace(file, ft=True))
        cluster.do("protect", "g")
        assert cluster.members("g") == 2
        cluster.do("switchover", "g")
        assert cluster.primary("g") != "a" and cluster.members("g") == 2
        assert not cluster.events("guest-failed-over")
        cluster.do("switchover", "g")
        assert cluster.primary("g") == "a"
        cluster.do("test-failover", "g")
        assert cluster.primary("g") != "a" and cluster.members("g") == 2
        cluster.do("test-restart-secondary", "g")
        assert cluster.members("g") == 2
        emits_once(cluster, "g")
        cluster.operator.set_guest("g", lambda file: dataclasses.replace(file, ft=False))
        cluster.do("unprotect", "g")
        assert goes_on(cluster, "g")


def test_a_guest_that_is_held_emits_nothing_while_nobody_else_has_it(tmp_path: Path) -> None:
    """Until it has another secondary, or is to have none."""
    with HostCluster(tmp_path, ["a", "b"]) as cluster:
        cluster.create("g", "ledger", LEDGER, DISK, ft=True, hold=True)
        cluster.do("start", "g", host="a")
        cluster.wait(lambda: cluster.members("g") == 2, "a secondary")
        cluster.kill("a")
        cluster.wait(lambda: holds(cluster, "g", "b"), "a takeover")
        before = cluster.console("g")
        made = cluster.replicas("g")["b"].progress
        cluster.wait(lambda: cluster.replicas("g")["b"].progress > made + 100, "exits")
        assert cluster.console("g") == before
        cluster.start("a")
        cluster.wait(lambda: cluster.members("g") == 2, "another secondary")
        assert goes_on(cluster, "g")
        cluster.wait(lambda: cluster.events("guest-holding-over"), "word of it")
        assert cluster.events("guest-holding")
        cluster.kill("a")
        cluster.wait(lambda: holds(cluster, "g", "b"), "another loss")
        cluster.operator.set_guest("g", lambda file: dataclasses.replace(file, hold=False))
        assert goes_on(cluster, "g")
        emits_once(cluster, "g")

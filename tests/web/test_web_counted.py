"""What happens to real guests, as it is counted in metrics, and as the view tells it afterwards."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from typing import Any

from commands import wait_until

from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing import HostCluster, Pair
from vlockstep.web.clusters import ClusterSource
from vlockstep.web.counts import Counts
from vlockstep.web.directory import DirectorySource
from vlockstep.web.exposition import Exposition
from vlockstep.web.source import Source

LEDGER = ["--lines=100000", "--pause=50"]
DISK = {"disk": 64 << 20}
PATIENT = 200
"""Missed heartbeats: on a busy machine nobody shall count as dead."""


class Seen:
    """What a server would have counted that looks at this source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.events: list[Any] = []
        self._counts = Counts()

    def look(self) -> Any:
        picture = self.source.look()
        self.events += picture.events
        self._counts.see(picture)
        return picture

    def wait_task(self, task: dict[str, Any]) -> dict[str, Any]:
        number = str(task["number"])
        wait_until(lambda: self.look().tasks[number]["ended"])
        told: dict[str, Any] = self.look().tasks[number]
        assert told["state"] == "done", told
        return told

    def wait_event(self, kind: str, more: int = 1) -> dict[str, Any]:
        """The last of so many."""

        def found() -> list[Any]:
            self.look()
            return [event for event in self.events if event["kind"] == kind]

        wait_until(lambda: len(found()) >= more)
        told: dict[str, Any] = found()[more - 1]
        return told

    def metrics(self) -> dict[str, float]:
        told = Exposition()
        self._counts.tell(told)
        lines = [line.rpartition(" ") for line in told.text().splitlines() if line[0] != "#"]
        return {name.removeprefix("vlockstep_"): float(value) for name, _, value in lines}


def test_of_a_pair(tmp_path: Path) -> None:
    """Its primary moves, hands over, and is killed."""
    with Pair("ledger", LEDGER, directory=tmp_path, disks=DISK, misses=PATIENT) as pair:
        directory = RunDirectory(tmp_path / "run")
        with closing(DirectorySource(directory)) as source:
            seen = Seen(source)
            pair.receive("there")
            wait_until(lambda: {"primary", "there"} <= seen.look().guests.keys())
            to = {"to": pair.endpoint_of("there")}
            task = seen.wait_task(source.act_on_guest("primary", "migrate", to)["task"])
            took = task["result"]["took"]
            pair.process("primary").wait_exit()
            wait_until(lambda: seen.look().guests["there"]["protection"] == "protected")
            seen.wait_task(source.act_on_guest("there", "switchover", {})["task"])
            wait_until(lambda: seen.look().guests["secondary"]["protection"] == "protected")
            planned = seen.metrics()
            assert planned["ft_switchovers_total"] == 2, "the move is one, too"
            assert planned['ft_failovers_total{reason="lost"}'] == 0
            assert planned["migration_downtime_seconds_count"] == 1
            assert planned["migration_downtime_seconds_sum"] == took["gap_ms"] / 1000 > 0
            assert planned["migration_transferred_bytes_total"] == took["bytes"] > 0
            assert planned["migration_passes_sum"] == took["rounds"]
            assert planned['migrations_total{kind="live",result="done"}'] == 1
            pair.process("secondary").signal(signal.SIGKILL)
            live = seen.wait_event("live", 3)
            assert live["details"]["cause"] == "lost", live
            told = seen.metrics()
            failovers = {n: v for n, v in told.items() if n.startswith("ft_failovers")}
            assert sum(failovers.values()) == failovers['ft_failovers_total{reason="lost"}'] == 1
            assert told["failover_duration_seconds_count"] == 1
            assert told["failover_duration_seconds_sum"] == live["details"]["silent_ms"] / 1000 > 0
            assert told["ft_switchovers_total"] == 2
        with closing(DirectorySource(directory)) as late:
            wait_until(lambda: "there" in late.look().guests)
            generations = late.details("there")["generations"]
    causes = ["started", "joined", "switchover", "without", "switchover", "lost"]
    assert [each["cause"] for each in generations] == causes, "also for who did not see it"
    assert generations[-1]["ruler"] == "there"
    assert "after its last word" in generations[-1]["reason"]


def test_of_a_cluster(tmp_path: Path) -> None:
    """A drill, what was asked for, and a host that dies."""
    with HostCluster(tmp_path, ["a", "b", "c"]) as cluster:
        cluster.create("books", "ledger", LEDGER, DISK, ft=True)
        with closing(ClusterSource(cluster.store)) as source:
            seen = Seen(source)
            cluster.do("start", "books")
            cluster.wait(lambda: cluster.members("books") == 2, "a secondary")
            cluster.do("switchover", "books")
            cluster.do("test-failover", "books")
            (spare,) = {"a", "b", "c"} - cluster.replicas("books").keys()
            cluster.do("migrate", "books", host=spare)
            seen.wait_event("guest-moved")
            drill = seen.wait_event("guest-failed-over")
            assert drill["details"]["cause"] == "test" and drill["details"]["silent_ms"] > 0
            told = seen.metrics()
            assert told["ft_switchovers_total"] == 1
            assert told['ft_failovers_total{reason="test"}'] == 1
            assert told["migration_downtime_seconds_count"] == 1
            assert told["migration_downtime_seconds_sum"] > 0
            assert told["migration_passes_count"] == 1
            cluster.wait(lambda: cluster.members("books") == 2, "a secondary where it has come")
            cluster.kill(spare)
            died = seen.wait_event("guest-failed-over", 2)
            assert died["details"]["cause"] in ("lost", "silence")
            assert seen.metrics()["failover_duration_seconds_count"] == 2
        with closing(ClusterSource(cluster.store)) as late:
            late.look()
            generations = late.details("books")["generations"]
    first, *others = [each["cause"] for each in generations]
    assert first == "started" and {"joined", "switchover", "without"} <= {*others}
    assert "" not in others and others.count("switchover") == 2, "one, and one of the move"

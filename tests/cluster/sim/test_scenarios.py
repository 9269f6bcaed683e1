"""Scenarios: what is done to a cluster, and what comes of it to the millisecond."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import some

from vlockstep.cluster.plain import from_plain
from vlockstep.cluster.records import EVENTS, ClusterEvent
from vlockstep.cluster.sim import scenario
from vlockstep.cluster.sim.commands import Command, perform
from vlockstep.cluster.sim.managed import ManagedCluster
from vlockstep.cluster.store.values import decode
from vlockstep.errors import UsageError

FOLDER = Path(__file__).parents[1] / "scenarios"
USUAL = [
    "both-replicas-die",
    "dies-while-it-is-left",
    "isolated-power-off",
    "master-loses-power",
    "network-and-datastores-lost",
    "primary-moves",
    "source-dies-after-the-switch",
    "stopped-while-its-host-is-down",
]
ALL = sorted(path.parent.name for path in FOLDER.glob("*/commands"))


@pytest.mark.parametrize("name", some(USUAL, *ALL))
def test_it_comes_as_expected(name: str) -> None:
    text = scenario.text(scenario.run(scenario.read(FOLDER / name)))
    assert "VIOLATION" not in text
    assert scenario.difference(FOLDER / name, text) == ""


@pytest.mark.parametrize(
    ("name", "restarts"),
    [
        ("failover-is-tested", []),
        ("primary-dies", ["replica-started g1"]),
        ("primary-moves", []),
        ("secondary-cut-off", ["replica-started g1"]),
        ("slave-loses-power", ["replica-started g1"]),
        ("restart-never-succeeds", [*5 * ["replica-not-started g1"], "restart-given-up g1"]),
    ],
)
def test_a_restart_is_told_from_a_start_that_a_person_asked_for(
    name: str, restarts: list[str]
) -> None:
    """Guests are powered on, protected, moved, and tried out in all of them."""
    given = scenario.read(FOLDER / name)
    cluster = ManagedCluster(given.conditions)
    perform(cluster, list(given.commands))
    stored = cluster.content.entries
    events = [
        from_plain(ClusterEvent, decode(key, stored[key].text))
        for key in sorted(stored)
        if key.startswith(EVENTS)
    ]
    told = [f"{event.kind} {event.guest}" for event in events if event.details.get("restart")]
    assert told == restarts
    assert any(event.details.get("restart") is False for event in events)


def test_each_scenario_is_in_the_table() -> None:
    table = (FOLDER / "README.md").read_text()
    assert [name for name in ALL if f"({name}/README.md)" not in table] == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("crash a", "write seconds, a name and words"),
        ("-1 crash a", "from 0 to 1000000"),
        ("1 explode a", "there are the commands"),
    ],
)
def test_a_line_that_is_no_command_is_refused(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Command.parse(line)


@pytest.mark.parametrize(
    ("cluster", "commands", "said"),
    [
        ("[host.a]\n", "1 crash b\n", "there is no host 'b'"),
        ("[host.a]\n", "1 crash\n", "crash takes HOST"),
        ("[host.a]\n", "1 crash-at a x\n", "'x' is no number"),
        ("", "", r"write \[host.a\]"),
        ("[host.a]\ncolour = 3\nmemory = 'much'\n", "", "HostRecord.memory is str"),
        ("[colour]\n", "", "no 'colour' in a scenario"),
        ("[host", "", "cannot read the scenario"),
    ],
)
def test_a_scenario_that_is_none_is_refused(
    tmp_path: Path, cluster: str, commands: str, said: str
) -> None:
    (tmp_path / scenario.CLUSTER).write_text(cluster)
    (tmp_path / scenario.COMMANDS).write_text(commands)
    with pytest.raises(UsageError, match=said):
        scenario.run(scenario.read(tmp_path))

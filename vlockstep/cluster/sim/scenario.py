"""Scenarios: folders with what a cluster is, what is done to it, and what is to come of it.

README.md       what it is about, for people
cluster.toml    hosts, guests, rules, and how the cluster is set
commands        what happens, a line each: seconds, a command, and what it means
expected.log    what comes of it, to the millisecond

[cluster]
isolation = "power off"

[host.a]
memory = 4096

[guest.g1]
datastore = "ds1"
ft = true

[rule.home]
kind = "hosts"
guests = ["g1"]
hosts = ["a"]
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlockstep.cluster import guestfile
from vlockstep.cluster.plain import PlainError, from_plain
from vlockstep.cluster.records import ClusterRecord, HostRecord, Power, RuleRecord
from vlockstep.cluster.sim.commands import Command, perform
from vlockstep.cluster.sim.managed import Conditions, GuestSetting, ManagedCluster
from vlockstep.errors import UsageError, VlockstepError

CLUSTER, COMMANDS, EXPECTED = "cluster.toml", "commands", "expected.log"
_SECOND = 1_000_000_000
_DATASTORES = ("ds1", "ds2")
Log = Iterable[tuple[int, str]]


@dataclass(frozen=True)
class Scenario:
    conditions: Conditions
    commands: tuple[Command, ...]


def read(folder: Path) -> Scenario:
    """Raises `UsageError`."""
    path = folder / CLUSTER
    try:
        given = tomllib.loads(path.read_text())
        lines = (folder / COMMANDS).read_text().splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the scenario {folder}: {error}") from error
    try:
        conditions = _conditions(given)
    except (VlockstepError, TypeError) as error:
        raise UsageError(f"{path}: {error}") from error
    told = [line.partition("#")[0].strip() for line in lines]
    return Scenario(conditions, tuple(Command.parse(line) for line in told if line))


def run(scenario: Scenario) -> Log:
    cluster = ManagedCluster(scenario.conditions)
    perform(cluster, list(scenario.commands))
    return cluster.witness.log


def text(log: Log) -> str:
    return "".join(f"{time / _SECOND:.3f} {line}\n" for time, line in log)


def difference(folder: Path, text: str) -> str:
    """Between what came of a scenario and what is expected; "" if there is none."""
    path = folder / EXPECTED
    expected = path.read_text() if path.exists() else ""
    before, now = expected.splitlines(keepends=True), text.splitlines(keepends=True)
    return "".join(difflib.unified_diff(before, now, str(path), "what came of it"))


def _conditions(given: Mapping[str, Any]) -> Conditions:
    unknown = given.keys() - {"seed", "cluster", "host", "guest", "rule"}
    if unknown:
        raise UsageError(f"there is no {sorted(unknown)[0]!r} in a scenario")
    hosts = {name: _host(name, table) for name, table in given.get("host", {}).items()}
    if not hosts:
        raise UsageError("a scenario has hosts: write [host.a]")
    guests = {}
    for name, table in given.get("guest", {}).items():
        rest = {"image": "simulated", **table}
        datastore, power = rest.pop("datastore", "ds1"), rest.pop("power", "on")
        guests[name] = GuestSetting(datastore, guestfile.parse(rest), Power(power))
    rules = tuple(
        from_plain(RuleRecord, {"name": name, "number": number, **table})
        for number, (name, table) in enumerate(given.get("rule", {}).items(), 1)
    )
    config = {"name": "scenario", "identity": "1", **given.get("cluster", {})}
    if "isolation" in config:
        config["isolation"] = config["isolation"].replace(" ", "_")
    record = from_plain(ClusterRecord, config)
    return Conditions(hosts, guests, rules, record, given.get("seed", 0))


def _host(name: str, table: Mapping[str, Any]) -> HostRecord:
    rest = {"cpu": 10_000, "memory": 4096, "datastores": _DATASTORES, **table}
    paths = {each: f"/{each}" for each in rest.pop("datastores")}
    known = {"name": name, "instance": name, "management": f"tcp://{name}", "address": name}
    try:
        return from_plain(
            HostRecord, {**known, "datastores": paths, "networks": ["default"], **rest}
        )
    except PlainError as error:
        raise UsageError(f"host {name}: {error}") from error

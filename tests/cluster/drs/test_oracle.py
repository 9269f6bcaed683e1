"""HiGHS as a yardstick, and for hosts that hill climbing cannot empty."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace

import pytest
from drs_clusters import broken, busy, cluster, moved, with_host
from support import some

from benchmarks.balance import compare, imbalance, random_cluster
from vlockstep.cluster.drs import oracle
from vlockstep.cluster.drs.advice import Reason, Settings
from vlockstep.cluster.drs.check import check_plan
from vlockstep.cluster.drs.recommend import recommend, toward
from vlockstep.cluster.drs.schedule import schedule
from vlockstep.cluster.model import (
    Allocation,
    Apart,
    Automation,
    Cluster,
    Guest,
    OnHosts,
    Replica,
    Rule,
    Together,
)
from vlockstep.errors import HostError

SECONDS = 60


def reserving(name: str, cpu: float, **more: object) -> Guest:
    return busy(name, 0, cpu=Allocation(reservation=cpu), **more)


def crammed() -> Cluster:
    """Two others must move before there is room for the one on the host in maintenance."""
    guests = {
        reserving("large", 900): "a",
        reserving("x", 300): "b",
        reserving("y", 300): "b",
        reserving("z", 300): "c",
        reserving("v", 300): "c",
        reserving("w", 100): "d",
    }
    found = cluster(guests, hosts="abcd")
    return with_host(with_host(found, "d", cpu=700), "a", maintenance=True)


def test_it_empties_hosts_where_hill_climbing_cannot() -> None:
    found = crammed()
    faults = recommend(found).faults
    wanted = oracle.solve(found, oracle.NEAR, SECONDS)
    assert faults and wanted is not None
    advice = toward(found, wanted, faults)
    plan = schedule(found, advice.moves)
    assert not check_plan(found, plan.steps, 8) and not plan.stranded
    after = moved(found, advice.moves)
    assert after.placed == wanted and "a" not in wanted.values() and not broken(after)
    [last] = [r for r in advice.recommendations if r.moves[0].replica == Replica("large")]
    assert len(last.prerequisites) == 2


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (OnHosts("x", frozenset({"large"}), frozenset("bc")), Reason.MUST_ON_HOSTS),
        (Apart("x", frozenset({"large", "small"})), Reason.APART),
    ],
)
def test_it_restores_rules_where_hill_climbing_cannot(rule: Rule, reason: Reason) -> None:
    fixed = reserving("small", 100, automation=Automation.DISABLED)
    found = with_host(crammed(), "a", maintenance=False)
    found = replace(
        found,
        guests={**found.guests, "small": fixed},
        placed={**found.placed, Replica("small"): "a"},
        rules=(rule,),
    )
    faults = recommend(found).faults
    assert [fault.reason for fault in faults] == [reason]
    wanted = oracle.solve(found, oracle.NEAR, SECONDS)
    assert wanted is not None
    advice = toward(found, wanted, faults)
    plan = schedule(found, advice.moves)
    assert not check_plan(found, plan.steps, 8) and not plan.stranded
    assert not broken(moved(found, advice.moves))
    texts = {r.reason: r.text for r in advice.recommendations}
    assert texts == {reason: faults[0].text, Reason.ROOM: "room for guest large"}


def test_it_says_that_there_is_no_way() -> None:
    assert oracle.solve(with_host(crammed(), "d", cpu=100), oracle.NEAR, SECONDS) is None
    fixed = cluster({busy("one", 0, automation=Automation.DISABLED): "a"}, hosts="a")
    assert oracle.solve(with_host(fixed, "a", maintenance=True), oracle.NEAR, SECONDS) == {
        Replica("one"): "a"
    }
    assert oracle.solve(cluster({}), oracle.NEAR, SECONDS) == {}


def test_it_keeps_rules() -> None:
    guests = {busy("one", 500): "ab", busy("two", 100): "a", busy("three", 100): "b"}
    rules = [Apart("x", frozenset({"one", "two"})), Together("y", frozenset({"one", "three"}))]
    found = cluster(guests, rules)
    assert broken(found) == {"x", "y"}
    for aim in (oracle.NEAR, oracle.EVEN):
        wanted = oracle.solve(found, aim, SECONDS)
        assert wanted is not None and not broken(replace(found, placed=wanted))


def test_it_is_as_even_as_can_be() -> None:
    found = cluster(
        {busy(f"g{n}", demand): "a" for n, demand in enumerate((300, 200, 200, 100, 400))}
    )
    wanted = oracle.solve(found, oracle.EVEN, SECONDS)
    assert wanted is not None
    assert imbalance(replace(found, placed=wanted)) == pytest.approx(
        recommend(found, Settings(exhaustive=True)).after
    )


@pytest.mark.parametrize("seed", some([0], *range(1, 8)))
@pytest.mark.timeout(300)
def test_hill_climbing_is_at_most_five_percent_worse(seed: int) -> None:
    climbed, solved = compare(seed, 2)
    assert climbed <= 1.05 * solved


def test_a_large_cluster_is_planned_and_the_plan_is_sound() -> None:
    found = random_cluster(1, 60, 1800)
    advice = recommend(found)
    plan = schedule(found, advice.moves)
    assert not check_plan(found, plan.steps, 8) and not plan.stranded
    assert advice.after < advice.before / 2


def test_without_highs_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "find_spec", lambda name: None)
    with pytest.raises(HostError, match=r"pip install 'vlockstep\[drs\]'"):
        oracle.solve(cluster({busy("one", 0): "a"}), oracle.NEAR, 1)


def test_who_asks_need_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    found = cluster({busy("one", 0): "a"})
    assert oracle.ask(found, oracle.NEAR, SECONDS).result(SECONDS) == {Replica("one"): "a"}
    monkeypatch.setattr(oracle, "LARGEST", 2)
    with pytest.raises(HostError, match="1 guests on 3 hosts are too many"):
        oracle.ask(found, oracle.NEAR, SECONDS).result(SECONDS)


def test_highs_is_loaded_by_its_own_process_alone() -> None:
    assert importlib.util.find_spec("highspy")
    script = "import sys, vlockstep.cluster.agent.agent; print('highspy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_a_process_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle.sys, "executable", "false")
    with pytest.raises(HostError, match="HiGHS failed: status 1"):
        oracle.solve(cluster({busy("one", 0): "a"}), oracle.NEAR, 1)

"""Random clusters under random faults: what must hold at any time does, and all comes right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vlockstep.arbiter import rule
from vlockstep.arbiter.rule import Clock, Record, Register
from vlockstep.cluster.keeper import Keeper
from vlockstep.cluster.master.manager import Manager
from vlockstep.cluster.placement import Placement
from vlockstep.cluster.sim import scenario
from vlockstep.cluster.sim.replica import SimulatedReplica
from vlockstep.cluster.sim.schedule import Result, Schedule, execute, shrink

SCENARIOS = Path(__file__).parents[1] / "scenarios"


def well(schedule: Schedule) -> None:
    result = execute(schedule)
    assert not result.violations, f"{result.schedule}\n" + "\n".join(result.violations)


@pytest.mark.parametrize(
    "schedule",
    [
        "500151; 5.83 migrate g2; 6.517 away a ds1; 6.754 fail g2",
        "1223; 18.361 freeze c; 18.385 unplug a; 20.62 thaw b",
        "40127; 4.873 migrate g1; 4.951 crash-at b 39; 9.25 resume-agent b; 9.372 freeze a",
        "1142; 5.121 crash-at a 38; 5.14 maintenance b; 9.921 maintenance a",
        "416770306; 3.771 unplug-replicas c; 5.202 freeze b; 8.441 maintenance b; 8.483 thaw b; "
        "10.226 crash-at a 9",
    ],
)
def test_what_went_wrong_once(schedule: str) -> None:
    well(Schedule.parse(schedule))


def test_faults_that_nobody_has_seen(any_seed: int) -> None:
    for seed in range(any_seed, any_seed + 5):
        well(Schedule.of(seed))


def test_a_schedule_is_read_as_it_is_written() -> None:
    schedule = Schedule.of(17)
    assert Schedule.parse(str(schedule)) == schedule


def test_an_execution_is_the_same_each_time() -> None:
    schedule = Schedule.of(17)
    assert execute(schedule) == execute(schedule)


# A check that cannot fail proves nothing: each guard is taken away, and that is seen.


def wrong(name: str) -> bool:
    """With leases that last longer than it takes to find out that a host has failed."""
    found = scenario.read(SCENARIOS / name)
    config = replace(found.conditions.config, fence=5000)
    conditions = replace(found.conditions, config=config)
    return "VIOLATION" in scenario.text(scenario.run(replace(found, conditions=conditions)))


def forget_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner goes on when its lease has run out, or is another's."""

    def renew(self: SimulatedReplica, _reign: int) -> None:
        while True:
            self._lease_until = self.host.clock() + 10**12
            self._sleep(self.record.lease // 4)  # type: ignore[union-attr]

    monkeypatch.setattr(SimulatedReplica, "_renew", renew)


def forget_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outsider seals an owner's lease that has not run out."""

    def fence(register: Register, record: Record, clock: Clock) -> Record:
        token = register.token(record)
        assert token is not None
        register.move_token(record, token, rule.SEALED)
        return record

    monkeypatch.setattr(rule, "fence", fence)


def forget_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest is placed where there is no room for it."""
    monkeypatch.setattr(Placement, "_want_of_room", lambda *_: iter(()))


def forget_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Placement, "_lasting_obstacles", lambda *_: ())


def forget_to_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that is held emits though nobody else has it."""
    monkeypatch.setattr(SimulatedReplica, "holding", False)


@pytest.mark.parametrize(
    ("forget", "name"),
    [
        (forget_lease, "network-and-datastores-lost"),
        (forget_fence, "network-and-datastores-lost"),
        (forget_room, "no-room"),
        (forget_rules, "hosts-of-a-rule-dead"),
        (forget_to_hold, "held-while-alone"),
    ],
)
def test_a_guard_that_is_missing_is_missed(
    forget: Callable[[pytest.MonkeyPatch], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not wrong(name)
    forget(monkeypatch)
    assert wrong(name)


def test_a_host_that_reports_nothing_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keeper, "_report", lambda *_: None)
    result = execute(Schedule(3, ()))
    assert any("does not run" in violation for violation in result.violations)


def test_a_failure_is_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Manager, "_restart", lambda *_: None)
    schedule = Schedule.parse("3; 1 heal; 2 heal; 3 crash a; 4 heal")
    result = shrink(Result(schedule, ("guests do not run",), ()))
    assert result.schedule == Schedule(3, ())

"""The simulator: crashes everywhere, and random faults."""

from __future__ import annotations

from typing import Any

import pytest

from vlockstep.sim.execution import Point, execute
from vlockstep.sim.explore import Cases, Share, crash_everywhere, explore, part_everywhere
from vlockstep.sim.host import EFFECTS
from vlockstep.sim.schedule import Schedule


def long(guest: str, replicas: int) -> Any:
    return pytest.param(guest, replicas, marks=(pytest.mark.long, pytest.mark.timeout(1200)))


@pytest.mark.parametrize(
    ("guest", "replicas"),
    [
        ("ledger/2", 2),
        ("tally/2", 2),
        ("real-ledger/1", 2),
        ("real-tally/1", 2),
        long("ledger/2", 3),
        long("tally/2", 3),
        long("kv/1", 2),
        long("real-ledger/1", 3),
    ],
)
def test_crashes_of_each_everywhere_and_of_another_later(
    guest: str, replicas: int, any_seed: int
) -> None:
    cases, share = Cases(), Share(any_seed, 3 * replicas * (replicas - 1))
    schedule = Schedule.parse(f"{guest} seed=1 replicas={replicas}")
    wrong = [result for result in crash_everywhere(schedule, cases, share) if result.violations]
    assert not wrong
    assert cases.single > 50 and cases.double > 25


@pytest.mark.parametrize("replicas", [2, 3])
def test_partitions_whenever_something_is_said(replicas: int) -> None:
    cases = Cases()
    schedule = Schedule.parse(f"ledger/1 seed=1 replicas={replicas}")
    assert not [result for result in part_everywhere(schedule, cases) if result.violations]
    assert cases.partitions > 20 * replicas


@pytest.mark.parametrize("guest", ["preempt/3", "real-preempt/1"])
def test_crashes_of_a_primary_with_interrupts(guest: str) -> None:
    schedule = Schedule.parse(f"{guest} seed=2")
    points = execute(schedule).points["primary"]
    for point in range(1, points + 1):
        assert not execute(Schedule.parse(f"{schedule} crash:primary@#{point}")).violations


def test_every_kind_of_point_is_met() -> None:
    met: set[str] = set()

    for text in (
        "ledger/99 seed=2 drop@15000us cut:all@60000us+900000us",
        "tally/2 seed=2 lease=20000us",
    ):
        assert not execute(Schedule.parse(text), lambda point: met.add(point.what)).violations
    assert met >= EFFECTS | {
        "receive", "step", "turn", "frame", "verdict", "connected", "background",
    }  # fmt: skip


@pytest.mark.parametrize("first", range(0, 150, 50))
def test_random_faults(first: int) -> None:
    """`.ci/run` has more, from these on and of its own."""
    assert [r for r in explore(range(first, first + 50)) if r.violations] == []


@pytest.mark.parametrize("seed", range(12))
def test_random_faults_with_real_guests(seed: int) -> None:
    schedule = Schedule.random(seed)
    text = f"real-{schedule}" if schedule.program in ("ledger", "tally") else f"{schedule}"
    assert not execute(Schedule.parse(text)).violations


def test_equal_schedules_give_equal_executions() -> None:
    for seed in range(20):
        traces: list[list[Point]] = [[], []]
        for trace in traces:
            execute(Schedule.random(seed), trace.append)
        assert traces[0] == traces[1]


def test_a_counter_that_began_anew_does_not_jump_when_its_first_host_goes_live_again() -> None:
    """The guest is held in its first reading of it, which nobody has ever seen then."""
    schedule = "ledger/2 seed=501516 switchover:secondary@363000us leave:secondary@459000us"
    assert not execute(Schedule.parse(schedule)).violations


def test_a_guest_that_was_handed_over_does_not_follow_one_that_went_on_before_it_stands() -> None:
    """Who was to take it over is gone, and who does was never told where it stands."""
    schedule = (
        "preempt/1 seed=3514162872 replicas=3 switchover:primary@2000us crash:tertiary@2710us"
    )
    assert not execute(Schedule.parse(schedule)).violations

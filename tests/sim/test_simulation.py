"""The simulator: crashes everywhere, and random faults."""

from __future__ import annotations

import pytest

from vlockstep.sim.execution import execute
from vlockstep.sim.explore import Cases, crash_everywhere, explore
from vlockstep.sim.host import EFFECTS
from vlockstep.sim.schedule import Schedule


@pytest.mark.parametrize("guest", ["ledger/4", "tally/4", "real-ledger/2", "real-tally/2"])
def test_crashes_of_the_primary_everywhere_and_of_the_secondary_later(guest: str) -> None:
    cases = Cases()
    wrong = [r for r in crash_everywhere(Schedule.parse(f"{guest} seed=1"), cases) if r.violations]
    assert not wrong
    assert cases.single > 25 and cases.double > 100


@pytest.mark.parametrize("guest", ["preempt/3", "real-preempt/1"])
def test_crashes_of_a_primary_with_interrupts(guest: str) -> None:
    schedule = Schedule.parse(f"{guest} seed=2")
    points = execute(schedule).points["primary"]
    for point in range(1, points + 1):
        assert not execute(Schedule.parse(f"{schedule} crash:primary@#{point}")).violations


def test_every_kind_of_point_is_met() -> None:
    met: set[str] = set()

    def note(host: str, _point: int, what: str) -> None:
        if host == "primary":
            met.add(what)

    for text in ("ledger/99 seed=2 drop@15000us cut:both@60000us+900000us", "tally/2 seed=2"):
        assert not execute(Schedule.parse(text), note).violations
    assert met >= EFFECTS | {
        "receive", "step", "turn", "frame", "verdict", "connected", "background",
    }  # fmt: skip


@pytest.mark.parametrize("first", range(0, 1200, 300))
def test_random_faults(first: int) -> None:
    assert [r for r in explore(range(first, first + 300)) if r.violations] == []


@pytest.mark.parametrize("seed", range(12))
def test_random_faults_with_real_guests(seed: int) -> None:
    schedule = Schedule.random(seed)
    text = f"real-{schedule}" if schedule.program in ("ledger", "tally") else f"{schedule}"
    assert not execute(Schedule.parse(text)).violations


def test_equal_schedules_give_equal_executions() -> None:
    for seed in range(20):
        traces: list[list[tuple[str, int, str]]] = [[], []]
        for trace in traces:
            execute(Schedule.random(seed), lambda *point, to=trace: to.append(point))
        assert traces[0] == traces[1]


def test_a_counter_that_began_anew_does_not_jump_when_its_first_host_goes_live_again() -> None:
    """The guest is held in its first reading of it, which nobody has ever seen then."""
    schedule = "ledger/2 seed=501516 switchover:secondary@363000us leave:secondary@459000us"
    assert not execute(Schedule.parse(schedule)).violations

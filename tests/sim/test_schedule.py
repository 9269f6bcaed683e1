"""Schedules as text."""

from __future__ import annotations

from vlockstep.sim.schedule import TARGETS, Schedule


def test_text_and_schedule_are_equivalent() -> None:
    kinds = set()
    for seed in range(200):
        schedule = Schedule.random(seed)
        assert Schedule.parse(str(schedule)) == schedule
        kinds |= {fault.kind for fault in schedule.faults}
    assert kinds == set(TARGETS)
    text = "real-ledger/2 seed=0 crash:primary@#4 crash:secondary@#17"
    assert str(Schedule.parse(text)) == text


def test_what_is_simpler_ends() -> None:
    for seed in range(20):
        schedule = Schedule.random(seed)
        for _ in range(1000):
            simpler = schedule.simpler()
            if not simpler:
                break
            schedule = simpler[0]
        assert schedule.faults == () and schedule.size == 1

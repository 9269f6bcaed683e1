"""A guest that runs alone with a log that its outputs wait for: whenever its owner dies, who
resumes it goes on, and nobody who looks at its outputs notices."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from vlockstep.ft import resumelog
from vlockstep.ft.guest import Guest
from vlockstep.ft.resumelog import ResumeLog
from vlockstep.protocol.primary import Primary
from vlockstep.replay.keyframe import Keyframe
from vlockstep.sim.execution import Point, execute
from vlockstep.sim.resumelogs import SimulatedLog
from vlockstep.sim.schedule import LASTING, TARGETS, Fault, Schedule
from vlockstep.sim.simulation import OUTSIDER

MUCH = 1 << 20
SHORT = 1200
"""Bytes of a log that has room for a keyframe and a little more."""
GROWTH = 50
PROGRAMS = ("ledger", "rewrite", "preempt", "tally")
TROUBLES = (
    "pause", "pause", "pause", "crash", "crash", "cut", "slow", "stall-outputs", "arbiter-away",
    "arbiter-deaf", "arbiter-flaky", "arbiter-slow",
)  # fmt: skip


def alone(program: str, size: int, seed: int) -> Schedule:
    """Somebody waits for its owner to fall silent."""
    restart = Fault("restart", OUTSIDER, 100)
    return Schedule(program, size, seed, (restart,), replicas=1, lease=20_000)


def crashed(schedule: Schedule, *crashes: Fault) -> Schedule:
    return replace(schedule, faults=(*schedule.faults, *crashes))


def crash(host: str, point: int) -> Fault:
    return Fault("crash", host, point=point)


@pytest.mark.parametrize("program", ["ledger", "rewrite", "preempt"])
@pytest.mark.parametrize("limit", [MUCH, 200])
def test_a_crash_at_every_point(program: str, limit: int) -> None:
    """Also where the log is given up on the way: then the guest may boot instead."""
    for seed in range(2):
        schedule = alone(program, 4, seed)
        whole = execute(schedule, resume_limit=limit)
        assert whole.violations == ()
        for point in range(1, whole.points["primary"] + 1):
            result = execute(crashed(schedule, crash("primary", point)), resume_limit=limit)
            assert result.violations == (), (str(result.schedule), limit)


@pytest.mark.parametrize("program", ["ledger", "tally"])
def test_random_crashes_of_both(program: str) -> None:
    """The second one is nobody's to mend: but nothing that was seen is wrong."""
    for seed in range(30):
        schedule = alone(program, 6, seed)
        points = execute(schedule, resume_limit=MUCH).points["primary"]
        first = crashed(schedule, crash("primary", 1 + seed * 7 % points))
        again = execute(first, resume_limit=MUCH)
        assert again.violations == (), str(first)
        later = 1 + seed * 11 % max(1, again.points[OUTSIDER])
        result = execute(crashed(first, crash(OUTSIDER, later)), resume_limit=MUCH)
        assert result.violations == (), str(result.schedule)


def troubled(seed: int) -> Schedule:
    """Whatever may befall an owner that is alone, the arbiter, and who waits for the lease."""
    chance = random.Random(f"resume {seed}")
    lease = int(10 ** chance.uniform(4, 5.3))
    faults = [Fault("restart", OUTSIDER, int(10 ** chance.uniform(2, 5)))]
    for _ in range(chance.randint(1, 4)):
        kind = chance.choice(TROUBLES)
        target = "" if not TARGETS[kind] else chance.choice(("primary", "primary", OUTSIDER))
        lasting = int(lease * chance.uniform(0.2, 5)) if kind in LASTING else 0
        faults.append(Fault(kind, target, chance.randint(0, 4 * lease), lasting))
    program, size = chance.choice(PROGRAMS), chance.randint(10, 120)
    return Schedule(program, size, seed, tuple(faults), replicas=1, lease=lease)


def test_random_faults() -> None:
    for seed in range(80):
        limit = 400 if seed % 3 == 0 else MUCH
        result = execute(troubled(seed), resume_limit=limit)
        assert result.violations == (), (str(result.schedule), limit)


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Before which entries guests went on. What was released is told at once, for keyframes wait
    for that."""
    found: list[int] = []
    restore = Guest._restore

    def noted(self: Guest, keyframe: Keyframe) -> None:
        found.append(keyframe.sequence)
        restore(self, keyframe)

    monkeypatch.setattr(resumelog, "_SETTLE", 0)
    monkeypatch.setattr(Guest, "_restore", noted)
    return found


@pytest.mark.parametrize("program", ["ledger", "rewrite", "preempt"])
@pytest.mark.parametrize("limit", [MUCH, SHORT])
def test_a_crash_anywhere_with_keyframes(
    program: str, limit: int, restored: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the log is begun anew at one again and again."""
    renewed: list[int] = []
    renew = SimulatedLog.renew

    def noted(self: SimulatedLog, keyframe: Keyframe, since: int) -> SimulatedLog:
        renewed.append(keyframe.sequence)
        return renew(self, keyframe, since)

    monkeypatch.setattr(SimulatedLog, "renew", noted)
    schedule = alone(program, 8, 1)
    whole = execute(schedule, resume_limit=limit, resume_growth=GROWTH)
    assert whole.violations == ()
    for point in range(1, whole.points["primary"] + 1, 2):
        crashes = crashed(schedule, crash("primary", point))
        result = execute(crashes, resume_limit=limit, resume_growth=GROWTH)
        assert result.violations == (), (str(result.schedule), limit)
    assert len({*restored}) > 1
    assert bool(renewed) == (limit == SHORT)


def test_a_keyframe_that_is_too_large_is_left_out(restored: list[int]) -> None:
    """The log goes on without any, until it is given up."""
    schedule = alone("ledger", 8, 1)
    points = execute(schedule, resume_limit=100, resume_growth=10).points["primary"]
    for point in range(1, points + 1, 5):
        crashes = crashed(schedule, crash("primary", point))
        result = execute(crashes, resume_limit=100, resume_growth=10)
        assert result.violations == (), str(result.schedule)
    assert not restored


def test_random_faults_with_keyframes(restored: list[int]) -> None:
    for seed in range(50):
        limit = SHORT if seed % 3 == 0 else MUCH
        result = execute(troubled(seed), resume_limit=limit, resume_growth=GROWTH)
        assert result.violations == (), (str(result.schedule), limit)
    assert restored


def goes_wrong(limit: int = MUCH, growth: int = MUCH) -> bool:
    """Some crash is noticed."""
    schedule = alone("ledger", 4, 0)
    points: list[Point] = []
    execute(schedule, points.append, resume_limit=limit, resume_growth=growth)
    crashes = (crash("primary", p.number) for p in points if p.host == "primary")
    schedules = (crashed(schedule, each) for each in crashes)
    return any(
        execute(each, resume_limit=limit, resume_growth=growth).violations for each in schedules
    )


def without_waiting_for_the_log(patch: pytest.MonkeyPatch) -> int:
    patch.setattr(Primary, "_held_by_all", property(lambda self: self.stable))
    return MUCH


def before_it_is_removed(patch: pytest.MonkeyPatch) -> int:
    """Outputs leave without the log while it is still there."""
    give_up = ResumeLog.give_up

    def at_once(self: ResumeLog, reason: str) -> None:
        give_up(self, reason)
        self.kept = None

    patch.setattr(ResumeLog, "give_up", at_once)
    return 200


@pytest.mark.parametrize("mutation", [without_waiting_for_the_log, before_it_is_removed])
def test_what_is_left_out_is_noticed(
    monkeypatch: pytest.MonkeyPatch, mutation: Callable[[pytest.MonkeyPatch], int]
) -> None:
    assert not goes_wrong()
    assert goes_wrong(mutation(monkeypatch))


def before_what_comes_first_is_released(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResumeLog, "_places", property(lambda self: self.placing))


def without_the_memory(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vlockstep.ft.guest.fill", lambda keyframe, memory: None)


@pytest.mark.parametrize("mutation", [before_what_comes_first_is_released, without_the_memory])
def test_a_keyframe_that_is_not_right_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
    restored: list[int],
    mutation: Callable[[pytest.MonkeyPatch], None],
) -> None:
    assert not goes_wrong(growth=GROWTH) and restored
    mutation(monkeypatch)
    assert goes_wrong(growth=GROWTH)

"""A disk that replicas share moves under them: whoever dies at whatever point of it, the one that
the arbiter names holds all that the world was shown."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import pytest

from vlockstep.ft import replica
from vlockstep.ft.diskpaths import SharedDisks
from vlockstep.host.mirror import Mirror
from vlockstep.protocol.actions import Action
from vlockstep.protocol.diskmove import DiskMove
from vlockstep.protocol.primary import Primary
from vlockstep.sim import check, moving, programs
from vlockstep.sim.execution import Point, Result, execute
from vlockstep.sim.schedule import Fault, Schedule
from vlockstep.sim.scripted import ScriptedMachine
from vlockstep.sim.simulation import Simulation

OTHERS = (
    "",
    "arbiter-flaky@0us+600000us",
    "arbiter-stale@0us+600000us",
    "arbiter-deaf@{at}us+40000us",
    "garble:all@0us+300000us",
    "switchover:primary@{at}us",
    "move:primary@{later}us",
    "stall-outputs:primary@{at}us+20000us",
)
"""What else may happen."""


MOST_POINTS = 100_000
"""To which all executions of a schedule come: with heartbeats of a millisecond each has many."""


def points_of(schedule: str) -> list[Point]:
    points: list[Point] = []
    execute(Schedule.parse(schedule), points.append)
    return points


def moves(seed: int) -> Iterator[Result]:
    """Of a guest's disk; one replica crashes at some point of it, and another one later."""
    chance = random.Random(seed)
    replicas = chance.choice(("", " replicas=3"))
    guest = f"{chance.choice(('ledger', 'rewrite'))}/{chance.randint(10, 40)} seed={seed}{replicas}"
    outputs = [point.time for point in points_of(guest) if point.what == "output"]
    if not outputs:
        return  # nobody waited for so long
    at = outputs[0] + chance.randint(0, 20000)
    other = chance.choice(OTHERS).format(at=at + chance.randint(0, 20000), later=at + 60000)
    faults = f"{guest} move:primary@{at}us {other}".strip()
    points, done = [point for point in points_of(faults) if point.time >= at], 0
    while points and done < MOST_POINTS:
        first = chance.choice(points)
        crash = f"{faults} crash:{first.host}@#{first.number}"
        later = [p for p in points if p.time >= first.time and p.host != first.host]
        if later and chance.random() < 0.5:
            second = chance.choice(later)
            crash += f" crash:{second.host}@#{second.number}"
        result = execute(Schedule.parse(crash))
        done += sum(result.points.values())
        yield result


def many(first: int, count: int) -> Iterator[Result]:
    for seed in range(first, first + count):
        yield from islice(moves(seed), 20)


def wrong(results: Iterable[Result]) -> list[Result]:
    return [result for result in results if result.violations]


def test_crashes_at_any_point(any_seed: int) -> None:
    assert not wrong(many(any_seed, 5))


def test_they_come_before_and_after_it_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """And somebody else goes on."""
    ends: set[tuple[bool, bool]] = set()
    violations: Callable[..., Any] = check.violations

    def look(simulation: Simulation, *arguments: Any) -> Any:
        records = [*simulation.arbiter.records.values()]
        ends.add((any(r.disks for r in records), len({r.owner for r in records}) > 1))
        return violations(simulation, *arguments)

    monkeypatch.setattr(check, "violations", look)
    assert not wrong(many(1, 6))
    assert ends >= {(True, True), (False, True), (True, False)}


def test_a_real_guest() -> None:
    for seed in range(3):
        schedule = f"real-ledger/12 seed={seed} move:primary@3000us crash:primary@30000us"
        assert not execute(Schedule.parse(schedule)).violations


def without_asking_the_others(patch: pytest.MonkeyPatch) -> None:
    """The arbiter is asked before they have opened the new file."""
    patch.setattr(DiskMove, "lacking", lambda self, members: set())


def without_mirroring(patch: pytest.MonkeyPatch) -> None:
    """What is written below the cursor is not copied again."""
    patch.setattr(Mirror, "written", lambda self, offset, data: None)


def without_heeding_the_record(patch: pytest.MonkeyPatch) -> None:
    """Who goes live goes on with the file that it had."""
    patch.setattr(SharedDisks, "use", lambda self, disks: [])


def before_the_record_stands(patch: pytest.MonkeyPatch) -> None:
    """The primary uses the new file alone as soon as the others have opened it."""
    decide = Primary.decide_disk

    def hasty(self: Primary, now: int) -> list[Action]:
        asked = decide(self, now)
        self.disks = {self.moving.disk: self.moving.path} if self.moving else {}
        return [*asked, replica.actions.UseDisks(self.disks)]

    patch.setattr(Primary, "decide_disk", hasty)
    patch.setattr(Primary, "_settle_move", lambda self, record: [])


def with_a_move_of_an_earlier_reign(patch: pytest.MonkeyPatch) -> None:
    """Who is primary again goes on with a copy in which others' writes are missing."""
    move = replica.Replica.move_disk

    def careless(self: replica.Replica, since: Any, *arguments: Any) -> None:
        move(self, self.role, *arguments)

    patch.setattr(replica.Replica, "move_disk", careless)


@pytest.mark.parametrize("careful", [True, False])
def test_a_copy_that_others_have_written_behind_is_none(
    careful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roles are swapped, and swapped again, while it is copied."""
    if not careful:
        with_a_move_of_an_earlier_reign(monkeypatch)
    schedule = Schedule("ledger", 60, 0, (Fault("crash", "primary"),))
    with Simulation(
        programs.image(schedule), programs.arguments(schedule), machine=ScriptedMachine
    ) as simulation:
        primary, secondary = simulation.hosts
        simulation.run(lambda: len(simulation.emissions) > 10)
        primary.do("move", lambda: moving.begin(primary))
        [mirror] = primary.disks["disk"]._mirrors
        simulation.run(lambda: mirror.over)
        primary.stall("move of disk", True)
        for old, new in ((primary, secondary), (secondary, primary)):
            old.do("switchover", old.replica.switch_over)
            simulation.run(lambda new=new: simulation.emitters[-1] == new.name)
        primary.stall("move of disk", False)
        simulation.run(lambda: not primary.moving)
        simulation.crash("primary")
        simulation.run()
        found = list(check.violations(simulation, schedule, None))
        assert bool(simulation.arbiter.records[3].disks) is False
        assert bool(found) is not careful, found


@pytest.mark.parametrize(
    ("remove", "results"),
    [
        (without_asking_the_others, lambda: many(1, 20)),
        (without_mirroring, lambda: many(1, 20)),
        (without_heeding_the_record, lambda: many(1, 20)),
        (before_the_record_stands, lambda: many(1, 30)),
    ],
)
def test_a_guard_that_is_missing_is_missed(
    remove: Callable[[pytest.MonkeyPatch], None],
    results: Callable[[], Iterator[Result]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not wrong(islice(results(), 20))
    remove(monkeypatch)
    assert any(result.violations for result in results())

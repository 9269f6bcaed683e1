"""A guest that is held: while nobody else has it, the world gets nothing from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import pytest

from vlockstep.arbiter import ReignCause
from vlockstep.ft.roles import Roles
from vlockstep.machine.world import Outcome
from vlockstep.protocol.actions import Action
from vlockstep.protocol.primary import Primary
from vlockstep.sim import check, programs
from vlockstep.sim.client import start_clients
from vlockstep.sim.execution import Result, execute
from vlockstep.sim.explore import explore, shrink
from vlockstep.sim.schedule import PROGRAMS, Fault, Schedule
from vlockstep.sim.scripted import ScriptedMachine
from vlockstep.sim.simulation import Simulation

SEEDS = range(5000)


def simulation(schedule: Schedule) -> Simulation:
    return Simulation(
        programs.image(schedule),
        programs.arguments(schedule),
        seed=schedule.seed,
        disk_size=1 << 14,
        machine=ScriptedMachine,
        newcomers=schedule.newcomers,
    )


@pytest.mark.parametrize("dies", ["primary", "secondary"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_who_is_left_emits_nothing_until_another_one_has_joined(program: str, dies: str) -> None:
    """However long that takes; then all is there, once."""
    schedule = Schedule(program, 80, 1, (Fault("crash", dies),), newcomers=1)
    with simulation(schedule) as pair:
        pair.hold(True)
        client = start_clients(pair, schedule)
        pair.run(lambda: len(pair.emissions) > 3)
        left = pair.secondary if dies == "primary" else pair.primary
        pair.crash(dies)
        pair.run(lambda: left.happened("holding"))
        told = left.received + 5  # by then its network knows where it is
        pair.run(lambda: left.received > told)
        made, seen = left.received, len(pair.emissions)
        pair.run(lambda: left.received > made + 40)
        assert len(pair.emissions) == seen
        assert left.replica.status().holding and not left.ended
        pair.join("newcomer")
        pair.run()
        assert left.count("holding") == left.count("holding_over") == 1
        assert all(isinstance(h.outcome, Outcome) for h in (left, pair.host("newcomer")))
        assert not list(check.violations(pair, schedule, client))


def without_waiting(patch: pytest.MonkeyPatch) -> None:
    """Who is alone goes on as ever."""
    patch.setattr(Primary, "holding", False)


def before_the_record_stands(patch: pytest.MonkeyPatch) -> None:
    """Who is asked for counts as a member."""
    patch.setattr(Primary, "_others", property(lambda self: {*self.followers}))


def although_nobody_else_is_left(patch: pytest.MonkeyPatch) -> None:
    """What was permitted is still made."""

    def claim(self: Primary, now: int, members: Collection[str]) -> list[Action]:
        return self._claim(ReignCause.WITHOUT, frozenset(members))

    patch.setattr(Primary, "_claim_without", claim)


def after_a_takeover(patch: pytest.MonkeyPatch) -> None:
    """A secondary that goes live holds nothing."""
    live = Roles.live

    def forgetful(self: Roles, *arguments: Any) -> Primary:
        primary = live(self, *arguments)
        primary.hold = False
        return primary

    patch.setattr(Roles, "live", forgetful)


@pytest.mark.parametrize(
    ("remove", "kinds", "first"),
    [
        (without_waiting, ("crash", "hold"), 16),
        (although_nobody_else_is_left, ("crash", "hold", "stall-outputs", "arbiter-slow"), 82),
        (after_a_takeover, ("crash", "hold"), 37),
    ],
)
def test_a_guard_that_is_missing_is_missed(
    remove: Callable[[pytest.MonkeyPatch], None],
    kinds: tuple[str, ...],
    first: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Looked for from a seed on at which it was once."""
    remove(monkeypatch)
    results = explore(SEEDS[first:], kinds)
    failure = next((result for result in results if result.violations), None)
    assert failure is not None
    assert any("who is held" in text for text in failure.violations)
    simple = shrink(failure)
    assert simple.violations and len(simple.schedule.faults) <= len(failure.schedule.faults)
    assert execute(Schedule.parse(str(simple.schedule))) == simple


def joins(seeds: Iterable[int]) -> Iterator[Result]:
    """While the arbiter takes long."""
    faults = "crash:secondary@5000us join:newcomer@0us arbiter-slow@12000us+100000us"
    for seed in seeds:
        yield execute(
            Schedule.parse(f"ledger/80 seed={seed} newcomers=1 hold@0us+900000us {faults}")
        )


def test_a_newcomer_that_counts_too_early_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(result.violations for result in joins(range(2, 8)))
    before_the_record_stands(monkeypatch)
    assert any("who is held" in text for r in joins(range(2, 40)) for text in r.violations)


def test_many_are_held_in_random_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise these would prove nothing."""
    violations, held = check.violations, set[int]()

    def count(pair: Simulation, schedule: Schedule, *more: Any) -> Iterator[str]:
        if any(host.happened("holding") for host in pair.hosts):
            held.add(schedule.seed)
        return violations(pair, schedule, *more)

    monkeypatch.setattr(check, "violations", count)
    assert not [r for r in explore(range(8000, 8030)) if r.violations]
    assert len(held) > 5

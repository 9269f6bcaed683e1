"""Replicas that join in the simulator: they do where nothing prevents it, whatever dies when."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import pytest

from vlockstep.ft.transfer import TransferLimits
from vlockstep.machine.world import Outcome
from vlockstep.protocol.timing import SECOND, Timing
from vlockstep.sim import check, programs
from vlockstep.sim.client import Client, KvClients, start_clients
from vlockstep.sim.execution import execute
from vlockstep.sim.explore import Cases, Share, crash_everywhere, explore, part_everywhere
from vlockstep.sim.schedule import PROGRAMS, Fault, Schedule
from vlockstep.sim.scripted import ScriptedMachine
from vlockstep.sim.simulation import ALL, NEWCOMERS, Clock, Conditions, Simulation

LIMITS = {
    "at once": TransferLimits(),
    "piece by piece": TransferLimits(pause=32, window=16, piece=16),
    "in rounds": TransferLimits(pause=8, piece=48),
    "never little enough": TransferLimits(pause=0, rounds=4),
}


def simulation(schedule: Schedule, conditions: Conditions | None = None) -> Simulation:
    return Simulation(
        programs.image(schedule),
        programs.arguments(schedule),
        seed=schedule.seed,
        disk_size=1 << 14,
        conditions=conditions,
        machine=ScriptedMachine,
        replicas=schedule.replicas,
        newcomers=schedule.newcomers,
    )


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("replicas", [2, 3])
def test_all_join_where_nothing_prevents_it(program: str, replicas: int, limits: str) -> None:
    schedule = Schedule(program, 60, 1, replicas=replicas, newcomers=2).joined()
    with simulation(schedule, Conditions(transfer=LIMITS[limits])) as pair:
        client = start_clients(pair, schedule)
        pair.run(lambda: len(pair.emissions) > 3)
        for name in NEWCOMERS:
            pair.join(name)
        pair.run()
        assert set(pair.arbiter.records[3].members) == {*ALL[:replicas], *NEWCOMERS}
        assert all(isinstance(host.outcome, Outcome) for host in pair.hosts)
        assert not list(check.violations(pair, schedule, client))
        assert all(pair.host(name).joined_at for name in NEWCOMERS)


def test_all_join_with_an_arbiter_that_takes_long() -> None:
    """Meanwhile nobody is told of members that do not name who joins."""
    schedule = Schedule("ledger", 90, 1, replicas=3, newcomers=1).joined()
    with simulation(schedule) as pair:
        pair.run(lambda: len(pair.emissions) > 3)
        pair.arbiter.slowness = 4000
        pair.join("newcomer")
        pair.run()
        assert isinstance(pair.host("newcomer").outcome, Outcome)


def test_who_outlives_others_connects_to_members_alone() -> None:
    schedule = Schedule("ledger", 300, 1, (Fault("crash", "primary"),), newcomers=2)
    with simulation(schedule) as pair:
        keeper = pair.secondary.replica

        def is_with(*others: str) -> bool:
            """Those are the other members, and connected."""
            members = keeper.role.ruling().members.keys() - {"secondary"}
            return members == set(others) <= set(keeper._links.replicas)

        pair.run(lambda: len(pair.emissions) > 3)
        for left, name in pairwise(("primary", *NEWCOMERS)):
            pair.join(name)
            pair.run(partial(is_with, left, name))
            pair.crash(left)
            pair.run(partial(is_with, name))
            assert set(keeper._links.dialed) <= {name}
        pair.run()
        assert isinstance(keeper.result, Outcome)
        assert not list(check.violations(pair, schedule, None))


def test_many_join_in_random_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise these would prove nothing."""
    violations, members, came = check.violations, set[tuple[int, str]](), set[tuple[int, str]]()

    def count(
        pair: Simulation, schedule: Schedule, client: Client | KvClients | None
    ) -> Iterator[str]:
        for host in pair.hosts[schedule.replicas :]:
            if host.started:
                came.add((schedule.seed, host.name))
            if host.joined_at and any(
                host.name in r.members for r in pair.arbiter.records.values()
            ):
                members.add((schedule.seed, host.name))
        return violations(pair, schedule, client)

    monkeypatch.setattr(check, "violations", count)
    assert not [r for r in explore(range(7000, 7040)) if r.violations]
    assert len(came) > 15 and 4 * len(members) > len(came)


def test_crashes_of_each_everywhere() -> None:
    schedule = Schedule.parse("ledger/1 seed=3 newcomers=1 join:newcomer@0us")
    points = execute(schedule).points
    assert points["newcomer"] > 50
    for host, count in points.items():
        for point in range(1, count + 1):
            assert not execute(Schedule.parse(f"{schedule} crash:{host}@#{point}")).violations


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("guest", ["tally/3 seed=5", "ledger/1 seed=3"])
def test_crashes_of_each_everywhere_and_of_another_later(guest: str, any_seed: int) -> None:
    schedule = Schedule.parse(f"{guest} newcomers=1 join:newcomer@0us")
    cases = Cases()
    assert not [r for r in crash_everywhere(schedule, cases, Share(any_seed, 12)) if r.violations]
    assert cases.double > 150


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_partitions_whenever_something_is_said(any_seed: int) -> None:
    schedule = Schedule.parse("ledger/1 seed=3 newcomers=1 join:newcomer@0us")
    cases = Cases()
    assert not [r for r in part_everywhere(schedule, cases, Share(any_seed, 5)) if r.violations]
    assert cases.partitions > 40


def test_another_member_does_not_interrupt_the_guest_before_its_state() -> None:
    """It takes over without the entry behind that, and the timer goes off somewhere else."""
    schedule = (
        "preempt/55 seed=1001404 replicas=3 newcomers=1 join:newcomer@462us "
        "arbiter-stale@2605us+3398us slow:tertiary@3711us+20789us crash:primary@4458us drop@4606us"
    )
    assert not execute(Schedule.parse(schedule)).violations


def test_who_was_taken_in_by_a_primary_that_is_dead_goes_on() -> None:
    """The arbiter does what that had asked for only after it has died."""
    schedule = (
        "preempt/7 seed=889965387 newcomers=2 join:newcomer@0us join:latecomer@2000us "
        "arbiter-slow@22000us+2176us crash:primary@160000us leave:secondary@171000us"
    )
    assert not execute(Schedule.parse(schedule)).violations


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("program", PROGRAMS)
def test_members_find_each_other_if_none_was_told_of_who_was_taken_in(
    program: str, replicas: int
) -> None:
    """By what the arbiter knows of where they are reached, and so the guest stays protected."""
    schedule = Schedule(program, 60, 1, (Fault("crash", "primary"),), False, replicas, 1).joined()
    with simulation(schedule) as pair:
        client = start_clients(pair, schedule)
        pair.run(lambda: len(pair.emissions) > 3)
        pair.join("newcomer")
        pair.run(lambda: pair.arbiter.generation == 2)
        pair.crash("primary")
        pair.run()
        assert not list(check.violations(pair, schedule, client))
        others = {host.name for host in pair.hosts} - {"primary"}
        assert all(isinstance(pair.host(name).outcome, Outcome) for name in others)
        assert set(pair.arbiter.records[3].members) == others
        assert pair.arbiter.generation == 3


@pytest.mark.parametrize("seed", range(12))
def test_who_is_told_that_it_rules_before_the_arbiter_answers_it(seed: int) -> None:
    """By the other one, which has lost against it, and only now reads what it had asked."""
    schedule = Schedule("ledger", 60, seed, (Fault("crash", "primary"),), replicas=3)
    with simulation(schedule, Conditions(verdict=(50_000, SECOND // 10))) as pair:
        others = pair.hosts[1:]
        pair.run(lambda: len(pair.emissions) > 3)
        pair.network.split("secondary", "tertiary")
        pair.crash("primary")
        pair.run(lambda: any(host.generation > 1 for host in others))
        pair.network.heal()
        pair.run()
        assert not list(check.violations(pair, schedule, None))


def one_that_was_alone() -> list[str]:
    """It has outputs that it may make for ever when it takes a member in; that one takes over when
    nobody hears anybody, and then they are made."""
    schedule = Schedule("rewrite", 90, 1, (Fault("cut", "primary"),), newcomers=1)
    timings = (Timing(interval=SECOND), *[Timing()] * (len(ALL) - 1))
    conditions = Conditions(timings=timings, clocks=[Clock()] * len(ALL))
    with simulation(schedule, conditions) as pair:
        primary, newcomer = pair.primary, pair.host("newcomer")
        pair.run(lambda: len(pair.emissions) > 3)
        pair.crash("secondary")
        pair.run(lambda: primary.state == "ALONE" and len(pair.emissions) > 12)
        pair.join("newcomer")
        pair.run(lambda: newcomer.state == "READY")
        primary.stall("outputs", True)
        pair.run(lambda: newcomer.state == "FOLLOWING")
        pair.network.cut(["primary", "newcomer"])
        pair.run(lambda: pair.emitters.count("newcomer") > 10)
        primary.stall("outputs", False)
        pair.run()
        assert newcomer.live or newcomer.outcome is not None
        return list(check.violations(pair, schedule, None))


def test_what_one_that_was_alone_may_make_for_ever_is_not_made_without_the_newcomer() -> None:
    assert not one_that_was_alone()


# A guest that stands until a newcomer runs it


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("replicas", [2, 3])
def test_the_primary_moves_by_precopy_where_nothing_prevents_it(
    program: str, replicas: int, limits: str
) -> None:
    schedule = Schedule(program, 60, 1, (Fault("precopy", "newcomer"),), False, replicas, 1)
    with simulation(schedule, Conditions(transfer=LIMITS[limits])) as pair:
        client = start_clients(pair, schedule)
        pair.run(lambda: len(pair.emissions) > 3)
        pair.precopy("newcomer")
        pair.run(lambda: pair.primary.replica.result is not None)
        phases = [e["phase"] for e in pair.primary.events if e["event"] == "migrating"]
        assert {"standing", "done"} <= set(phases)
        pair.run()
        assert pair.arbiter.members[0] is pair.host("newcomer")
        assert pair.primary not in pair.arbiter.members
        others = [host for host in pair.hosts if host is not pair.primary]
        assert all(isinstance(host.outcome, Outcome) for host in others)
        assert not list(check.violations(pair, schedule, client))


@pytest.mark.parametrize("guest", ["ledger/1 seed=3", "preempt/4 seed=5"])
def test_crashes_of_each_everywhere_on_the_way(guest: str) -> None:
    schedule = Schedule.parse(f"{guest} newcomers=1 precopy:newcomer@0us")
    points = execute(schedule).points
    assert points["newcomer"] > 20
    for host, count in points.items():
        for point in range(1, count + 1):
            assert not execute(Schedule.parse(f"{schedule} crash:{host}@#{point}")).violations


INTERRUPTED_BEFORE = (
    "preempt/27 seed=801 newcomers=1 precopy:newcomer@4536us arbiter-deaf@10112us+2784us "
    "leave:primary@10128us drop@10911us"
)


def test_another_member_interrupts_the_guest_before_the_place_where_it_stood() -> None:
    """Who was to take over knows that it cannot follow."""
    assert not execute(Schedule.parse(INTERRUPTED_BEFORE)).violations


LEFT_MEANWHILE = (
    "preempt/47 seed=10061 newcomers=1 precopy:newcomer@541us unplug:secondary@874us+22833us "
    "leave:secondary@51308us crash:secondary@101720us"
)


def test_the_guest_goes_on_before_all_of_its_state_is_sent() -> None:
    """Another member has left: what is sent after that is none of its state."""
    assert not execute(Schedule.parse(LEFT_MEANWHILE)).violations

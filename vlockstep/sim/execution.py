"""One execution of a schedule, and what was wrong with it."""

from __future__ import annotations

import random
import tempfile
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from vlockstep.ft.transfer import TransferLimits
from vlockstep.machine.config import BLOCK_SIZE
from vlockstep.protocol.timing import MILLISECOND, MOST_HELD, Timing
from vlockstep.sim import check, faults, programs
from vlockstep.sim.client import start_clients
from vlockstep.sim.host import SimulatedHost
from vlockstep.sim.schedule import Schedule
from vlockstep.sim.scripted import ScriptedMachine
from vlockstep.sim.simulation import (
    ALL,
    HOSTS,
    MICROSECOND,
    NEWCOMERS,
    START,
    Clock,
    Conditions,
    Simulation,
)

_LIMIT = 1_000_000
"""Events of an execution; who is not done by then never will be."""
_LEAST_DISK = 1 << 16
"""Bytes. `ledger` has a block for each line."""
_SKEW = 10**15
"""Nanoseconds by which clocks may differ."""
_ANY_LOG = 10**12
"""Bytes that may wait where nothing limits them."""
_RENEWALS = 20
"""So often could the arbiter answer within a lease."""
_DRIFT = 0.01
"""By which part of the time a clock may run fast or slow."""


class Point(NamedTuple):
    """A host's point `number`, from 1, named `what`; `time` is in microseconds since the start."""

    host: str
    number: int
    what: str
    time: int


@dataclass(frozen=True)
class Result:
    """`points` are how many each host came to, by name."""

    schedule: Schedule
    violations: tuple[str, ...]
    points: dict[str, int]


def execute(
    schedule: Schedule,
    watch: Callable[[Point], None] = lambda point: None,
    own_disks: bool = False,
    resume_limit: int = 0,
    resume_growth: int = 1 << 30,
) -> Result:
    """Run it to its end. `watch` is told each point. Replicas have `own_disks`, or share them. The
    outsider resumes the guest, if its owner's log may have any bytes; that gets a keyframe each
    time it has grown by `resume_growth`."""
    chance = random.Random(f"conditions {schedule.seed}")
    keeps_logs = any(fault.kind == "stall-log" for fault in schedule.faults)
    with (
        tempfile.TemporaryDirectory() if keeps_logs else nullcontext() as logs,
        Simulation(
            programs.image(schedule),
            programs.arguments(schedule),
            seed=schedule.seed,
            disk_size=max(_LEAST_DISK, schedule.size * BLOCK_SIZE),
            conditions=_conditions(schedule, chance),
            machine=None if schedule.real else ScriptedMachine,
            logs=Path(logs) if logs else None,
            replicas=schedule.replicas,
            newcomers=schedule.newcomers,
            lease=schedule.lease * MICROSECOND,
            own_disks=own_disks,
            resume_limit=resume_limit,
            resume_growth=resume_growth,
        ) as simulation,
    ):
        client = start_clients(simulation, schedule)
        for host in simulation.hosts:
            host.hurries = chance.random() < 0.5
            host.watch = _watch(host, schedule, watch)
        for fault in schedule.faults:
            if fault.point is None:
                faults.plan(simulation, fault)
        try:
            _run(simulation)
            violations = tuple(check.violations(simulation, schedule, client))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {error}"
            violations = (f"{what} ({Path(place.filename).name}, line {place.lineno})",)
        points = {host.name: host.points for host in simulation.hosts}
        return Result(schedule, violations, points)


def _run(simulation: Simulation) -> None:
    """Until all hosts are over."""
    for _ in range(_LIMIT):
        if simulation.over or not simulation.step():
            return
    raise AssertionError(f"not over after {_LIMIT} events")


def _conditions(schedule: Schedule, chance: random.Random) -> Conditions:
    newcomers = schedule.newcomers

    def span(low: float, high: float) -> tuple[int, int]:
        ends = sorted(int(10 ** chance.uniform(low, high)) for _ in range(2))
        return ends[0], ends[1]

    def clock() -> Clock:
        return Clock(chance.randint(0, _SKEW), chance.uniform(-_DRIFT, _DRIFT))

    def whole(low: float, high: float) -> int:
        return int(10 ** chance.uniform(low, high))

    def timing(magnitude: float) -> Timing:
        """Anything that is permitted, but that nobody knocks for ever at a door that stays shut."""
        interval = max(MILLISECOND, whole(magnitude - 1, magnitude + 1))
        return Timing(
            interval,
            misses=whole(0.31, 1.5),
            max_lag=whole(7, 12.5),
            max_log=min(whole(4.9, 12), most),
            patience=min(whole(6, 12.5), 1000 * interval),
        )

    holds = any(fault.kind == "hold" for fault in schedule.faults)
    most = MOST_HELD if holds else _ANY_LOG
    timings, step = [Timing()] * len(ALL), span(4, 6.5)
    match chance.choices(("usual", "long", "odd"), (10, 1, 9))[0]:
        case "long":  # clocks drift apart meanwhile
            step = span(7, 8) if newcomers else span(8, 9)
        case "odd":
            magnitude = chance.uniform(6, 11.5)
            timings = [timing(magnitude) for _ in HOSTS]
            timings += [timing(magnitude) for _ in NEWCOMERS[:newcomers]]
    conditions = Conditions(
        message=span(4, 7),
        verdict=span(4, 7),
        step=step,
        background=span(4, 7),
        timer=(-whole(3, 7) if chance.random() < 0.5 else 0, whole(3, 8)),
        clocks=[clock() for _ in HOSTS],
        timings=timings,
    )
    conditions = replace(
        conditions,
        clocks=[*conditions.clocks, *(clock() for _ in NEWCOMERS)],
        transfer=_transfer(chance),
    )
    others = len(ALL) - 1 - len(conditions.timings)
    conditions = replace(
        conditions,
        clocks=[*conditions.clocks, clock()],
        timings=[*conditions.timings, *[Timing()] * others, conditions.timings[0]],
    )
    return _for_lease(conditions, schedule.lease * MICROSECOND) if schedule.lease else conditions


def _for_lease(conditions: Conditions, lease: int) -> Conditions:
    """It can be renewed in time, and needs not be for ever until something happens."""

    def within(span: tuple[int, int], longest: int) -> tuple[int, int]:
        return min(span[0], longest), min(span[1], longest)

    soon = all(timing.interval <= lease for timing in conditions.timings)
    return replace(
        conditions,
        verdict=within(conditions.verdict, lease // _RENEWALS),
        step=within(conditions.step, lease),
        timings=conditions.timings if soon else (Timing(),) * len(ALL),
    )


def _transfer(chance: random.Random) -> TransferLimits:
    """As many rounds for a guest of a few pages of 16 bytes as for one of 1 GiB: two bytes are
    copied in a nanosecond."""
    if chance.random() < 0.25:
        return TransferLimits()
    return TransferLimits(
        pause=chance.choice((0, 8, 16, 32)),
        window=chance.choice((16, 48, 128)),
        piece=chance.choice((16, 48)),
        rounds=chance.choice((1, 3, 30)),
    )


def _watch(
    host: SimulatedHost, schedule: Schedule, tell: Callable[[Point], None]
) -> Callable[[str], None]:
    crashes = {f.point for f in schedule.faults if f.target == host.name and f.point is not None}

    def watch(what: str) -> None:
        time = (host.simulation.now - START) // MICROSECOND
        tell(Point(host.name, host.points, what, time))
        if host.points in crashes:
            host.simulation.crash(host.name)

    return watch

"""One execution of a schedule, and what was wrong with it."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import cast

from vlockstep.machine.bundled import open_bundled
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.sim import check
from vlockstep.sim.client import Client
from vlockstep.sim.host import SimulatedHost
from vlockstep.sim.schedule import HOSTS, LASTING, Fault, Schedule
from vlockstep.sim.scripted import ScriptedMachine
from vlockstep.sim.simulation import Conditions, Simulation

_MICROSECOND = 1000
_LIMIT = 100_000
"""Events of an execution; who is not done by then never will be."""
_SLOW = 400
"""Times as slow as before: an arbiter."""
_SLUGGISH = 20
"""The same of a guest."""


@dataclass(frozen=True)
class Result:
    """`points` are how many each host came to, by name."""

    schedule: Schedule
    violations: tuple[str, ...]
    points: dict[str, int]


def execute(schedule: Schedule, watch: Callable[[str, int, str], None] | None = None) -> Result:
    """Run it to its end. `watch` is told each point: the host, its number from 1, and its name."""
    chance = random.Random(f"conditions {schedule.seed}")
    with Simulation(
        _image(schedule),
        _arguments(schedule),
        seed=schedule.seed,
        disk_size=1 << 14,
        conditions=_conditions(chance),
        machine=None if schedule.real else _scripted,
    ) as simulation:
        client = Client(simulation, schedule.size) if schedule.program == "tally" else None
        for host in simulation.hosts:
            host.hurries = chance.random() < 0.5
            host.slowness = _SLUGGISH if chance.random() < 0.2 else 1
            host.watch = _watch(host, schedule.faults, watch)
        for fault in schedule.faults:
            if fault.point is None:
                simulation.after(fault.at * _MICROSECOND, _striker(simulation, fault))
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
    """Until both hosts are over."""
    for _ in range(_LIMIT):
        if all(host.over for host in simulation.hosts) or not simulation.step():
            return
    raise AssertionError(f"not over after {_LIMIT} events")


def _conditions(chance: random.Random) -> Conditions:
    def span(low: float, high: float) -> tuple[int, int]:
        ends = sorted(int(10 ** chance.uniform(low, high)) for _ in range(2))
        return ends[0], ends[1]

    return Conditions(message=span(4, 7), verdict=span(4, 7), step=span(4, 6.5))


def _watch(
    host: SimulatedHost,
    faults: tuple[Fault, ...],
    tell: Callable[[str, int, str], None] | None,
) -> Callable[[str], None]:
    crashes = {f.point for f in faults if f.target == host.name and f.point is not None}

    def watch(what: str) -> None:
        if tell is not None:
            tell(host.name, host.points, what)
        if host.points in crashes:
            host.simulation.crash(host.name)

    return watch


def _striker(simulation: Simulation, fault: Fault) -> Callable[[], None]:
    """What carries a fault out, and lets it pass."""
    begin, end = _effects(simulation, fault.kind, fault.target)

    def strike() -> None:
        begin()
        if fault.kind in LASTING:
            simulation.after(fault.lasting * _MICROSECOND, end)

    return strike


def _effects(
    simulation: Simulation, kind: str, target: str
) -> tuple[Callable[[], None], Callable[[], None]]:
    """How a fault begins and how it passes."""
    host = simulation.host(target)
    hosts = HOSTS if target == "both" else (target,)
    arbiter = simulation.arbiter
    match kind:
        case "crash" | "power":
            return lambda: simulation.crash(target, silently=kind == "power"), _nothing
        case "switchover":
            return lambda: host.do("switchover", host.replica.switch_over), _nothing
        case "diverge":
            return partial(setattr, host, "diverges", True), _nothing
        case "drop":
            return simulation.drop, _nothing
        case "pause":
            return lambda: simulation.pause(target), lambda: simulation.resume(target)
        case "unplug":
            return lambda: host.plug(False), lambda: host.plug(True)
        case "cut":
            return lambda: simulation.cut(*hosts), simulation.heal
        case "garble":
            garbled = simulation.network.garbled
            return lambda: garbled.update(hosts), garbled.clear
        case "arbiter-away":
            return partial(setattr, arbiter, "reachable", False), partial(
                setattr, arbiter, "reachable", True
            )
        case "arbiter-deaf":
            return partial(setattr, arbiter, "deaf", True), partial(setattr, arbiter, "deaf", False)
        case "arbiter-slow":
            return partial(setattr, arbiter, "slowness", _SLOW), partial(
                setattr, arbiter, "slowness", 1
            )
    raise AssertionError(kind)


def _nothing() -> None:
    pass


def _image(schedule: Schedule) -> Image:
    """A scripted guest has the devices of a real one."""
    return _open(
        "tally" if schedule.program == "tally" else schedule.program if schedule.real else "ledger"
    )


_open = cache(open_bundled)


def _arguments(schedule: Schedule) -> tuple[str, ...]:
    if not schedule.real:
        return str(schedule.size), schedule.program
    return {
        "ledger": (f"--lines={schedule.size}", "--pause=1", "--work=10"),
        "preempt": (f"--work={schedule.size * 1000}", "--tsc=1"),
        "tally": (f"--requests={schedule.size}",),
    }[schedule.program]


def _scripted(image: Image, config: GuestConfig, count_blocks: bool) -> Machine:
    return cast(Machine, ScriptedMachine(image, config, count_blocks))

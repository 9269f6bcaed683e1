"""Carries out the faults of a schedule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vlockstep.sim import moving
from vlockstep.sim.schedule import Fault
from vlockstep.sim.simulation import ALL, MICROSECOND, Simulation

_SLOW, _SLUGGISH = 400, 20
"""How many times as long as usual a slow arbiter takes, and a slow guest."""


def plan(simulation: Simulation, fault: Fault) -> None:
    """Let it strike at its time, and pass."""
    begin, end = _effects(simulation, fault.kind, fault.target)

    def strike() -> None:
        begin()
        if end is not None:
            simulation.after(fault.lasting * MICROSECOND, end)

    simulation.after(fault.at * MICROSECOND, strike)


def _effects(
    simulation: Simulation, kind: str, target: str
) -> tuple[Callable[[], None], Callable[[], None] | None]:
    """How a fault begins, and how it passes if it does."""
    host = simulation.host(target) if target in ALL else simulation.primary
    hosts = ALL if target == "all" else (target,)
    arbiter = simulation.arbiter
    match kind:
        case "crash" | "power":
            return lambda: simulation.crash(target, silently=kind == "power"), None
        case "leave":
            return lambda: host.do("leave", host.leave), None
        case "join":
            return lambda: simulation.join(target), None
        case "precopy":
            return lambda: simulation.precopy(target), None
        case "restart":
            simulation.awaits_outsider = True
            return simulation.restart, None
        case "end":
            return lambda: host.do("end", lambda: host.replica.end_guest("asked to end it")), None
        case "switchover":
            return lambda: host.do("switchover", host.replica.switch_over), None
        case "move":
            return lambda: host.do("move", lambda: moving.begin(host)), None
        case "diverge":
            return lambda: simulation.diverge(target), None
        case "drop":
            return simulation.drop, None
        case "stall-outputs" | "stall-log" | "stall-events":
            background = kind.removeprefix("stall-")
            return lambda: host.stall(background, True), lambda: host.stall(background, False)
        case "pause":
            return lambda: simulation.pause(target), lambda: simulation.resume(target)
        case "slow":
            return _set(host, "slowness", _SLUGGISH), _set(host, "slowness", 1)
        case "unplug":
            return lambda: host.plug(False), lambda: host.plug(True)
        case "hold":
            return lambda: simulation.hold(True), lambda: simulation.hold(False)
        case "cut":
            return lambda: simulation.network.cut(hosts), simulation.heal
        case "split":
            one, other = target.split("-")
            return lambda: simulation.network.split(one, other), simulation.heal
        case "garble":
            garbled = simulation.network.garbled
            return lambda: garbled.update(hosts), garbled.clear
        case "arbiter-away":
            return _set(arbiter, "reachable", False), _set(arbiter, "reachable", True)
        case "arbiter-deaf":
            return _set(arbiter, "deaf", True), _set(arbiter, "deaf", False)
        case "arbiter-slow":
            return _set(arbiter, "slowness", _SLOW), _set(arbiter, "slowness", 1)
        case "arbiter-flaky":
            return _set(arbiter, "flaky", True), _set(arbiter, "flaky", False)
        case "arbiter-stale":
            return _set(arbiter, "stale", True), _set(arbiter, "stale", False)
    raise AssertionError(kind)


def _set(owner: object, name: str, value: object) -> Callable[[], None]:
    return partial(setattr, owner, name, value)

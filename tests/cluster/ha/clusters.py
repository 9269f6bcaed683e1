"""Simulated clusters for tests of the monitors."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from vlockstep.cluster.ha.actions import Became, HostState
from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.ha.timing import PROFILES, Timing
from vlockstep.cluster.sim.simulation import Simulation

each_profile = pytest.mark.parametrize("timing", PROFILES.values(), ids=PROFILES)
FOUR = ("host-97", "host-98", "host-99", "host-100")
"""host-99 is elected, and host-98 after it."""
MASTER = "host-99"
SHARED = ("ds1", "ds2", "ds3")


class Clock:
    """Seconds of the timelines, for either profile, since a moment."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._second = simulation.timing.heartbeat
        self.zero = simulation.time.now

    def until(self, second: float) -> None:
        self._simulation.time.run(self.zero + int(second * self._second))

    def became(self, host: str) -> list[tuple[float, Availability]]:
        """What the host itself was since then."""
        return [(self._of(t), a.state) for t, a in self._log(host, Became)]

    def judged(self, by: str, host: str) -> list[tuple[float, Availability]]:
        """What a master said of a host since then."""
        return [(self._of(t), a.state) for t, a in self._log(by, HostState) if a.host == host]

    def asked(self, host: str, kind: type) -> list[float]:
        return [self._of(t) for t, _ in self._log(host, kind)]

    def _log(self, host: str, kind: type) -> list:
        return [(t, a) for t, a in self._simulation.log(host, kind) if t > self.zero]

    def _of(self, time: int) -> float:
        return (time - self.zero) / self._second


def cluster(
    timing: Timing,
    hosts: Iterable[str] = FOUR,
    *,
    datastores: Iterable[str] = SHARED,
    addresses: tuple[str, ...] = ("gateway",),
) -> tuple[Simulation, Clock]:
    """One that has a master and slaves for long, and a clock that begins with their words."""
    simulation = Simulation(
        {host: tuple(datastores) for host in hosts}, timing, addresses=addresses
    )
    simulation.boot()
    simulation.run(100 * timing.heartbeat)
    return simulation, Clock(simulation)

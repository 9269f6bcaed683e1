"""A simulated arbiter: a compare-and-set on the generation that may be slow or out of reach."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from vlockstep.ft.protocol import Claim, Verdict

if TYPE_CHECKING:
    from vlockstep.sim.host import SimulatedHost
    from vlockstep.sim.simulation import Simulation


class SimulatedArbiter:
    """`delays` are the least and the greatest time to the verdict, and again to its arrival."""

    def __init__(
        self, simulation: Simulation, chance: random.Random, delays: tuple[int, int]
    ) -> None:
        self.generation = 1
        self.owner = simulation.hosts[0]
        self.reachable = True
        self.deaf = False
        """It decides, but its answers get lost."""
        self.slowness = 1
        self.alone = False
        """Whether the owner has nobody that follows."""
        self._simulation = simulation
        self._chance = chance
        self._delays = delays

    def claim(self, host: SimulatedHost, claim: Claim) -> None:
        def judge() -> None:
            verdict = self.verdict(host, claim) if self.reachable else None
            heard = None if self.deaf else verdict
            self._simulation.after(
                self._delay(),
                lambda: host.do("verdict", lambda: host.replica.arbiter_answered(heard)),
            )

        self._simulation.after(self._delay(), judge)

    def verdict(self, host: SimulatedHost, claim: Claim) -> Verdict:
        if self.generation == claim.expected:
            self.generation += 1
            self.owner, self.alone = host, claim.alone
            return Verdict.WON
        if self.generation == claim.expected + 1:
            if self.owner is host and self.alone == claim.alone:
                return Verdict.WON  # it did not hear so the first time
            if not self.alone:
                return Verdict.TAKEN_OVER
        return Verdict.LOST

    def _delay(self) -> int:
        return self._chance.randint(*self._delays) * self.slowness

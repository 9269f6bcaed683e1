"""A simulated register under the rule that ships: slow, out of reach, failing halfway, or stale."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from vlockstep.arbiter import rule
from vlockstep.arbiter.rule import ArbiterError, Record
from vlockstep.protocol.actions import Claim
from vlockstep.sim import coroutine

if TYPE_CHECKING:
    from vlockstep.sim.host import SimulatedHost
    from vlockstep.sim.simulation import Simulation


class SimulatedArbiter:
    """`delays` are the least and the greatest time of each operation, and of the answer."""

    def __init__(
        self, simulation: Simulation, chance: random.Random, delays: tuple[int, int]
    ) -> None:
        self.records: dict[int, Record] = {}
        self.ended: set[int] = set()
        self.reachable = True
        self.deaf = False
        """What it is asked it does, but its answers get lost."""
        self.flaky = False
        """Some of its operations fail, before or after they had their effect."""
        self.stale = False
        """No replica sees what another one has written since."""
        self.slowness = 1
        self._simulation = simulation
        self._chance = chance
        self._delays = delays
        self._hub = coroutine.current()

    @property
    def generation(self) -> int:
        return max(self.records, default=0)

    @property
    def members(self) -> list[SimulatedHost]:
        """All who may claim the next generation, the owner first."""
        record = self.records.get(self.generation)
        if record is None:
            return []
        names = sorted(record.members, key=lambda name: name != record.owner)
        return [self._simulation.host(name) for name in names]

    def claim(self, host: SimulatedHost, claim: Claim) -> None:
        """Two claims may take turns in their operations."""

        def ask() -> None:
            claimant = Record(claim.expected + 1, host.name, (host.name,))
            try:
                record = rule.claim(
                    _Access(self, host.name),
                    claimant,
                    claim.leave_out,
                    claim.take_in,
                    claim.moved,
                )
            except ArbiterError:
                record = None
            self._simulation.after(
                self._delay(),
                lambda: host.do("verdict", lambda: host.replica.arbiter_answered(record)),
            )

        self._simulation.after(0, coroutine.make(ask, self._hub).switch)

    def wait(self) -> None:
        """From a claim, for an operation to get there."""
        self._simulation.after(self._delay(), coroutine.current().switch)
        self._hub.switch()

    def may_fail(self, with_effect: bool) -> None:
        """An operation is about to take effect, or has."""
        away = self.deaf if with_effect else not self.reachable
        if away or (self.flaky and self._chance.random() < 1 / 3):
            raise ArbiterError("the arbiter is simulated to fail")

    def _delay(self) -> int:
        return self._chance.randint(*self._delays) * self.slowness


class _Access:
    """A replica's way to the register."""

    def __init__(self, arbiter: SimulatedArbiter, replica: str) -> None:
        self._arbiter = arbiter
        self._replica = replica

    def read(self, generation: int) -> Record | None:
        self._arbiter.wait()
        self._arbiter.may_fail(with_effect=False)
        record = self._arbiter.records.get(generation)
        self._arbiter.may_fail(with_effect=True)
        others = record is not None and generation > 1 and record.owner != self._replica
        return None if self._arbiter.stale and others else record

    def create(self, record: Record) -> bool:
        self._arbiter.wait()
        self._arbiter.may_fail(with_effect=False)
        created = self._arbiter.records.setdefault(record.generation, record) is record
        self._arbiter.may_fail(with_effect=True)
        return created

    def ended(self, generation: int) -> bool:
        self._arbiter.wait()
        self._arbiter.may_fail(with_effect=False)
        return generation in self._arbiter.ended and not self._arbiter.stale

    def end(self, generation: int) -> None:
        raise AssertionError("a host that is over has its guest's end noted")

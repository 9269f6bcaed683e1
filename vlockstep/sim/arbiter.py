"""A simulated register under the rule that ships: slow, out of reach, failing halfway, or stale."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from vlockstep.arbiter import rule
from vlockstep.arbiter.rule import SEALED, ArbiterError, Record
from vlockstep.protocol.actions import Claim, Renew
from vlockstep.sim import coroutine

if TYPE_CHECKING:
    from vlockstep.sim.host import SimulatedHost
    from vlockstep.sim.simulation import Simulation

_Answer = TypeVar("_Answer")


class SimulatedArbiter:
    """`delays` are the least and the greatest time of each operation, and of the answer. A guest
    has a `lease` in nanoseconds, or none if that is 0."""

    def __init__(
        self, simulation: Simulation, chance: random.Random, delays: tuple[int, int], lease: int
    ) -> None:
        self.records: dict[int, Record] = {}
        self.tokens: dict[str, int] = {}
        """Where each stands, by what it is called."""
        self.seals: dict[int, int] = {}
        """When the lease of each generation was sealed."""
        self.ended: set[int] = set()
        self.lease = lease
        self.reachable = True
        self.deaf = False
        """What it is asked it does, but its answers get lost."""
        self.flaky = False
        """Some of its operations fail, before or after they had their effect."""
        self.stale = False
        """No replica sees what another one has written since."""
        self.slowness = 1
        self._claims = 0
        self._past: dict[str, list[int | None]] = {}
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
        self._claims += 1
        claimant = Record(
            claim.expected + 1,
            host.name,
            (host.name,),
            self.lease,
            f"token {self._claims}",
            cause=claim.cause,
        )
        self._ask(
            host,
            "verdict",
            lambda register: rule.claim(
                register, claimant, claim.leave_out, claim.take_in, claim.moved, claim.afresh
            ),
            lambda record: host.replica.arbiter_answered(record),
        )

    def renew(self, host: SimulatedHost, asked: Renew) -> None:
        self._ask(
            host,
            "renewed",
            lambda register: rule.renew(register, asked.record, asked.token, asked.next),
            lambda renewed: host.replica.lease_answered(asked, renewed),
        )

    def _ask(
        self,
        host: SimulatedHost,
        what: str,
        question: Callable[[Access], _Answer],
        take: Callable[[_Answer | None], None],
    ) -> None:
        def ask() -> None:
            answer: _Answer | None = None
            with contextlib.suppress(ArbiterError):
                answer = question(Access(self, host))
            self._simulation.after(self._delay(), lambda: host.do(what, lambda: take(answer)))

        self._simulation.after(0, coroutine.make(ask, self._hub).switch)

    def fence(self, host: SimulatedHost, then: Callable[[int | None], None]) -> None:
        """Let `host`, an outsider, `then` start the guest after a generation, once that is sealed;
        None if the guest ends, or its owner is alive."""

        def wait() -> None:
            register = Access(self, host)
            while not host.crashed:
                try:
                    record = rule.fence(register, self.records[1], Waiting(self, host))
                    then(record.generation if rule.sealed(register, record) else None)
                    return
                except ArbiterError:
                    self.sleep(self.lease // 4)
            then(None)

        self._simulation.after(0, coroutine.make(wait, self._hub).switch)

    def sleep(self, time: int) -> None:
        self._simulation.after(time, coroutine.current().switch)
        self._hub.switch()

    def operate(self, host: SimulatedHost) -> None:
        """Until an operation that `host` asks for gets there. A host that is paused goes on with
        it later."""
        self.sleep(self._delay())
        while host.paused:
            host.once_resumed(coroutine.current().switch)
            self._hub.switch()

    def move(self, record: Record, token: int) -> None:
        """Let its token stand there."""
        self._past.setdefault(record.token, [None]).append(self.tokens[record.token])
        self.tokens[record.token] = token
        if token == SEALED:
            self.seals[record.generation] = self._simulation.now

    def once(self, record: Record) -> int | None:
        """Where its token stood some time ago."""
        return self._chance.choice(self._past.get(record.token, [None]))

    def may_fail(self, with_effect: bool) -> None:
        """An operation is about to take effect, or has."""
        away = self.deaf if with_effect else not self.reachable
        if away or (self.flaky and self._chance.random() < 1 / 3):
            raise ArbiterError("the arbiter is simulated to fail")

    def _delay(self) -> int:
        return self._chance.randint(*self._delays) * self.slowness


class Access:
    """The way of a host to the register."""

    def __init__(self, arbiter: SimulatedArbiter, host: SimulatedHost) -> None:
        self._arbiter = arbiter
        self._host = host

    def operate(self) -> None:
        self._arbiter.operate(self._host)
        self._arbiter.may_fail(with_effect=False)

    def read(self, generation: int) -> Record | None:
        self.operate()
        record = self._arbiter.records.get(generation)
        self._arbiter.may_fail(with_effect=True)
        others = record is not None and generation > 1 and record.owner != self._host.name
        return None if self._arbiter.stale and others else record

    def create(self, record: Record) -> bool:
        if record.lease:
            self.operate()
            self._arbiter.tokens[record.token] = 0
        self.operate()
        created = self._arbiter.records.setdefault(record.generation, record) is record
        self._arbiter.may_fail(with_effect=True)
        return created

    def ended(self, generation: int) -> bool:
        self.operate()
        return generation in self._arbiter.ended and not self._arbiter.stale

    def end(self, generation: int) -> None:
        raise AssertionError("a host that is over has its guest's end noted")

    def token(self, record: Record) -> int | None:
        """One that is stale may be any that there was."""
        self.operate()
        token = self._arbiter.tokens.get(record.token)
        self._arbiter.may_fail(with_effect=True)
        return self._arbiter.once(record) if self._arbiter.stale else token

    def move_token(self, record: Record, before: int, after: int) -> bool:
        self.operate()
        moved = self._arbiter.tokens[record.token] == before
        if moved:
            self._arbiter.move(record, after)
        self._arbiter.may_fail(with_effect=True)
        return moved


class Waiting:
    """The clock of an outsider."""

    def __init__(self, arbiter: SimulatedArbiter, host: SimulatedHost) -> None:
        self._arbiter = arbiter
        self._host = host
        self.now = host.now

    def sleep(self, time: int) -> None:
        self._arbiter.sleep(time)

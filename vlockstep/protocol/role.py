"""What both roles do: keep to the table, wait for the arbiter, and be asked to leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import ClassVar, Concatenate, ParamSpec, TypeVar, cast

from vlockstep.arbiter.causes import ReignCause
from vlockstep.arbiter.rule import Record
from vlockstep.protocol.actions import NEVER, Action, Claim, Notice, Renew, Reply, Stop
from vlockstep.protocol.states import MESSAGES, TABLE, Event, State
from vlockstep.protocol.tenure import NO_TENURE, Tenure
from vlockstep.protocol.timing import Timing

_R = TypeVar("_R", bound="Role")
_P = ParamSpec("_P")
_Handler = Callable[Concatenate[_R, int, _P], list[Action]]
_LATE = MESSAGES | {Event.VERDICT, Event.RENEWED}
"""What may come when nobody waits for it any more."""


def on(event: Event) -> Callable[[_Handler[_R, _P]], _Handler[_R, _P]]:
    """Makes a method the handler of `event`. Its first argument is the time.

    It is called only where the table has the event, and takes steps only to where that may lead."""

    def decorate(method: _Handler[_R, _P]) -> _Handler[_R, _P]:
        @wraps(method)
        def handle(self: _R, now: int, *args: _P.args, **kwargs: _P.kwargs) -> list[Action]:
            reachable = TABLE[self.NAME][self.state].get(event)
            if reachable is None:
                assert event in _LATE, f"{event} while {self.state}"
                return []
            self._event, self._reachable, self._now = event, reachable, now
            return method(self, now, *args, **kwargs)

        return cast(_Handler[_R, _P], handle)

    return decorate


class Role:
    """`me` is this replica's instance, `generation` the newest that it knows of."""

    NAME: ClassVar[str]

    def __init__(self, me: str, timing: Timing, state: State, generation: int) -> None:
        self.me = me
        self.timing = timing
        self.state = state
        self.generation = generation
        self.tenure = NO_TENURE
        """Of the generation that it owns."""
        self.isolated = False
        """The guest's network cannot be reached from here."""
        self._event = Event.TICK
        self._reachable: frozenset[State] = frozenset()
        """Where the event that is being handled may lead."""
        self._now = 0
        """When it came."""
        self._retry = NEVER
        self._claimed = Claim(generation)
        self._first_asked = (-1, 0)
        """After which generation the next was claimed last, and when first."""
        self._leaving = ""
        """Why this replica is to leave, if it is."""

    def _to(self, state: State) -> None:
        assert state in self._reachable, f"{self.state} to {state} because of {self._event}"
        self.state = state

    @property
    def _deference(self) -> int:
        """How much longer to wait before claiming, so that others can claim first."""
        return self.timing.dead if self.isolated else 0

    def _claim(
        self,
        cause: ReignCause,
        leave_out: frozenset[str] = frozenset(),
        take_in: Mapping[str, str] | None = None,
        moved: Mapping[str, str] | None = None,
        afresh: bool = False,
    ) -> list[Action]:
        if self.state is not State.CLAIMING:
            self._to(State.CLAIMING)
        changes = leave_out, take_in or {}, moved or {}
        return self._ask(Claim(self.generation, *changes, afresh, cause))

    def _ask(self, claim: Claim) -> list[Action]:
        if claim.expected != self._first_asked[0]:
            self._first_asked = (claim.expected, self._now)
        self._claimed, self._retry = claim, NEVER
        return [claim]

    def _own(self, record: Record) -> None:
        """It was claimed, and won."""
        self.generation = record.generation
        self.tenure = Tenure(record, self._first_asked[1])

    def _won(self, record: Record) -> bool:
        """Whether this answers the claim, and it was won."""
        return record.owner == self.me and record.generation == self._claimed.expected + 1

    def _answers_earlier(self, record: Record) -> bool:
        """Whether this answers a claim before the last one: members are told of the next."""
        return record.generation <= self._claimed.expected and self.me in record.members

    def _unreachable(self, now: int) -> list[Action]:
        """The arbiter did not answer: ask again, and emit nothing until it does."""
        first = self._retry == NEVER
        self._retry = now + self.timing.interval
        text = "the arbiter cannot be reached; nothing is emitted until it is"
        if self.state is State.TAKING_IN:
            text = "the arbiter cannot be reached; the replica that joins waits for it"
        return [Notice(text)] if first else []

    def _retry_claim(self, now: int) -> list[Action]:
        """Who is to leave does not ask again: others may live, and be answered sooner."""
        if now < self._retry:
            return []
        if self._leaving:
            return self._stop(self._leaving)
        self._retry = NEVER - 1
        return [self._claimed]

    @on(Event.RENEWED)
    def lease_answered(self, now: int, asked: Renew, renewed: bool | None) -> list[Action]:
        """What came of a `Renew`: the lease is renewed, or sealed; None if the arbiter did not
        answer."""
        tenure = self.tenure
        if asked.record != tenure.record:
            return []
        if renewed is None:
            tenure.unanswered(now + self.timing.interval)
            return []
        if renewed:
            return [*tenure.renewed(now), *self._prolonged(now)]
        tenure.seal()
        if State.STOPPED not in self._reachable:
            return []  # whoever owns the next generation may be this one, or counts on it
        generation = tenure.record.generation
        return self._stop(
            f"the lease of generation {generation} was taken from it, since it had run out: "
            "the guest is started elsewhere"
        )

    def _prolonged(self, now: int) -> list[Action]:
        """What may be emitted now, as the lease was renewed."""
        return []

    def _superseded(self, generation: int) -> list[Action]:
        return self._stop(f"generation {generation} belongs to another replica")

    def _stop(self, reason: str, orderly: bool = False) -> list[Action]:
        self._to(State.STOPPED)
        return [Stop(reason, orderly)]

    def _no_switchover(self) -> list[Action]:
        return [Reply(0, f"no switchover while the {self.NAME} is: {self.state.value}")]

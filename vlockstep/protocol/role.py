"""The fault-tolerance protocol: theory of operation, states, actions, and what both roles share.

Theory
------
Two replicas execute one guest. The **primary** touches the world. It numbers every input and
every output of its guest as entries 0, 1, 2, … and sends them to the **secondary**, which feeds
the inputs to its own guest, keeps the outputs back, and compares their digests. The classes
`Primary` and `Secondary` decide what happens when; they do no I/O, read no clock and start no
thread. Events go in as method calls with the current time in nanoseconds, actions come out as a
list, and whoever drives them (the ZeroMQ runtime, a test, a simulator) carries the actions out in
order.

*Output rule.* The output of entry n leaves the primary only when the secondary has said that it
has received entries 0 … n. Then whatever the world has seen, the secondary can compute. The guest
does not wait: outputs queue. The primary tells the secondary how far it has released; what the
secondary does not know to be released it emits again when it goes live. Sinks recognise what they
have: console text and disk blocks have their place, frames may repeat as on any network.

*Going live.* A peer that says nothing for `Timing.dead`, or whose connection drops, is suspected.
Suspicion proves nothing: the peer may be alive behind a broken network. So a secondary that wants
to go live, and a primary that wants to go on alone, must both raise the **generation** by a
compare-and-set at the arbiter, and only one can. Who loses, or gets no answer, emits nothing.

*Isolation.* If both replicas live and cannot hear each other, the one that the guest's clients can
reach should go on. So one whose NICs have no network waits longer before it claims.

*Lease.* Between the secondary's last answer and its going live the primary might still release an
output, acknowledged long ago, over what the new primary has written since. So an answer is also a
promise: the secondary will not go live for the lease that was asked for, counted from when it
answers, and the primary releases only for that long counted from when it asked. The primary's
span lies inside the secondary's. The lease follows the measured round trip.

*Exactness.* A secondary that finds itself in another state than the log says stops, and says so;
it never goes live.

*Loss.* Messages arrive in order or not at all: connections drop, and what has a wrong checksum
counts as lost. So an answer to what was sent after a batch acknowledges the batch too, or the
batch was lost and is sent again. A handover is repeated until it is answered.

*Bounds.* The primary keeps what is not acknowledged, to send it again after a loss. If that, or the
time by which the secondary's execution lags (beyond a round trip), exceeds its limit, the primary's
guest waits.

*Start.* The primary welcomes a secondary, which says when it is ready; the primary then asks it for
the first time, and starts the guest when that is answered within the lease. So a guest that runs
has a secondary that would take over. A secondary that is left before that first question stops,
since the primary may be waiting for another one.

*Switchover.* The primary holds its guest, waits until every output is released and says
`Handover`. The secondary executes to the same entry, claims the next generation and says
`TookOver`; both swap roles, their guests being equal. A secondary that went live alone meanwhile
says that, too: the primary must not follow it, but stop. If nothing comes, the primary claims the
generation itself and goes on. If the arbiter says that the other did take over, and not to be
alone, the primary may claim the generation after that: the other needs acknowledgements for its
outputs, had none, and so has released nothing.

*Leaving.* A primary that is asked to leave hands over first, if its secondary can take over, and
says Goodbye when it follows. A secondary says Goodbye. One that is alone, or was told that the
other one leaves, ends the guest, and the arbiter learns that. In doubt whether the other one lives
a primary leaves without a word, as if it had crashed: who is to go on is the other's to claim. So
does whoever asked the arbiter and got no answer.

States
------
`TRANSITIONS` is the whole table; any other step is a bug and raises AssertionError.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from vlockstep.machine.position import BOOT, Position
from vlockstep.protocol.messages import Message, Query
from vlockstep.protocol.timing import Timing
from vlockstep.replay.entry import Entry


class State(Enum):
    # Primary
    WAITING = "waiting for a secondary"
    WELCOMING = "welcoming a secondary"
    PROTECTED = "protected"
    PARTED = "connection lost"  #          the primary's or the secondary's
    CLAIMING = "asking the arbiter"  #     the primary's or the secondary's
    ALONE = "alone"
    HOLDING = "stopping for a switchover"
    HANDED_OVER = "handed over"
    FINISHING = "guest ended"
    # Secondary
    JOINING = "joining"
    READY = "ready to follow"
    FOLLOWING = "following"
    TAKING_OVER = "catching up to take over"
    DRAINED = "guest ended, waiting for the primary"
    # Both
    SWAPPED = "roles swapped"
    LIVE = "live"
    FINISHED = "finished"
    STOPPED = "stopped"


_S = State
TRANSITIONS: dict[State, frozenset[State]] = {
    # The primary
    _S.WAITING: frozenset({_S.WELCOMING, _S.STOPPED}),
    _S.WELCOMING: frozenset({_S.PROTECTED, _S.WAITING, _S.STOPPED}),
    _S.PROTECTED: frozenset({_S.PARTED, _S.CLAIMING, _S.HOLDING, _S.FINISHING, _S.STOPPED}),
    _S.HOLDING: frozenset(
        {_S.PROTECTED, _S.HANDED_OVER, _S.PARTED, _S.CLAIMING, _S.FINISHING, _S.STOPPED}
    ),
    _S.HANDED_OVER: frozenset({_S.SWAPPED, _S.CLAIMING, _S.STOPPED}),
    _S.ALONE: frozenset({_S.FINISHED, _S.STOPPED}),
    _S.FINISHING: frozenset({_S.FINISHED}),
    # The secondary
    _S.JOINING: frozenset({_S.READY, _S.STOPPED}),
    _S.READY: frozenset({_S.FOLLOWING, _S.STOPPED}),
    _S.FOLLOWING: frozenset(
        {_S.PARTED, _S.CLAIMING, _S.TAKING_OVER, _S.DRAINED, _S.FINISHED, _S.STOPPED}
    ),
    _S.TAKING_OVER: frozenset({_S.CLAIMING, _S.STOPPED}),
    _S.DRAINED: frozenset({_S.FINISHED, _S.STOPPED}),
    # Both: back to PROTECTED or ALONE for a primary, to FOLLOWING or LIVE for a secondary
    _S.PARTED: frozenset({_S.PROTECTED, _S.FOLLOWING, _S.CLAIMING, _S.FINISHED, _S.STOPPED}),
    _S.CLAIMING: frozenset({_S.ALONE, _S.LIVE, _S.STOPPED}),
    _S.SWAPPED: frozenset(),
    _S.LIVE: frozenset({_S.STOPPED}),
    _S.FINISHED: frozenset(),
    _S.STOPPED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Send:
    message: Message


@dataclass(frozen=True, slots=True)
class Start:
    """Let the guest run; a secondary's with this configuration."""

    config: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Announce:
    """Primary: let the network send the guest's frames here."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Secondary: feed these to the guest."""

    entries: list[Entry]


@dataclass(frozen=True, slots=True)
class Release:
    """Primary: make all outputs of entries before `end`, each only while the clock is before
    `until`; tell with `performed` how far that has come."""

    end: int
    until: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Secondary: the primary has made all outputs of entries before `end`."""

    end: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask the arbiter to raise the generation from `expected`; answer with `arbiter_answered`.
    `alone`: the peer will not follow."""

    expected: int
    alone: bool


@dataclass(frozen=True, slots=True)
class Hold:
    """Primary: stop the guest in its next exit, before it is logged; answer with `held`."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Primary: let the guest that was held go on."""


@dataclass(frozen=True, slots=True)
class Follow:
    """The old primary: follow the new one of `generation`, from entry `next` on."""

    generation: int
    next: int


@dataclass(frozen=True, slots=True)
class GoLive:
    """Secondary: become primary after the last entry received. `protected`: the peer follows, and
    its guest stands at `not_before`: no interrupt may come earlier."""

    generation: int
    protected: bool
    not_before: Position = BOOT


@dataclass(frozen=True, slots=True)
class Tell:
    """Something a person should know."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """To the operator who asked for a switchover."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """The guest has ended and this replica's work with it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Never emit anything again; leave. `orderly`: as asked, and the peer has the guest."""

    reason: str
    orderly: bool = False


Action = (
    Send | Start | Announce | Deliver | Release | Forget | Claim | Hold | Resume | Follow | GoLive
    | Tell | Reply | Done | Stop
)  # fmt: skip
NEVER = 1 << 63


class Role:
    """What both roles do: states, heartbeats, hearing."""

    def __init__(self, timing: Timing, state: State, generation: int, now: int) -> None:
        self.timing = timing
        self.state = state
        self.generation = generation
        self.isolated = False
        """The guest's network cannot be reached from here."""
        self._silence = 0
        self._excused = False
        self._looked = now
        self._asked = now
        self._retry = NEVER
        self._claimed = Claim(generation, True)
        self._parted = 0
        self._leaving = ""
        """Why this replica is to leave, if it is."""

    def _to(self, state: State) -> None:
        assert state in TRANSITIONS[self.state], f"{self.state} to {state}"
        self.state = state

    def _query(self, now: int) -> Query:
        raise NotImplementedError

    def _heartbeat(self, now: int) -> list[Action]:
        """The query that is due, if one is."""
        if now - self._asked < self.timing.interval:
            return []
        self._asked = now
        return [Send(self._query(now))]

    def _hear(self, now: int) -> None:
        """A word from the peer."""
        self._silence, self._excused = 0, False
        self._looked = now

    def _silent(self, now: int) -> bool:
        """Whether the peer counts as dead.

        Silence is what this replica has listened to: an interval at the most from one look to the
        next. Who looks later than that was stopped, or had no CPU, and may have the peer's words
        still to read: once in a silence it listens for another interval before it judges.
        """
        passed, self._looked = now - self._looked, now
        interval = self.timing.interval
        self._silence += min(passed, interval)
        late = passed > interval + interval // 2
        if late and not self._excused and self._silence > self._dead_after - interval:
            self._excused = True
            self._silence = self._dead_after - interval
        return self._silence >= self._dead_after

    @property
    def _next_look(self) -> int:
        """When to look whether the peer is still silent."""
        return self._looked + min(self._dead_after - self._silence, self.timing.interval)

    @property
    def _dead_after(self) -> int:
        """Of silence."""
        starting = self.state in (State.WELCOMING, State.READY)
        return self.timing.starting if starting else self.timing.dead + self._deference

    @property
    def _deference(self) -> int:
        """How much longer to wait before claiming, so that the peer can claim first."""
        return self.timing.dead if self.isolated else 0

    def _claim(self, alone: bool = True) -> list[Action]:
        if self.state is not State.CLAIMING:
            self._to(State.CLAIMING)
        self._claimed = Claim(self.generation, alone)
        self._retry = NEVER
        return [self._claimed]

    def _unreachable(self, now: int) -> list[Action]:
        """The arbiter did not answer: ask again, and emit nothing until it does."""
        first = self._retry == NEVER
        self._retry = now + self.timing.interval
        return (
            [Tell("the arbiter cannot be reached; nothing is emitted until it is")] if first else []
        )

    def _retry_claim(self, now: int) -> list[Action]:
        """Who is to leave does not ask again: the peer may live, and be answered sooner."""
        if now < self._retry:
            return []
        if self._leaving:
            return self._stop(self._leaving)
        self._retry = NEVER - 1
        return [self._claimed]

    def _stop(self, reason: str, orderly: bool = False) -> list[Action]:
        self._to(State.STOPPED)
        return [Stop(reason, orderly)]

"""The primary's side of the protocol; see `protocol` for the theory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from vlockstep.arbiter.rule import Verdict
from vlockstep.machine.position import Position
from vlockstep.protocol.messages import (
    PROTOCOL,
    Answer,
    Batch,
    Finished,
    Goodbye,
    Handover,
    Hello,
    Message,
    Query,
    Refuse,
    TookOver,
    Welcome,
)
from vlockstep.protocol.role import (
    NEVER,
    Action,
    Announce,
    Done,
    Follow,
    Hold,
    Release,
    Reply,
    Resume,
    Role,
    Send,
    Start,
    State,
    Stop,
    Tell,
)
from vlockstep.protocol.timing import SECOND, Timing
from vlockstep.replay import codec
from vlockstep.replay.entry import OUTPUTS, Entry, Kind
from vlockstep.wire.codec import MessageError

MAX_BATCH = 1 << 20
"""Bytes of entries in a message, unless a single entry is longer."""
_ROUND_TRIPS = 4
"""So many are remembered."""
HOLD_LIMIT = 2 * SECOND
"""A guest that makes no exit for so long cannot be switched over, nor can one whose outputs take
longer."""


class _Sent(NamedTuple):
    """A batch that the secondary has not acknowledged, and when it was sent last."""

    first: int
    end: int
    content: bytes
    at: int


def _batches(first: int, entries: list[Entry], now: int) -> list[_Sent]:
    content = codec.encode(first, entries)
    half = len(entries) // 2
    if len(content) > MAX_BATCH and half:
        later = _batches(first + half, entries[half:], now)
        return _batches(first, entries[:half], now) + later
    return [_Sent(first, first + len(entries), content, now)]


class Primary(Role):
    """Decides what is sent, what is released, and when to go on alone.

    `config` is the guest's, for the secondary. A secondary that has gone live continues as a
    Primary in `state` from entry `next` on, with `outputs`, the entries whose outputs it has to
    release first, and `ended`, the entry with which its guest has already ended.
    """

    def __init__(
        self,
        timing: Timing,
        generation: int,
        image: str,
        config: dict[str, Any],
        now: int,
        *,
        guest: str = "",
        next: int = 0,
        state: State = State.WAITING,
        outputs: Iterable[int] = (),
        ended: int | None = None,
    ) -> None:
        assert state in (State.WAITING, State.PROTECTED, State.ALONE)
        super().__init__(timing, state, generation, now)
        self._image = image
        self._arbitrated = guest
        self._config = config
        self.next = next
        """Entries so far: the sequence number of the next one."""
        self.acknowledged = next
        self.executed = next
        self._sent: deque[_Sent] = deque()
        self._sent_bytes = 0
        self._pace: deque[tuple[int, int]] = deque()
        self._outputs = deque(outputs)
        self.released = self._outputs[0] if self._outputs else next
        """Every output of an entry before this one has been released."""
        self._ended = ended
        self._instance = ""
        self._running = state is not State.WAITING
        self._announced = False
        self._lease_until = 0
        self._round_trips = deque([0], maxlen=_ROUND_TRIPS)
        self._allowance = 0
        self._held: Position | None = None
        self._handed_over = False
        self._hold_until = NEVER
        self._finished_at = NEVER
        self._started = now

    # What the runtime may look at

    @property
    def idle(self) -> bool:
        """Its guest has never run."""
        return not self._running

    @property
    def unfollowed(self) -> bool:
        """It took over, and who was primary before has not said that it follows."""
        return self._running and not self._instance

    @property
    def lease(self) -> int:
        """The lease to ask for: twice the last round trip, and what outputs took that came too late
        for theirs. What counts as dead limits it, unless no answer comes as fast as that."""
        wanted = 2 * self._round_trips[-1] + self._allowance
        limit = max(self.timing.dead, 2 * min(self._round_trips) + self._allowance)
        return min(max(self.timing.min_lease, wanted), limit)

    def lag(self, now: int) -> tuple[int, int]:
        """By how many entries and nanoseconds the secondary's execution is behind, if there is
        one."""
        if self.state is State.ALONE:
            return 0, 0
        return self.next - self.executed, now - self._pace[0][1] if self._pace else 0

    def slowed(self, now: int) -> bool:
        """Whether the guest has to wait for the secondary."""
        if self.state is State.ALONE:
            return False
        lag = self.lag(now)[1] - self._round_trips[-1]
        return self._sent_bytes > self.timing.max_log or lag > self.timing.max_lag

    def deadline(self) -> int:
        """When to call `tick` at the latest."""
        match self.state:
            case State.WAITING:
                return self._started + self.timing.patience
            case State.WELCOMING:
                return self._next_look
            case State.PARTED:
                return self._parted + self.timing.interval // 2 + self._deference
            case State.CLAIMING:
                return self._retry
            case State.PROTECTED | State.HOLDING | State.HANDED_OVER | State.FINISHING:
                beat = self._asked + self.timing.interval
                if self._outputs and self._outputs[0] < self.acknowledged:
                    beat = min(beat, self._renewal)
                return min(beat, self._next_look, self._hold_until)
            case _:
                return NEVER

    # Events

    def begin(self, now: int) -> list[Action]:
        """Once, after all that the guest was sent has been executed."""
        more = self._release(now) if self._outputs else self.performed(now, self.next)
        return [*self._announce(now), *more]

    def append(self, now: int, entries: list[Entry]) -> list[Action]:
        """The guest made these exits. Sent as one batch, unless that would be too large."""
        first, self.next = self.next, self.next + len(entries)
        for sequence, entry in enumerate(entries, first):
            if entry[0] in OUTPUTS:
                self._outputs.append(sequence)
                if entry[0] == Kind.END:
                    self._ended = sequence
        if self.state is State.ALONE:
            return self._release(now)
        batches = _batches(first, entries, now)
        self._sent.extend(batches)
        self._sent_bytes += sum(len(batch.content) for batch in batches)
        self._pace.append((self.next, now))
        if self.state in (State.PARTED, State.CLAIMING):
            return []
        self._asked = now
        return self._send(now, batches)

    def connected(self, now: int, message: Hello) -> list[Action]:
        """A secondary wants to follow, for the first time or again."""
        if message.version != PROTOCOL:
            return [Send(Refuse(f"the primary speaks protocol {PROTOCOL}, not {message.version}"))]
        if message.image != self._image:
            return [
                Send(
                    Refuse(
                        f"the primary runs the image {self._image[:12]}, "
                        f"the secondary has {message.image[:12]}; start both with the same image"
                    )
                )
            ]
        if self._instance not in ("", message.instance):
            return [Send(Refuse("another secondary follows this primary"))]
        if message.guest != self._arbitrated:
            reason = "its arbiter is not the primary's; give both the same directory"
            return [Send(Refuse(reason))]
        if self.state is State.CLAIMING:
            return []  # if this replica dies before it owns the generation, the secondary may
        if self.state in (State.ALONE, State.FINISHED):
            return [Send(Refuse("the primary has gone on alone; this replica cannot follow"))]
        oldest = self._sent[0].first if self._sent else self.next
        if not oldest <= message.next <= self.next:
            return [Send(Refuse(f"entry {message.next} is not kept any more"))]
        self._hear(now)
        self._instance = message.instance
        actions: list[Action] = [
            Send(Welcome(PROTOCOL, self.generation, message.next, self._config))
        ]
        if self.state is State.WAITING:
            self._to(State.WELCOMING)
        elif self.state is State.PARTED:
            self._to(State.PROTECTED)
        actions += self._send_again(now, message.next)
        if self.state is State.FINISHING:
            actions.append(Send(Finished(now)))
        return actions

    def received(self, now: int, message: Message) -> list[Action]:
        """A message from the secondary. Raises `MessageError` if it cannot be one."""
        self._hear(now)
        if self.state is State.WELCOMING and not isinstance(message, Hello | Goodbye):
            self._to(State.PROTECTED)
            self._asked = now
            return [Send(self._query(now)), *self.received(now, message)]
        match message:
            case Hello():
                return self.connected(now, message)
            case Goodbye(reason) if self.state is State.WELCOMING:
                return self._wait_again(f"the secondary cannot follow: {reason}")
            case Answer():
                return self._answered(now, message)
            case Goodbye(reason) if self.state in (
                State.PROTECTED, State.HOLDING, State.PARTED, State.HANDED_OVER
            ):  # fmt: skip
                return self._claim_alone(f"the secondary has left: {reason}")
            case TookOver(generation, False) if (
                self.state is State.HANDED_OVER and generation == self.generation + 1
            ):
                self._to(State.SWAPPED)
                return [Follow(generation, self.next), Reply(generation, "")]
            case TookOver() if self.state is State.FINISHING:
                self._to(State.FINISHED)  # it did not know that nothing was left to do
                return [Done()]
            case TookOver(generation) if generation > self.generation:
                return self._stop(f"the peer is live as generation {generation}")
            case Query() | Batch() if self.state is State.ALONE:
                return [Send(TookOver(self.generation, True))]
            case Handover():
                return [Send(self.took_over())]
            case Query(sent):
                return [Send(Answer(sent, 0, 0, 0))]
        return []

    def performed(self, now: int, end: int) -> list[Action]:
        """Every output of an entry before `end` has been made; what comes of a `Release`, later."""
        while self._outputs and self._outputs[0] < end:
            self.released = self._outputs.popleft() + 1
        return self._settle(now)

    def expired(self) -> None:
        """An output came too late for its lease: ask for longer ones, until all are made."""
        self._allowance = min(2 * self._allowance + self.timing.interval, self.timing.max_lease)

    def disconnected(self, now: int) -> list[Action]:
        """The connection dropped: an early suspicion."""
        if self.state is State.WELCOMING:
            return self._wait_again("the connection to the secondary was lost")
        if self.state is State.HOLDING:
            actions = self._call_off("the connection was lost")
        elif self.state is State.PROTECTED:
            actions = []
        else:
            return []
        if self._leaving:
            return [*actions, *self._stop(self._leaving)]
        self._to(State.PARTED)
        self._parted = now
        return [*actions, Tell("the connection to the secondary was lost")]

    def arbiter_answered(self, now: int, verdict: Verdict | None) -> list[Action]:
        """The answer to a `Claim`; None if there was none."""
        if self.state is not State.CLAIMING:
            return []
        match verdict:
            case None:
                return self._unreachable(now)
            case Verdict.TAKEN_OVER if self._handed_over:
                self._handed_over = False
                self.generation += 1
                return self._claim()
            case Verdict.LOST | Verdict.TAKEN_OVER:
                return self._stop(f"generation {self.generation + 1} belongs to another replica")
        self._to(State.ALONE)
        self.generation += 1
        if self._leaving:
            return self._end_guest()
        self._forget_secondary()
        return [*self._start(), *self._announce(now), Resume(), *self._release(now)]

    def switchover(self, now: int) -> list[Action]:
        """An operator asks to swap roles. Who asks while they are swapped joins who did before."""
        if self.state in (State.HOLDING, State.HANDED_OVER):
            return []
        if self.state is not State.PROTECTED or not self._running:
            return [Reply(0, f"no switchover while the primary is: {self.state.value}")]
        self._to(State.HOLDING)
        self._hold_until = now + HOLD_LIMIT
        return [Hold()]

    def leave(self, now: int, reason: str) -> list[Action]:
        """This replica is to leave; called again when it has a new role."""
        self._leaving = reason
        match self.state:
            case State.WAITING | State.PARTED:
                return self._stop(reason)
            case State.WELCOMING | State.PROTECTED if not self._running:
                return [Send(Goodbye(reason)), *self._stop(reason)]
            case State.PROTECTED:
                return self.switchover(now)
            case State.ALONE:
                return self._end_guest()
        return []

    def handover(self) -> list[Send]:
        """What is said when the guest is held and every output is released."""
        assert self._held is not None
        return [Send(Handover(self.next, *self._held))]

    def took_over(self) -> TookOver:
        """The answer to that, of who rules now."""
        return TookOver(self.generation, self.state in (State.ALONE, State.FINISHED))

    def held(self, now: int, position: Position) -> list[Action]:
        """The guest is held at `position`, and all its entries were appended."""
        self._held = position
        return self._settle(now)

    def tick(self, now: int) -> list[Action]:
        """Time has passed."""
        silent = self._silent(now)
        match self.state:
            case State.PROTECTED | State.HOLDING:
                if silent:
                    return self._lost("the secondary does not answer")
                if now >= self._hold_until:
                    made_no_exit = self._held is None
                    what = "guest made no exit" if made_no_exit else "outputs were not released"
                    actions = self._call_off(f"the {what} within {HOLD_LIMIT // SECOND} s")
                    if self._leaving:
                        return [*actions, *self._stop(self._leaving)]
                    self._to(State.PROTECTED)
                    return actions
                return self._heartbeat(now) + self._release(now)
            case State.WELCOMING if silent:
                return self._wait_again("the secondary does not answer")
            case State.WAITING:
                if now - self._started >= self.timing.patience:
                    return self._stop("no secondary came; start one, or use `vlockstep run`")
            case State.PARTED:
                if now >= self._parted + self.timing.interval // 2 + self._deference:
                    return self._claim()
            case State.HANDED_OVER:
                if silent:
                    return self._lost("the secondary did not take over")
                beat = self._heartbeat(now)
                return [*beat, *self.handover()] if beat else []
            case State.FINISHING:
                if silent:
                    self._to(State.FINISHED)
                    return [Done()]
                return [Send(Finished(now)) for _ in self._heartbeat(now)]
            case State.CLAIMING:
                return self._retry_claim(now)
        return []

    # Inside

    def _query(self, now: int) -> Query:
        return Query(now, self.lease, self.released)

    def _answered(self, now: int, answer: Answer) -> list[Action]:
        if not answer.executed <= answer.received <= self.next or answer.echo > now:
            raise MessageError("an answer to what was never asked")
        start: list[Action] = []
        if answer.echo:
            self._round_trips.append(now - answer.echo)
            self._lease_until = max(self._lease_until, answer.echo + answer.lease)
            if self.state is State.PROTECTED and now < self._lease_until:
                start = [*self._start(), *self._announce(now)]
        self.acknowledged = max(self.acknowledged, answer.received)
        self.executed = max(self.executed, answer.executed)
        while self._sent and self._sent[0].end <= self.acknowledged:
            self._sent_bytes -= len(self._sent.popleft().content)
        while self._pace and self._pace[0][0] <= self.executed:
            self._pace.popleft()
        lost = self._sent and self._sent[0].at < answer.echo
        if self.state is State.FINISHING and answer.echo >= self._finished_at:
            self._to(State.FINISHED)
            return [Done()]
        again = self._send_again(now, answer.received) if lost else []
        return [*start, *again, *self._release(now)]

    def _send_again(self, now: int, received: int) -> list[Action]:
        """What was sent after entry `received`."""
        if self.state not in (
            State.PROTECTED, State.HOLDING, State.HANDED_OVER, State.FINISHING
        ):  # fmt: skip
            return []
        self._sent = deque(batch._replace(at=now) for batch in self._sent)
        return self._send(now, [batch for batch in self._sent if batch.end > received])

    def _send(self, now: int, batches: list[_Sent]) -> list[Action]:
        return [Send(Batch(now, self.lease, self.released, batch.content)) for batch in batches]

    def _start(self) -> list[Action]:
        """Let the guest run, if it does not yet."""
        if self._running:
            return []
        self._running = True
        return [Start(self._config)]

    def _announce(self, now: int) -> list[Action]:
        """Once, when it is sure that no other replica is live."""
        if self._announced or not (self.state is State.ALONE or now < self._lease_until):
            return []
        self._announced = True
        return [Announce()]

    def _release(self, now: int) -> list[Action]:
        """Release what the output rule and the lease permit."""
        if self.state is State.ALONE:
            end = self.next
        elif self.state in (State.PROTECTED, State.HOLDING):
            end = self.acknowledged
        else:
            return []
        if not self._outputs or self._outputs[0] >= end:
            return self._settle(now)
        if self.state is State.ALONE:
            return [Release(end, NEVER)]
        renewal: list[Action] = []
        if now >= self._renewal:
            self._asked = now
            renewal = [Send(self._query(now))]
        return [*renewal, *([Release(end, self._lease_until)] if now < self._lease_until else [])]

    @property
    def _renewal(self) -> int:
        """When to ask for another lease, so that outputs which take their time find one."""
        return max(self._lease_until - self.lease // 2, self._asked + self.lease // 4)

    def _settle(self, now: int) -> list[Action]:
        """Once every output is released: end with the guest, or let the secondary take over if the
        guest is held."""
        if self._outputs:
            return []
        self._allowance = 0
        if self._ended is None or self.released <= self._ended:
            if self.state is not State.HOLDING or self._held is None:
                return []
            self._to(State.HANDED_OVER)
            self._hold_until = NEVER
            return [*self.handover()]
        if self.state is State.ALONE:
            self._to(State.FINISHED)
            return [Done()]
        if self.state not in (State.PROTECTED, State.HOLDING):
            return []
        actions = self._call_off("the guest has ended")
        self._to(State.FINISHING)
        self._finished_at = self._asked = now
        return [*actions, Send(Finished(now))]

    def _call_off(self, reason: str) -> list[Action]:
        """Give up a switchover that has not been handed over."""
        if self.state is not State.HOLDING:
            return []
        self._held = None
        self._hold_until = NEVER
        return [Resume(), Reply(0, reason)]

    def _wait_again(self, reason: str) -> list[Action]:
        """The secondary that came has gone before the guest began."""
        self._to(State.WAITING)
        self._instance = ""
        return [Tell(reason)]

    def _lost(self, reason: str) -> list[Action]:
        """The secondary may be dead, or may not."""
        return self._stop(self._leaving) if self._leaving else self._claim_alone(reason)

    def _end_guest(self) -> list[Action]:
        """As asked; nobody else has it."""
        self._to(State.FINISHED)
        return [Stop(f"{self._leaving}; the guest ends here, no other replica has it")]

    def _claim_alone(self, reason: str) -> list[Action]:
        if self.state is State.HANDED_OVER:
            self._held, self._handed_over = None, True
            actions: list[Action] = [Reply(0, reason)]
        else:
            actions = self._call_off(reason)
        return [Tell(reason), *actions, *self._claim()]

    def _forget_secondary(self) -> None:
        self._sent.clear()
        self._pace.clear()
        self._sent_bytes = 0

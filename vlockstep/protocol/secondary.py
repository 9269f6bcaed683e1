"""The secondary's side of the protocol; see `protocol` for the theory."""

from __future__ import annotations

from collections import deque

from vlockstep.arbiter.rule import Verdict
from vlockstep.errors import LogError
from vlockstep.machine.position import BOOT, Position
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
    Switchover,
    TookOver,
    Welcome,
)
from vlockstep.protocol.role import (
    NEVER,
    Action,
    Deliver,
    Done,
    Forget,
    GoLive,
    Reply,
    Role,
    Send,
    Start,
    State,
    Tell,
)
from vlockstep.protocol.timing import MILLISECOND, Timing
from vlockstep.replay import codec
from vlockstep.replay.entry import OUTPUTS, Kind

_PROGRESS_INTERVAL = 5 * MILLISECOND
"""How often the primary is told of execution that went on without messages."""


class Secondary(Role):
    """Decides what is acknowledged, and when to go live.

    With `next` it continues as the replica that was primary until that entry.
    """

    def __init__(
        self,
        timing: Timing,
        instance: str,
        image: str,
        now: int,
        *,
        guest: str = "",
        generation: int = 0,
        next: int = 0,
    ) -> None:
        state = State.FOLLOWING if generation else State.JOINING
        super().__init__(timing, state, generation, now)
        self._instance = instance
        self._image = image
        self._arbitrated = guest
        self.received_entries = next
        """Entries received: the sequence number of the next one."""
        self.executed = next
        """Entries that the guest has taken, and verified."""
        self.released = next
        """The primary is known to have released every output of an entry before this one."""
        self._told = next
        self._told_at = now
        self._still_until = 0
        self.outputs: deque[int] = deque()
        """Entries with outputs that the primary is not known to have released."""
        self.ended: int | None = None
        """The entry with which the guest ends."""
        self.asked_to_swap = False
        """An operator wants the next switchover when this one is complete."""
        self._not_before = BOOT
        self._started = now

    def takes_over(self, message: Handover) -> bool:
        """Whether it is about to do what this asks for, perhaps once more."""
        taking = self.state is State.TAKING_OVER or (
            self.state is State.CLAIMING and not self._claimed.alone
        )
        handed = (self.received_entries, self._not_before.exits, self._not_before.blocks)
        return taking and handed == (message.next, message.exits, message.blocks)

    def deadline(self) -> int:
        """When to call `tick` at the latest."""
        match self.state:
            case State.PARTED:
                due = self._still_until + self._deference
            case State.CLAIMING:
                return self._retry
            case State.JOINING:
                given_up = self._started + self.timing.patience
                due = min(self._asked + self.timing.interval, given_up)
            case State.DRAINED:
                due = self._asked + self.timing.interval
            case State.READY:
                due = self._next_look
            case State.FOLLOWING | State.TAKING_OVER:
                dead = max(self._next_look, self._still_until)
                due = min(self._asked + self.timing.interval, dead)
            case _:
                return NEVER
        if self.executed != self._told:
            due = min(due, self._told_at + _PROGRESS_INTERVAL)
        return due

    # Events

    def connected(self, now: int) -> list[Action]:
        """There is a connection to the primary, the first one or a new one."""
        if self.state in (
            State.JOINING, State.FOLLOWING, State.PARTED, State.TAKING_OVER, State.CLAIMING,
            State.LIVE,
        ):  # fmt: skip
            return [self._hello(now)]
        return []

    def received(self, now: int, message: Message) -> list[Action]:
        """A message from the primary."""
        self._hear(now)
        if self.state is State.READY and isinstance(message, Batch | Query) and message.lease:
            # Without a lease it only looks who is there: it may have given this replica up.
            self._to(State.FOLLOWING)
        match message:
            case Query() | Batch() | Hello() | Handover() if self.state is State.LIVE:
                return [Send(TookOver(self.generation, self._claimed.alone))]
            case Welcome():
                return self._welcomed(message)
            case Refuse(reason) if self.state in (
                State.JOINING, State.READY, State.FOLLOWING, State.PARTED
            ):  # fmt: skip
                return self._stop(f"the primary refuses this replica: {reason}")
            case Batch():
                return self._batch(now, message)
            case Query(sent, lease, released):
                return [*self._forget(released), self._answer(now, sent, lease)]
            case Handover(next, exits, blocks) if self.state is State.FOLLOWING:
                if next != self.received_entries:
                    return []  # something before it got lost, and will be sent again
                self._not_before = Position(exits, blocks)
                self._to(State.TAKING_OVER)
                return [*self._forget(next), *self._take_over()]  # it has released everything
            case Finished(sent) if self.state is State.FOLLOWING and self.ended is not None:
                actions = [*self._forget(self.received_entries), self._answer(now, sent, 0)]
                self._to(State.DRAINED)
                return actions + self._done()
            case Finished(sent) if self.state is State.DRAINED:
                return [self._answer(now, sent, 0)]
            case Goodbye(reason) if self.state in (State.FOLLOWING, State.PARTED):
                return [Tell(f"the primary has left: {reason}"), *self._claim()]
            case TookOver(generation) if generation > self.generation and self.state in (
                State.FOLLOWING, State.PARTED, State.CLAIMING
            ):  # fmt: skip
                return self._stop(f"the peer is live as generation {generation}")
        return []

    def disconnected(self, now: int) -> list[Action]:
        """The connection dropped: an early suspicion. What was promised is kept all the same."""
        if self.state is State.READY:
            return self._stop("the primary was lost before its guest had started")
        if self.state is not State.FOLLOWING:
            return []
        self._to(State.PARTED)
        self._still_until = max(self._still_until, now + self.timing.interval)
        return [Tell("the connection to the primary was lost")]

    def progressed(self, now: int, executed: int) -> list[Action]:
        """The guest has taken so many entries, and they were as logged."""
        assert self.executed <= executed <= self.received_entries
        self.executed = executed
        if self.state is State.TAKING_OVER:
            return self._take_over()
        if self.state is State.DRAINED:
            return self._done()
        return []

    def diverged(self, now: int, reason: str) -> list[Action]:
        """The guest is not in the state that the log says: never go live."""
        return [Send(Goodbye(reason)), *self._stop(reason)]

    def arbiter_answered(self, now: int, verdict: Verdict | None) -> list[Action]:
        """The answer to a `Claim`; None if there was none."""
        if self.state is not State.CLAIMING:
            return []
        if verdict is None:
            return self._unreachable(now)
        if verdict is not Verdict.WON:
            return self._stop(f"generation {self.generation + 1} belongs to another replica")
        self.generation += 1
        self._to(State.LIVE)
        protected = not self._claimed.alone
        took_over: list[Action] = [Send(TookOver(self.generation, False))] if protected else []
        return [*took_over, GoLive(self.generation, protected, self._not_before)]

    def switchover(self, now: int) -> list[Action]:
        """An operator asks to swap roles: pass it on."""
        if self.state is State.LIVE:
            self.asked_to_swap = True
            return []
        if self.state is not State.FOLLOWING:
            return [Reply(0, f"no switchover while the secondary is: {self.state.value}")]
        return [Send(Switchover())]

    def leave(self, now: int, reason: str) -> list[Action]:
        """This replica is to leave. If it may be live already, or the guest ends anyway, that has
        to show first."""
        self._leaving = reason
        if self.state in (
            State.CLAIMING, State.LIVE, State.DRAINED, State.FINISHED, State.STOPPED
        ):  # fmt: skip
            return []
        if self.state is State.JOINING:
            return self._stop(reason)
        known = self.state in (State.FOLLOWING, State.TAKING_OVER)  # the primary has the guest
        return [Send(Goodbye(reason)), *self._stop(reason, orderly=known)]

    def tick(self, now: int) -> list[Action]:
        """Time has passed."""
        silent = self._silent(now)
        match self.state:
            case State.JOINING:
                if now - self._started >= self.timing.patience:
                    return self._stop("no primary answered; is one listening there?")
                if now - self._asked >= self.timing.interval:
                    return [self._hello(now)]
            case State.READY if silent:
                return self._stop("the primary was lost before its guest had started")
            case State.FOLLOWING | State.TAKING_OVER if silent and now >= self._still_until:
                return [Tell("the primary does not answer"), *self._claim()]
            case State.FOLLOWING | State.TAKING_OVER | State.DRAINED:
                return self._heartbeat(now) + self._progress(now)
            case State.PARTED:
                if now >= self._still_until + self._deference:
                    return self._claim()
                return self._progress(now)
            case State.CLAIMING:
                return self._retry_claim(now)
        return []

    # Inside

    def _query(self, now: int) -> Query:
        return Query(now, 0, 0)

    def _hello(self, now: int) -> Action:
        self._asked = now
        next = self.received_entries
        return Send(Hello(PROTOCOL, self._instance, self._image, next, self._arbitrated))

    def _answer(self, now: int, sent: int, lease: int) -> Action:
        """Answer, which promises not to go live for the lease."""
        if self.state in (State.FOLLOWING, State.TAKING_OVER):
            lease = min(lease, self.timing.max_lease)
            self._still_until = max(self._still_until, now + self.timing.promise(lease))
        else:
            lease = 0
        self._told, self._told_at = self.executed, now
        return Send(Answer(sent, lease, self.received_entries, self.executed))

    def _progress(self, now: int) -> list[Action]:
        if self.executed == self._told or now - self._told_at < _PROGRESS_INTERVAL:
            return []
        self._told, self._told_at = self.executed, now
        return [Send(Answer(0, 0, self.received_entries, self.executed))]

    def _welcomed(self, message: Welcome) -> list[Action]:
        if message.version != PROTOCOL:
            return self._stop(f"the primary speaks protocol {message.version}, not {PROTOCOL}")
        if message.next != self.received_entries:
            return []
        if self.state is State.JOINING:
            self._to(State.READY)
            self.generation = message.generation
            return [Start(message.config), Send(Answer(0, 0, self.received_entries, self.executed))]
        if self.state is State.PARTED:
            self._to(State.FOLLOWING)
        return []

    def _batch(self, now: int, message: Batch) -> list[Action]:
        if self.state not in (State.FOLLOWING, State.PARTED):
            return []
        try:
            first, entries = codec.decode(message.entries)
        except LogError as error:
            return self.diverged(now, str(error))
        if first > self.received_entries:
            # Something before it got lost; this answer tells.
            return [self._answer(now, message.sent, message.lease)]
        fresh = entries[self.received_entries - first :]
        for sequence, entry in enumerate(fresh, self.received_entries):
            if entry[0] in OUTPUTS:
                self.outputs.append(sequence)
                if entry[0] == Kind.END:
                    self.ended = sequence
        self.received_entries += len(fresh)
        answer = self._answer(now, message.sent, message.lease)
        deliver: list[Action] = [Deliver(fresh)] if fresh else []
        return [answer, *deliver, *self._forget(message.released)]

    def _forget(self, released: int) -> list[Action]:
        released = min(released, self.received_entries)
        if released <= self.released:
            return []
        self.released = released
        while self.outputs and self.outputs[0] < released:
            self.outputs.popleft()
        return [Forget(released)]

    def _take_over(self) -> list[Action]:
        """Claim once everything is executed; the primary has stopped and releases nothing."""
        if self.executed < self.received_entries:
            return []
        return self._claim(alone=False)

    def _done(self) -> list[Action]:
        if self.ended is None or self.executed <= self.ended:
            return []
        self._to(State.FINISHED)
        return [Done()]

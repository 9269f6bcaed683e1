"""The primary's side of one secondary."""

from __future__ import annotations

from collections import deque

from vlockstep.machine.basis import NOWHERE, Basis
from vlockstep.protocol.hearing import Hearing
from vlockstep.protocol.journal import Batch
from vlockstep.protocol.messages import Answer
from vlockstep.protocol.timing import Timing

_ROUND_TRIPS = 4
"""So many are remembered."""


class Follower:
    """What a secondary has received and executed, what it was sent and when, what it has promised,
    and whether it is heard.

    It has `received` entries, as far as is known before it says so. Only while it is `following`
    is anything sent to it."""

    def __init__(self, timing: Timing, received: int, now: int) -> None:
        self.received = received
        self.executed = received
        self.endpoint = ""
        """Where other members reach it."""
        self.basis: Basis = NOWHERE
        self.following = False
        """It said Hello to this primary, and its connection stands."""
        self.ready = False
        """It has answered, and so has a guest."""
        self.finished = False
        """It knows that the guest has ended, or is not heard any more."""
        self.left = ""
        """Why it has left for good, if it has said so."""
        self.parted: int | None = None
        """Since when its connection is lost."""
        self.lease_until = 0
        self.hearing = Hearing(now, timing.starting_interval)
        self.asked = now
        """When it was last sent something to answer."""
        self._timing = timing
        self._sent: deque[tuple[int, int]] = deque()
        """The end of each batch that is not acknowledged, and when it was sent last."""
        self._pace: deque[tuple[int, int]] = deque()
        """Which entries were made when that are not executed."""
        self._round_trips = deque([0], maxlen=_ROUND_TRIPS)

    def rule(self, now: int) -> None:
        """Its primary rules from now on: listen to it more closely."""
        self.hearing = Hearing(now, self._timing.interval)

    @property
    def round_trip(self) -> int:
        """How long the last answer took."""
        return self._round_trips[-1]

    def lease(self, allowance: int) -> int:
        """The lease to ask for: twice the last round trip, and an `allowance` for outputs that take
        their time. What counts as dead limits it, unless no answer comes as fast as that."""
        wanted = 2 * self.round_trip + allowance
        limit = max(self._timing.dead, 2 * min(self._round_trips) + allowance)
        return min(max(self._timing.min_lease, wanted), limit)

    def renewal(self, allowance: int) -> int:
        """When to ask for another lease, so that outputs which take their time find one."""
        lease = self.lease(allowance)
        return max(self.lease_until - lease // 2, self.asked + lease // 4)

    def lag(self, now: int) -> int:
        """By how many nanoseconds its execution is behind."""
        return now - self._pace[0][1] if self._pace else 0

    def slow(self, now: int) -> bool:
        """Whether the guest has to wait for it."""
        return self.lag(now) - self.round_trip > self._timing.max_lag

    def made(self, now: int, next: int) -> None:
        """The guest has made the entries before `next`."""
        self._pace.append((next, now))

    def sent(self, now: int, batches: list[Batch]) -> None:
        self._sent.extend((batch.end, now) for batch in batches)
        self.asked = now

    def sent_again(self, now: int, batches: list[Batch]) -> None:
        """All that it does not have."""
        self._sent.clear()
        self.sent(now, batches)

    def answered(self, now: int, answer: Answer) -> bool:
        """Whether something that it was sent got lost."""
        if answer.echo:
            self._round_trips.append(now - answer.echo)
            self.lease_until = max(self.lease_until, answer.echo + answer.lease)
        self.received = max(self.received, answer.received)
        self.executed = max(self.executed, answer.executed)
        while self._sent and self._sent[0][0] <= self.received:
            self._sent.popleft()
        while self._pace and self._pace[0][0] <= self.executed:
            self._pace.popleft()
        return bool(self._sent) and self._sent[0][1] < answer.echo

"""When the rounds are over in which a guest's RAM is sent while it runs.

Each brings what the guest has written in the one before. By the method `log` the rest is copied in
memory, and the guest runs on: its inputs follow. By `precopy` nothing is logged: the guest stands
while the rest is sent, until it runs at its destination. That takes as long as the network needs
for the rest, so a guest that writes about as fast as it is sent has to be throttled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from vlockstep.errors import HostError, UsageError
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.timing import MILLISECOND, SECOND

LOG, PRECOPY = METHODS = ("log", "precopy")
DOWNTIME_MS = 300
"""As QEMU has it."""
_SHRUNK = 0.8
_STUBBORN = 2
"""So many rounds in a row that shrink less than to `_SHRUNK` of the one before, and there is no
use in another one; nor if it is the first, the longest."""
_FIRST_RATE = 2_000_000_000
"""Bytes a second that are copied in memory, as long as that was not measured."""
_LONGEST = 60 * SECOND
_TAKEN_OVER = 2 * SECOND
"""So much longer than the rest takes a guest may stand that is to be taken over."""
_FAST = 0.5
"""A guest writes fast that has written this part of what a round brought."""
_FIRST, _STEP, _MOST = 20, 10, 99
"""Percent of the time, as QEMU has them."""
_SLICE = 10 * MILLISECOND
"""For which a throttled guest runs."""


@dataclass(frozen=True)
class Precopy:
    """How a guest moves that is not logged meanwhile. It stands once what is left of its RAM can be
    sent within a `downtime`, in nanoseconds; if it writes too fast for that it is slowed, if it is
    to be `throttled`. Raises `UsageError` for a downtime that is none."""

    downtime: int = DOWNTIME_MS * MILLISECOND
    throttled: bool = True

    def __post_init__(self) -> None:
        if not MILLISECOND <= self.downtime <= _LONGEST:
            raise UsageError(
                f"a guest that moves may stand for 1 ms to {_LONGEST // SECOND} s, "
                f"and not for {self.downtime / MILLISECOND:g} ms"
            )

    @property
    def limit(self) -> int:
        """For how long it stands at the most before it goes on where it was."""
        return self.downtime + _TAKEN_OVER


class Round(NamedTuple):
    """One that is over. The newcomer took its `size` in bytes within `time` nanoseconds; `left` is
    what the guest has written since it began; its `number` is 0 for the first."""

    size: int
    time: int
    left: int
    number: int


class Rounds(Protocol):
    """Decides on them."""

    stays: ClassVar[bool]
    """The guest stands where its state is taken."""

    @property
    def throttle(self) -> Throttle: ...

    def over(self, now: int, last: Round) -> bool:
        """Whether to take the guest's state now. Raises `HostError` if that will never do."""

    def too_much(self, left: int, count: int) -> bool:
        """So many bytes are left where the guest's state is to be taken: whether another round is
        better."""

    def copied(self, size: int, time: int) -> None:
        """Bytes were copied in memory, in so many nanoseconds."""

    def pause(self, left: int) -> int | None:
        """For how many nanoseconds so many bytes would hold the guest; None if that is not known
        yet."""


class Throttle:
    """Lets a guest stand for so many `percent` of the time."""

    def __init__(self) -> None:
        self.percent = 0
        self._since = 0

    def tighten(self, now: int) -> bool:
        """By a step; False if that is not possible."""
        if self.percent == _MOST:
            return False
        self.percent = min(_MOST, self.percent + _STEP) if self.percent else _FIRST
        self._since = now
        return True

    def stands(self, now: int) -> bool:
        return bool(self.percent) and (now - self._since) % self._period >= _SLICE

    def next(self, now: int) -> int:
        """When that changes."""
        if not self.percent:
            return NEVER
        gone = (now - self._since) % self._period
        return now - gone + (_SLICE if gone < _SLICE else self._period)

    @property
    def _period(self) -> int:
        return _SLICE * 100 // (100 - self.percent)


class CopiedRest:
    """The guest is held for a `pause`, in nanoseconds, while the rest is copied in memory; for
    longer if it writes about as fast as it is sent, and after the `most` rounds."""

    stays: ClassVar[bool] = False

    def __init__(self, pause: int, most: int, size: int) -> None:
        """`size` is that of the first round, in bytes."""
        self.throttle = Throttle()
        self._pause = pause
        self._most = most
        self._size = size
        self._stubborn = 0
        self._copied, self._copying = _FIRST_RATE, SECOND
        """Bytes that were copied, and nanoseconds that it took."""

    def over(self, now: int, last: Round) -> bool:
        shrunk = last.left <= self._size * _SHRUNK
        self._stubborn = 0 if shrunk else self._stubborn + (_STUBBORN if last.number == 0 else 1)
        self._size = last.left
        return last.left <= self._limit or self._useless(last.number)

    def too_much(self, left: int, count: int) -> bool:
        return left > 2 * self._limit and not self._useless(count)

    def copied(self, size: int, time: int) -> None:
        self._copied += size
        self._copying += time

    def pause(self, left: int) -> int | None:
        return left * self._copying // max(1, self._copied)

    @property
    def _limit(self) -> int:
        """Bytes that can be copied within the pause."""
        return self._pause * self._copied // max(1, self._copying)

    def _useless(self, count: int) -> bool:
        """No other round is of use."""
        return self._stubborn >= _STUBBORN or count >= self._most


class SentRest:
    """The guest stands while the rest is sent. After `most` rounds in which it could not be slowed
    any more, it does not move."""

    stays: ClassVar[bool] = True

    def __init__(self, plan: Precopy, most: int) -> None:
        self.throttle = Throttle()
        self._plan = plan
        self._most = most
        self._size = self._time = 0
        """Of the last round."""
        self._fast = 0
        """Rounds in a row in which the guest wrote fast."""
        self._vain = 0
        """Rounds since it was slowed last."""

    def over(self, now: int, last: Round) -> bool:
        if last.size:
            self._size, self._time = last.size, last.time
        if self._fits(last.left) and self._vain < self._most:
            return True
        self._vain += 1
        self._fast = self._fast + 1 if last.left > last.size * _FAST else 0
        if self._fast > 1 and self._plan.throttled and self.throttle.tighten(now):
            self._vain = 0
        if self._vain >= self._most:
            raise HostError(self._why_not(last))
        return False

    def too_much(self, left: int, count: int) -> bool:
        much = not self._fits(left)
        self._vain += much
        return much

    def copied(self, size: int, time: int) -> None: ...

    def pause(self, left: int) -> int | None:
        return left * self._time // self._size if self._size else None

    def _fits(self, left: int) -> bool:
        """It can be sent within the downtime."""
        return left * self._time <= self._plan.downtime * self._size

    def _why_not(self, last: Round) -> str:
        slowed = f", slowed by {self.throttle.percent} %" if self.throttle.percent else ""
        seconds = max(1, self._time) / SECOND
        return (
            f"the guest{slowed} writes {last.left / seconds / 1e6:.0f} MB/s and the network takes "
            f"{self._size / seconds / 1e6:.0f} MB/s: after {last.number + 1} rounds there is still "
            f"more left than can be sent in {self._plan.downtime / MILLISECOND:g} ms; "
            "move it by the method log, which ends however fast it writes"
        )

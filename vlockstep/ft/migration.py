"""A replica on its way to another host: another one joins the guest there, takes over if this is
the primary, and this one leaves.

Until then the guest is here, whatever fails. See `protocol` for what happens on the way; here it is
only led from step to step, watched, and told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from vlockstep.ft import events
from vlockstep.ft.rounds import LOG, PRECOPY, Precopy
from vlockstep.ft.transfer import Transfer
from vlockstep.protocol.primary import Primary
from vlockstep.protocol.secondary import Secondary
from vlockstep.protocol.states import State
from vlockstep.protocol.timing import MILLISECOND, SECOND

_TELL_EVERY = 100 * MILLISECOND
_CONNECT_LIMIT = 10 * SECOND
_CHECK_LIMIT = 20 * SECOND
_JOIN_LIMIT = 120 * SECOND
"""So long a secondary waits for another one to become a member, which it cannot watch."""
_FOLLOW_LIMIT = 5 * SECOND
"""So long who has handed over waits to follow, before it leaves."""


class Phase(Enum):
    """Where a migration is."""

    CONNECTING = "reaching the destination"
    CHECKING = "asking whether the guest can run there"
    DISKS = "sending the disks"
    MEMORY = "sending the memory"
    STANDING = "sending the rest while the guest stands"
    CATCHING_UP = "letting the destination catch up"
    SWITCHING = "handing the guest over"
    LEAVING = "leaving"
    DONE = "done"
    FAILED = "failed"


_JOINING = (Phase.CHECKING, Phase.DISKS, Phase.MEMORY, Phase.STANDING, Phase.CATCHING_UP)


class Mover(Protocol):
    """What a migration moves: a replica."""

    @property
    def role(self) -> Primary | Secondary: ...

    @property
    def transfer(self) -> Transfer | None: ...

    def drop(self, member: str, reason: str) -> None: ...

    def switch_over(self, wanted: str = "") -> None: ...

    def leave(self, reason: str) -> None: ...


@dataclass
class Report:
    """What a migration took: nanoseconds in all, and if the guest went along, those for which it
    was held while its state was copied, and from when it stood still to when it had been taken
    over; bytes of RAM in so many rounds, bytes of disks, and entries that there were then. By how
    many percent it was slowed at the most."""

    role: str = ""
    """In which this replica was."""
    method: str = LOG
    total: int = 0
    pause: int = 0
    gap: int = 0
    bytes: int = 0
    rounds: int = 0
    disk_bytes: int = 0
    entries: int = 0
    throttle: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON, times in milliseconds."""
        return {
            "role": self.role,
            "method": self.method,
            "total_ms": self.total / MILLISECOND,
            "pause_ms": self.pause / MILLISECOND,
            "gap_ms": self.gap / MILLISECOND,
            "bytes": self.bytes,
            "rounds": self.rounds,
            "disk_bytes": self.disk_bytes,
            "entries": self.entries,
            "throttle": self.throttle,
        }


class Migration:
    """Moves a replica to the one that waits at `endpoint`, with a log of what its guest does
    meanwhile, or by `precopy`. `answer` gets why it failed, or "", once."""

    def __init__(
        self,
        replica: Mover,
        endpoint: str,
        now: int,
        observe: Callable[[events.Event], None],
        answer: Callable[[str, Report], None],
        precopy: Precopy | None = None,
    ) -> None:
        self.endpoint = endpoint.partition(" ")[2] or endpoint
        self.phase = Phase.CONNECTING
        role = "primary" if isinstance(replica.role, Primary) else "secondary"
        self.report = Report(role, LOG if precopy is None else PRECOPY)
        self._precopy = precopy
        self._expected_pause: int | None = None
        self._left: int | None = None
        self._replica = replica
        self._target = ""
        """The replica there."""
        self._observe = observe
        self._answer = answer
        self._began = self._since = now
        self._told = 0
        self._last: events.Migrating | None = None
        self._held: int | None = None
        self._first = 0
        """The entry before which the guest's state was taken."""

    @property
    def over(self) -> bool:
        return self.phase in (Phase.DONE, Phase.FAILED)

    def __str__(self) -> str:
        return f"to {self.endpoint}: {self.phase.value}"

    def deadline(self) -> int:
        """When to look again at the latest."""
        return self._told + _TELL_EVERY

    def precopy_of(self, newcomer: str) -> Precopy | None:
        """How the guest's state is sent to a replica, if not with a log."""
        return self._precopy if newcomer == self._target else None

    # What happens

    def reached(self, target: str) -> None:
        """The destination has told who it is."""
        if self.phase is not Phase.CONNECTING:
            return
        if target in self._replica.role.ruling().members:
            self._fail(f"what is at {self.endpoint} is a replica of the guest already")
            return
        self._target = target
        self._enter(Phase.CHECKING)

    def refused(self, replica: str, reason: str) -> None:
        """A replica cannot join."""
        if self.phase in _JOINING and replica == self._target:
            self._fail(reason)

    def answered(self, generation: int, reason: str) -> None:
        """The switchover came about, or not."""
        if self.phase is not Phase.SWITCHING:
            return
        if generation:
            self._enter(Phase.LEAVING)
        else:
            self._replica.drop(self._target, "the guest was not moved there")
            self._fail(reason)

    def cancel(self, reason: str) -> bool:
        """Let the guest stay here, if it still can."""
        if self.phase in (Phase.SWITCHING, Phase.LEAVING, Phase.DONE):
            return False
        if not self.over:
            self._fail(reason)
            self._replica.drop(self._target, reason)
        return True

    def look(self, now: int) -> None:
        """Do what is next, and tell of it; also, once, that it has failed meanwhile."""
        if self.over:
            if self.phase is Phase.FAILED:
                self._tell(now)
            return
        self.report.total = now - self._began
        role, transfer = self._replica.role, self._replica.transfer
        if transfer is not None and transfer.to == self._target:
            self.report.bytes, self.report.rounds = transfer.bytes, transfer.rounds
            self.report.disk_bytes = transfer.disk_bytes
            self.report.pause, self.report.throttle = transfer.pause, transfer.throttle
            self._expected_pause, self._left = transfer.expected_pause, transfer.left
            self._held = transfer.stands_since
            if transfer.state is not None:
                self._first = transfer.state.next
            if self.phase is Phase.CHECKING and transfer.copies_disks:
                self._enter(Phase.DISKS)
            if self.phase in (Phase.CHECKING, Phase.DISKS) and not transfer.copies_disks:
                self._enter(Phase.MEMORY)
            if self.phase is Phase.MEMORY and transfer.sent and self._precopy is None:
                self._enter(Phase.CATCHING_UP)
        if self.phase is Phase.CONNECTING and now > self._began + _CONNECT_LIMIT:
            self._fail(f"nobody answers at {self.endpoint}")
        elif isinstance(role, Primary):
            self._look_at_primary(now, role)
        elif self.phase is Phase.LEAVING:
            self._look_at_secondary(now, role)
        elif self._target in role.members and role.state is State.FOLLOWING:
            self._finish(now)
        elif self.phase is Phase.CHECKING and now > self._began + _JOIN_LIMIT:
            self._fail(f"what is at {self.endpoint} did not join")
        if now >= self._told + _TELL_EVERY:
            self._tell(now)

    def _look_at_primary(self, now: int, primary: Primary) -> None:
        if self.phase is Phase.SWITCHING:
            if primary.state is State.HANDED_OVER and self._held is None:
                self._held = now
            return
        joined = self._target in primary.ruling().members and primary.state is State.PROTECTED
        stood = self._precopy is not None and self._has_state(primary)
        swaps = primary.state in (State.HOLDING, State.HANDED_OVER)
        if stood and not primary.stands and not swaps:
            reason = "it had to go on before it was taken over there"
            self._fail(reason)
            self._replica.drop(self._target, reason)
        elif stood and self.phase is Phase.MEMORY:
            self._enter(Phase.STANDING)
        elif joined and self._target:
            self._enter(Phase.SWITCHING)
            self.report.entries = primary.next - self._first
            self._replica.switch_over(self._target)
        elif self.phase is Phase.CHECKING and now > self._began + _CHECK_LIMIT:
            joins = primary.joiner is not None and primary.joiner.name == self._target
            if not joins:
                self._fail(f"what is at {self.endpoint} does not ask to join")

    def _has_state(self, primary: Primary) -> bool:
        """The guest's state was taken for the destination."""
        if self._target in primary.ruling().members:
            return True
        joiner = primary.joiner
        return joiner is not None and joiner.name == self._target and joiner.captured

    def _look_at_secondary(self, now: int, secondary: Secondary) -> None:
        if self._held is not None and not self.report.gap:
            self.report.gap = now - self._held
            self._since = now
        if secondary.state is State.FOLLOWING or now > self._since + _FOLLOW_LIMIT:
            self._finish(now)

    def _finish(self, now: int) -> None:
        self._enter(Phase.DONE)
        self._tell(now)
        self._answer("", self.report)
        self._replica.leave(f"the guest has moved to {self.endpoint}")

    # Telling

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._told = 0

    def _fail(self, reason: str) -> None:
        self._enter(Phase.FAILED)
        self._answer(reason, self.report)

    def _tell(self, now: int) -> None:
        self._told = now
        role = self._replica.role
        lag = role.lag(now)[0] if isinstance(role, Primary) else 0
        told = events.Migrating(
            self.phase.name.lower(),
            self.phase.value,
            self.report.bytes + self.report.disk_bytes,
            self.report.rounds,
            lag,
            self.report.throttle,
            None if self._expected_pause is None else self._expected_pause / MILLISECOND,
            self._left,
        )
        if told != self._last:
            self._last = told
            self._observe(told)

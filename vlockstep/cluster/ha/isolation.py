"""What a host does with its guests when it reaches no other host, nor anything else.

Theory of operation. The host's guests may be ended, so that hosts that are not cut off start them
again. That is of use only where somebody will: where a master owns the datastore on which the guest
is at home, or may own it, since it cannot be reached from here. It is of harm where no master does.
When the isolation has lasted for long enough is decided elsewhere; once it ends nothing more is
done.

A guest is marked before it is ended, so that the master knows that no user has ended it, and taken
from the list of what runs here once it has; not until then may others start it. What was fenced
meanwhile, as somebody else owns the guest now, is ended without a mark.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import NamedTuple

from vlockstep.cluster.model import Guest, Priority
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.timing import SECOND


class Response(StrEnum):
    """Let the guest run, end it at once, or let it end in order if it does in time."""

    NONE = "none"
    POWER_OFF = "power off"
    SHUT_DOWN = "shut down"


@dataclass(frozen=True)
class IsolationPolicy:
    """What a guest gets that has no response of its own in `guests`."""

    response: Response = Response.NONE
    guests: Mapping[str, Response] = field(default_factory=dict)

    def of(self, guest: Guest) -> Response:
        if guest.priority is Priority.DISABLED:
            return Response.NONE
        return self.guests.get(guest.name, self.response)


@dataclass(frozen=True)
class IsolationTiming:
    """Times are in nanoseconds of a monotonic clock."""

    shutdown: int = 300 * SECOND
    """So long a guest may take to shut down."""

    def faster(self, by: int) -> IsolationTiming:
        return replace(self, shutdown=self.shutdown // by)


class Home(Enum):
    """The datastore on which a guest's configuration is, as it looks from here."""

    OWNED = "a master owns it"
    UNOWNED = "no master owns it"
    UNREACHABLE = "cannot be reached"


class Local(NamedTuple):
    """A guest that is live on this host."""

    guest: Guest
    home: Home


@dataclass(frozen=True)
class Mark:
    """Write that HA ends this guest."""

    guest: str


@dataclass(frozen=True)
class Unmark:
    """Take that back: it goes on."""

    guest: str


@dataclass(frozen=True)
class PowerOff:
    guest: str


@dataclass(frozen=True)
class ShutDown:
    """Let it end in order."""

    guest: str


@dataclass(frozen=True)
class Unlist:
    """It has ended: write the list of what runs here without it."""

    guest: str


Action = Mark | Unmark | PowerOff | ShutDown | Unlist


class Isolation:
    """Of one host. Actions are carried out in order, each when the one before is done; guests have
    ended when `tick` has them no more."""

    def __init__(self, policy: IsolationPolicy, timing: IsolationTiming) -> None:
        self._policy = policy
        self._timing = timing
        self._now = 0
        self._responding = False
        self._ending: dict[str, int] = {}
        """Guests that are to end, and until when they may do it in order."""

    def respond(self) -> None:
        """The host is isolated, and has been for long enough."""
        self._responding = True

    def cancel(self) -> None:
        """Another host, or an isolation address, was heard."""
        self._responding = False

    def deadline(self) -> int:
        """When to tick next, if nothing changes before."""
        return min((time for time in self._ending.values() if time > self._now), default=NEVER)

    def tick(self, now: int, running: Collection[Local]) -> list[Action]:
        """`running` are all guests that are live here. Also to be called when that, or one of their
        homes, is another, and after `respond`."""
        self._now = now
        live = {local.guest.name for local in running}
        return [
            *self._ended(live),
            *self._late(now),
            *(action for local in running for action in self._respond(now, local)),
        ]

    def fenced(self, guests: Collection[str]) -> list[Action]:
        """Others own these guests now: what runs here of them is a copy that nobody hears."""
        late = [guest for guest in guests if self._ending.get(guest) != NEVER]
        self._ending.update(dict.fromkeys(late, NEVER))
        return [PowerOff(guest) for guest in late]

    def _ended(self, live: Collection[str]) -> Iterator[Action]:
        for guest in [guest for guest in self._ending if guest not in live]:
            del self._ending[guest]
            yield Unlist(guest)

    def _late(self, now: int) -> Iterator[Action]:
        """Who has not shut down in time: no matter any more, if the isolation is over."""
        for guest in [guest for guest, until in self._ending.items() if until <= now]:
            if not self._responding:
                del self._ending[guest]
                yield Unmark(guest)
            else:
                self._ending[guest] = NEVER
                yield PowerOff(guest)

    def _respond(self, now: int, local: Local) -> Iterator[Action]:
        name, response = local.guest.name, self._policy.of(local.guest)
        if (
            not self._responding
            or response is Response.NONE
            or local.home is Home.UNOWNED
            or name in self._ending
        ):
            return
        if local.home is Home.OWNED:
            yield Mark(name)
        if response is Response.SHUT_DOWN:
            self._ending[name] = now + self._timing.shutdown
            yield ShutDown(name)
        else:
            self._ending[name] = NEVER
            yield PowerOff(name)

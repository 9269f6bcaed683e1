"""What a monitor asks for. Whoever drives it carries these out in order."""

from __future__ import annotations

from dataclasses import dataclass

from vlockstep.cluster.ha.messages import Message
from vlockstep.cluster.ha.states import Availability


@dataclass(frozen=True, slots=True)
class Send:
    """To the host `to`, if it can be reached."""

    to: str
    message: Message


@dataclass(frozen=True, slots=True)
class PingHost:
    """See whether the host's computer answers on the management network; tell with
    `host_answered` if it does."""

    host: str


@dataclass(frozen=True, slots=True)
class PingAddress:
    """The same of an isolation address; tell with `address_answered`."""

    address: str


@dataclass(frozen=True, slots=True)
class Watch:
    """From now on read again and again, at least with every datastore heartbeat, what these hosts,
    and no others, write on their heartbeat datastores; tell with `storage_read` whatever can be
    read."""

    hosts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Became:
    """This host's own state, and who is master in it. What was said of other hosts is void, but for
    a host that is master: then it is yet to come."""

    state: Availability
    master: str | None


@dataclass(frozen=True, slots=True)
class Ready:
    """Master: hosts had time to join. A guest that is owned, and that no host runs that lives, may
    be started from now on."""


@dataclass(frozen=True, slots=True)
class HostState:
    """Master: the host is now in this state."""

    host: str
    state: Availability


@dataclass(frozen=True, slots=True)
class Declare:
    """Write at once, and from now on, poweron files that say whether this host is isolated."""

    isolated: bool


@dataclass(frozen=True, slots=True)
class Respond:
    """Carry out the isolation response of each guest, now."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """The isolation is over: stop no guest any more because of it."""


@dataclass(frozen=True, slots=True)
class Acquire:
    """Master: try to lock the datastore's protectedlist; tell with `acquired` if it is, each time
    that this is asked, and with `ownership_lost` when its lease ran out. Asked with every datastore
    heartbeat as long as it is not."""

    datastore: str


@dataclass(frozen=True, slots=True)
class Release:
    """Unlock it, if it is locked, and write it no more."""

    datastore: str


Action = (
    Send | PingHost | PingAddress | Watch | Became | Ready | HostState | Declare | Respond | Cancel
    | Acquire | Release
)  # fmt: skip

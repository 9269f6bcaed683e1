"""What a role asks for. Whoever drives it carries these out in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vlockstep.machine.position import BOOT, Position
from vlockstep.protocol.messages import Message
from vlockstep.replay.entry import Entry

NEVER = 1 << 63


@dataclass(frozen=True, slots=True)
class Send:
    """To the replica `to`, wherever it is connected."""

    message: Message
    to: str


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to the replica `member` at `endpoint`, unless there is a connection."""

    member: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Start:
    """Let the guest run; a secondary's with this configuration."""

    config: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Announce:
    """Primary: let the network send the guest's frames here."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Secondary: feed these to the guest; `content` is how they were encoded, from entry `first`
    on."""

    first: int
    entries: list[Entry]
    content: bytes


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
    """Ask the arbiter for the generation after `expected`, whose members are those of `expected`
    but for who is left out and who is taken in; answer with `arbiter_answered`."""

    expected: int
    leave_out: frozenset[str] = frozenset()
    take_in: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Hold:
    """Primary: stop the guest in its next exit, before it is logged; answer with `held`."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Primary: let the guest that was held go on."""


@dataclass(frozen=True, slots=True)
class Follow:
    """The old primary: follow the new one, `owner` of `generation`, from entry `next` on. The guest
    `stands` where it was held."""

    generation: int
    owner: str
    next: int
    stands: Position


@dataclass(frozen=True, slots=True)
class GoLive:
    """Secondary: become primary after the last entry received, with these other `members`. No
    interrupt may come before `not_before`: the guest of one of them stands there."""

    generation: int
    members: frozenset[str]
    not_before: Position = BOOT


@dataclass(frozen=True, slots=True)
class Transfer:
    """Primary: send the state of the guest to the newcomer `to`, while the guest runs; tell with
    `captured` at which entry it was taken."""

    to: str


@dataclass(frozen=True, slots=True)
class StopTransfer:
    """Primary: send no more of it: the newcomer cannot join, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Load:
    """Newcomer: make the guest with this configuration of the state that comes; tell with `loaded`
    when it is there."""

    config: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Notice:
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
    """Never emit anything again; leave. `orderly`: as asked, and nothing is lost by it."""

    reason: str
    orderly: bool = False


Action = (
    Send | Dial | Start | Announce | Deliver | Release | Forget | Claim | Hold | Resume | Follow
    | GoLive | Transfer | StopTransfer | Load | Notice | Reply | Done | Stop
)  # fmt: skip

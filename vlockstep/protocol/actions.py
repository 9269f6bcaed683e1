"""What a role asks for. Whoever drives it carries these out in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vlockstep.arbiter.rule import Record
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
    but for who is left out and who is taken in, by where it is reached, and whose disks are where
    they were but for those that have `moved`; its guest starts `afresh`, or goes on. The record
    tells the `cause`, which changes nothing. Answer with `arbiter_answered`."""

    expected: int
    leave_out: frozenset[str] = frozenset()
    take_in: Mapping[str, str] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)
    afresh: bool = False
    cause: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Renew:
    """Ask the arbiter to renew the lease of `record`: to raise its token, which stood at `token`
    last, to `next`. Answer with `lease_answered`, before another one is asked for."""

    record: Record
    token: int
    next: int


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
    interrupt may come before `not_before`: the guest of one of them stands there. `disks` are the
    files of those disks that have moved."""

    generation: int
    members: frozenset[str]
    not_before: Position = BOOT
    disks: Mapping[str, str] = field(default_factory=dict)


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
    when it is there. `disks` are the files of those disks that have moved."""

    config: dict[str, Any]
    disks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenDisk:
    """Secondary: open the file `path`, which the primary has locked with this `token`, as what
    `disk` may be soon; tell with `opened`. It takes the place of any that was opened before."""

    sent: int
    disk: str
    path: str
    token: int


@dataclass(frozen=True, slots=True)
class UseDisks:
    """Either: the arbiter says that those disks that have moved are in these files: go on with the
    one that was opened, if it is among them, and else let go of it."""

    disks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Agreed:
    """Primary: every other member has opened the file to which the disk is to move. Once each write
    is made to both files or fails, tell with `decide_disk`."""


@dataclass(frozen=True, slots=True)
class KeepDisk:
    """Primary: the disk that was to move stays where it is, for this reason."""

    reason: str


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
    Send | Dial | Start | Announce | Deliver | Release | Forget | Claim | Renew | Hold | Resume
    | Follow | GoLive | Transfer | StopTransfer | Load | OpenDisk | UseDisks | Agreed | KeepDisk
    | Notice | Reply | Done | Stop
)  # fmt: skip

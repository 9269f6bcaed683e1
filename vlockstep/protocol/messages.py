"""What replicas say to each other.

On the wire a message is the CRC-32 of the rest, and then what `wire.codec` makes of it. The first
message of each side on a connection, `Iam`, has the protocol version.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from vlockstep.machine.basis import is_basis
from vlockstep.wire.codec import MAX_MESSAGE, Codec, MessageError
from vlockstep.wire.keys import Party

PROTOCOL = 9


@dataclass(frozen=True, slots=True)
class Iam:
    """Either: this connection leads to the replica `instance`. The first word on each connection,
    of who made it and then of the other one; `instance` is unlike that of any other replica, and
    the same for all its life."""

    version: int
    instance: str


@dataclass(frozen=True, slots=True)
class Who:
    """Either: I do not know whose connection this is; say Iam."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Secondary: I want to follow, from entry `next` on; `origin` is the generation that made the
    entry before it, 0 if none did. Said at the start, when a connection stands again, and to each
    new primary. `guest` is the arbiter's name for the guest; `endpoint` is where other members
    reach this one, "" if nowhere. `basis` is `machine.basis`'s."""

    image: str
    next: int
    origin: int
    guest: str
    endpoint: str
    basis: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Welcome:
    """Primary: follow. `config` is the guest's, `next` the entry that comes first; `generation` is
    0 before the guest has begun."""

    generation: int
    next: int
    config: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Primary: you cannot follow me."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ruling:
    """Either: `generation` is ruled by `owner`. `members` are all who may claim the next one, each
    with where it is reached. Said by the owner when it begins to rule and when somebody follows
    it, and to whoever speaks of an older generation. From the owner `disks` are the files of those
    disks that have moved."""

    generation: int
    owner: str
    members: dict[str, str]
    disks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """Primary of `generation`: entries, made under the generation `origin`. The other fields are
    those of `Query`."""

    generation: int
    sent: int
    lease: int
    released: int
    stable: int
    origin: int
    entries: bytes


@dataclass(frozen=True, slots=True)
class Query:
    """Either: are you there? `sent` is the clock of who asks. A primary tells for how long the
    answer shall permit it to release more (`lease`), the number of entries whose outputs it has
    released, and of those that every member has received (`stable`). A secondary's are 0."""

    generation: int
    sent: int
    lease: int
    released: int
    stable: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Either: I am. `echo` and `lease` are those of what this answers, 0 if nothing; `received`
    and `executed` are how many entries the secondary has."""

    echo: int
    lease: int
    received: int
    executed: int


@dataclass(frozen=True, slots=True)
class Have:
    """Secondary to another one: I have received so many entries, and hear the owner of
    `generation` or not. `asks`: what about you?"""

    generation: int
    received: int
    hears: bool
    asks: bool


@dataclass(frozen=True, slots=True)
class Handover:
    """Primary: I stopped after `next` entries, every output is released: go live. My guest has
    executed up to the position (`exits`, `blocks`): interrupt yours no earlier."""

    next: int
    exits: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Primary: the guest ended and all its outputs are released."""

    sent: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Primary: the guest is ended here, as somebody asked; end it, too."""

    sent: int
    reason: str


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Either: I stop for good, and will not go live."""

    reason: str


@dataclass(frozen=True, slots=True)
class Switchover:
    """An operator, or a secondary on an operator's behalf: swap roles."""


@dataclass(frozen=True, slots=True)
class SwitchoverDone:
    """To the operator: how it went. `generation` is 0 if it failed."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class EndGuest:
    """A secondary, on somebody's behalf: end the guest."""

    reason: str


@dataclass(frozen=True, slots=True)
class Join:
    """Primary: the guest runs, and its state follows: RAM, while it runs on, then the rest.
    `config` is as in `Welcome`, `disks` as in `Ruling`."""

    generation: int
    config: dict[str, Any]
    disks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Invite:
    """To a replica that waits for a guest: join the primary's that is reached at `endpoint`; "" if
    I am the primary."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Later:
    """Primary: you can join, but another one joins first."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Primary: `size` bytes of RAM from `address` on: as they are, compressed if `content` is
    shorter, all zeros if there is none. `number` counts these messages from 0."""

    number: int
    address: int
    size: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Blocks:
    """Primary: `size` bytes of the disk `handle` from `offset` on, of which each replica has a
    copy: as they are, all zeros if there is no `content`. They are numbered with `Pages`. Where
    none come the disk is all zeros."""

    number: int
    handle: int
    offset: int
    size: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Took:
    """Newcomer: I have taken so many `Pages` and `Blocks`."""

    count: int


@dataclass(frozen=True, slots=True)
class Rest:
    """Primary: what else the guest's state before entry `next` is made of, behind so many `Pages`
    and `Blocks`; the entry before `next` was made under the generation `origin`."""

    pages: int
    next: int
    origin: int
    content: bytes


@dataclass(frozen=True, slots=True)
class MoveDisk:
    """Primary: open the file `path`, to which `disk` may move, and which I have locked with the
    token `token`; the arbiter will say whether it does. Nothing is to be opened, and the disk stays
    where it is, if there is no `path`. `sent` is my clock when I was asked for it, `disks` are as
    in `Ruling`."""

    sent: int
    disk: str
    path: str
    token: int
    disks: dict[str, str]


@dataclass(frozen=True, slots=True)
class Opened:
    """Secondary: I have the file of the `MoveDisk` that was `sent` then, or cannot, because of this
    `problem`."""

    sent: int
    problem: str


Message = (
    Iam | Who | Hello | Welcome | Refuse | Ruling | Batch | Query | Answer | Have | Handover
    | Finished | Ended | Goodbye | Switchover | SwitchoverDone | EndGuest
    | Join | Later | Pages | Took | Rest | Invite | Blocks | MoveDisk | Opened
)  # fmt: skip
_KINDS: tuple[type[Message], ...] = get_args(Message)
_CODEC = Codec[Message](dict(enumerate(_KINDS)))

_EVERYTHING = frozenset(get_args(Message))
MAY_SAY: Mapping[Party, frozenset[type[Message]]] = {
    Party.PRIMARY: _EVERYTHING,
    Party.SECONDARY: _EVERYTHING,  # replicas swap roles, and each says what the other did
    Party.OPERATOR: frozenset({Switchover}),
}
"""Whoever is not named may not say anything."""
_SHORT = 1024
"""Bytes, at most, of a message from a party that may not say everything."""


def encode(message: Message) -> bytes:
    head, packed = _CODEC.parts(message)
    return b"".join((struct.pack("<I", zlib.crc32(packed, zlib.crc32(head))), head, packed))


def decode(data: bytes) -> Message:
    """Raises `MessageError` for anything that `encode` cannot have made."""
    if not 5 <= len(data) <= MAX_MESSAGE:
        raise MessageError(f"a message of {len(data)} bytes")
    content = memoryview(data)[4:]
    if struct.unpack_from("<I", data)[0] != zlib.crc32(content):
        raise MessageError("a message with a wrong checksum")
    message = _CODEC.decode(content)
    if isinstance(message, Hello) and not is_basis(message.basis):
        raise MessageError("a Hello with a basis that is none")
    return message


def forbidden(party: Party, data: bytes) -> str | None:
    """What it is that `party` may not say; None if it may. What it may is short."""
    allowed = MAY_SAY.get(party, frozenset())
    if allowed == _EVERYTHING:
        return None
    if len(data) > _SHORT:
        return f"{len(data)} bytes at once"
    try:
        kind = type(decode(data))
    except MessageError as error:
        return str(error)
    return None if kind in allowed else kind.__name__

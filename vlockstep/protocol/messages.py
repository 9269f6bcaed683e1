"""What replicas say to each other.

On the wire a message is the CRC-32 of the rest, and then what `wire.codec` makes of it. The first
message of each side has the protocol version.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from vlockstep.wire.codec import MAX_MESSAGE, Codec, MessageError
from vlockstep.wire.keys import Party

PROTOCOL = 5


@dataclass(frozen=True, slots=True)
class Hello:
    """Secondary: I want to follow, from entry `next` on. Said at the start, after a connection
    was lost, and when an entry is missing. `instance` is the same each time. `guest` is the
    arbiter's name for the guest."""

    version: int
    instance: str
    image: str
    next: int
    guest: str = ""


@dataclass(frozen=True, slots=True)
class Welcome:
    """Primary: follow. `config` is the guest's, `next` the entry that comes first."""

    version: int
    generation: int
    next: int
    config: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Primary: you cannot follow me."""

    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Primary: entries. `sent` is the primary's clock, `released` the number of entries whose
    outputs it has released, `lease` for how long the answer permits it to release more."""

    sent: int
    lease: int
    released: int
    entries: bytes


@dataclass(frozen=True, slots=True)
class Query:
    """Either: are you there? The fields are those of `Batch`; a secondary's are 0 but `sent`."""

    sent: int
    lease: int
    released: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Either: I am. `echo` and `lease` are those of what this answers, 0 if nothing; `received`
    and `executed` are how many entries the secondary has."""

    echo: int
    lease: int
    received: int
    executed: int


@dataclass(frozen=True, slots=True)
class Handover:
    """Primary: I stopped after `next` entries, every output is released: go live. My guest has
    executed up to the position (`exits`, `blocks`): interrupt yours no earlier."""

    next: int
    exits: int
    blocks: int


@dataclass(frozen=True, slots=True)
class TookOver:
    """The secondary of before: I am live as `generation`. If I did not go live alone, and you have
    handed over, follow me from where you stopped."""

    generation: int
    alone: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """Primary: the guest ended and all its outputs are released."""

    sent: int


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Either: I stop for good, and will not go live."""

    reason: str


@dataclass(frozen=True, slots=True)
class Switchover:
    """An operator, or the secondary on an operator's behalf: swap roles."""


@dataclass(frozen=True, slots=True)
class SwitchoverDone:
    """To the operator: how it went. `generation` is 0 if it failed."""

    generation: int
    reason: str


Message = (
    Hello | Welcome | Refuse | Batch | Query | Answer | Handover | TookOver | Finished | Goodbye
    | Switchover | SwitchoverDone
)  # fmt: skip
_KINDS: tuple[type[Message], ...] = (
    Hello, Welcome, Refuse, Batch, Query, Answer, Handover, TookOver, Finished, Goodbye,
    Switchover, SwitchoverDone,
)  # fmt: skip
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
    content = _CODEC.encode(message)
    return struct.pack("<I", zlib.crc32(content)) + content


def decode(data: bytes) -> Message:
    """Raises `MessageError` for anything that `encode` cannot have made."""
    if not 5 <= len(data) <= MAX_MESSAGE:
        raise MessageError(f"a message of {len(data)} bytes")
    content = data[4:]
    if struct.unpack_from("<I", data)[0] != zlib.crc32(content):
        raise MessageError("a message with a wrong checksum")
    return _CODEC.decode(content)


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

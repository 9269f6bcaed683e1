"""What the hosts' monitors say to each other on the management network.

Nothing depends on a message that arrives: each is said again with the next heartbeat, or missed by
a silence. Who said it is known from the connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from vlockstep.wire.codec import Codec, MessageError

MAX_MESSAGE = 64
"""Bytes of a message."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """I look for a master, or stand for election, and am connected to so many datastores. `hears`,
    here and below: I hear the host to which this is said."""

    datastores: int
    hears: bool


@dataclass(frozen=True, slots=True)
class Master:
    """I am master."""

    datastores: int
    hears: bool


@dataclass(frozen=True, slots=True)
class Slave:
    """You are my master."""

    datastores: int
    hears: bool


@dataclass(frozen=True, slots=True)
class Resigned:
    """I am not your master, or no longer: join another, or elect one."""


@dataclass(frozen=True, slots=True)
class Left:
    """I go into maintenance: do not count with me until I say something else."""


Word = Candidate | Master | Slave
"""What is said with each heartbeat."""
Message = Word | Resigned | Left
_CODEC = Codec[Message](dict(enumerate(get_args(Message))))


def encode(message: Message) -> bytes:
    return _CODEC.encode(message)


def decode(data: bytes) -> Message:
    """Raises `MessageError` for anything that `encode` cannot have made."""
    if len(data) > MAX_MESSAGE:
        raise MessageError(f"a message of {len(data)} bytes")
    return _CODEC.decode(data)

"""What the switch and its ports say to each other.

A message is one ZeroMQ frame: a byte that tells the kind, then the Ethernet frame as it is, or a
msgpack array of the fields. A port says Hello whenever a connection stands, and when it is asked
to; until it is welcomed, nothing is forwarded from it or to it.

Each side has at most `WINDOW` frames on their way to the other, and drops what is more: the other
says from time to time how many it has taken. If ZeroMQ's own limits were what stops a sender, its
heartbeats would wait behind the frames, and a port that does not read would seem dead.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from vlockstep.errors import UsageError
from vlockstep.net.nic import MAX_FRAME
from vlockstep.wire.codec import Codec, MessageError

PROTOCOL = 1
FRAME = b"\0"
"""How a message with an Ethernet frame begins; the rest is the frame."""
MAX_MESSAGE = 1 + MAX_FRAME
MAX_TEXT = 256
"""Bytes, as UTF-8, of a name or a reason."""
WINDOW = 1000
"""Frames on their way, in each direction."""
_GRANT = WINDOW // 4
_MAX_CONTROL = 4 * MAX_TEXT
_MAC_SIZE = 6


@dataclass(frozen=True, slots=True)
class Frame:
    """Either: an Ethernet frame of any length up to `MAX_FRAME`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    """Port: I am a port of `guest`'s NIC with the address `mac`, 6 bytes. `guest` is the same for
    both replicas of a guest and no other guest's, `name` is for people."""

    version: int
    guest: str
    mac: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """Switch: frames come and go from now on."""

    version: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Switch: you cannot be a port."""

    reason: str


@dataclass(frozen=True, slots=True)
class Who:
    """Switch: I do not know you; say Hello."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Switch: nothing. What cannot be sent tells that a port is gone."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Either: I have taken `count` more frames."""

    count: int


Message = Frame | Hello | Welcome | Refuse | Who | Ping | Taken
_CONTROL: dict[int, type[Message]] = {1: Hello, 2: Welcome, 3: Refuse, 4: Who, 5: Ping, 6: Taken}
_CODEC = Codec[Message](_CONTROL)


def encode(message: Message) -> bytes:
    """Names and reasons that are too long are cut."""
    if isinstance(message, Frame):
        return FRAME + message.data
    names = [f.name for f in fields(message) if f.type == "str"]
    cut: dict[str, Any] = {name: _cut(getattr(message, name)) for name in names}
    return _CODEC.encode(replace(message, **cut))


def decode(data: bytes) -> Message:
    """Raises `MessageError` for anything that `encode` cannot have made."""
    if not 1 <= len(data) <= MAX_MESSAGE:
        raise MessageError(f"a message of {len(data)} bytes")
    if data[0] == FRAME[0]:
        return Frame(data[1:])
    if len(data) > _MAX_CONTROL:
        raise MessageError(f"a message of {len(data)} bytes and kind {data[0]}")
    message = _CODEC.decode(data)
    texts = (getattr(message, f.name) for f in fields(message) if f.type == "str")
    if any(len(text.encode()) > MAX_TEXT for text in texts):
        raise MessageError(f"an overlong text in a message of kind {data[0]}")
    if isinstance(message, Hello) and len(message.mac) != _MAC_SIZE:
        raise MessageError(f"a MAC address of {len(message.mac)} bytes")
    return message


class Window:
    """One side's part in limiting what is on its way in both directions."""

    __slots__ = ("_taken", "_underway")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Nothing is on its way."""
        self._underway = 0
        self._taken = 0

    def full(self) -> bool:
        """Whether nothing more may be sent."""
        return self._underway >= WINDOW

    def sent(self) -> None:
        self._underway += 1

    def granted(self, count: int) -> None:
        """The other side says that it has taken so many."""
        self._underway = max(0, self._underway - count)

    def took(self) -> int:
        """A frame came. If it is time to say so, how many have come since the last time; or 0."""
        self._taken += 1
        if self._taken < _GRANT:
            return 0
        taken, self._taken = self._taken, 0
        return taken


def parse_mac(text: str) -> bytes:
    """The 6 bytes of `02:00:00:00:00:01`. Raises `UsageError` if it is no such address."""
    parts = text.split(":")
    try:
        if len(parts) == _MAC_SIZE and all(len(part) == 2 for part in parts):
            return bytes.fromhex("".join(parts))
    except ValueError:
        pass
    raise UsageError(f"{text!r} is no MAC address; write it as 02:00:00:00:00:01")


def format_mac(mac: bytes) -> str:
    return mac.hex(":")


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:MAX_TEXT].decode(errors="ignore")

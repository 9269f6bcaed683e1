"""What switches and their ports say to each other.

A message is one ZeroMQ frame: a byte that tells the kind, then the Ethernet frame as it is, or a
msgpack array of the fields. A port says Hello whenever a connection stands, and when it is asked
to; until it is welcomed, nothing is forwarded from it or to it.

A trunk is a connection between two switches. The lower one asks the upper one to be its parent:
it says `TrunkHello` when the connection stands, and until it has a `Verdict` without a reason,
nothing is forwarded either way. Frames on a trunk are `Tagged` with their port group. Whose
replicas are behind it, each end tells the other with `Attach` and `Detach`.

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

PROTOCOL = 2
FRAME = b"\0"
"""How a message with an Ethernet frame begins; the rest is the frame."""
TAGGED = b"\7"
"""How one with a port group's frame begins; then a byte with the length of the group's name, the
name, and the frame."""
MAX_GROUP = 64
"""Bytes, as UTF-8, of the name of a port group."""
MAX_MESSAGE = 2 + MAX_GROUP + MAX_FRAME
MAX_TEXT = 256
"""Bytes, as UTF-8, of a name or a reason."""
MAX_DEPTH = 16
"""Switches in a row, each below the next."""
WINDOW = 1000
"""Frames on their way, in each direction."""
_GRANT = WINDOW // 4
_MAX_CONTROL = (4 + MAX_DEPTH) * MAX_TEXT
_MAC_SIZE = 6


@dataclass(frozen=True, slots=True)
class Frame:
    """Either: an Ethernet frame of any length up to `MAX_FRAME`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    """Port: I am a port of `guest`'s NIC with the address `mac`, 6 bytes, in the port group
    `group`. `guest` is the same for all replicas of a guest and no other guest's, `name` is for
    people."""

    version: int
    guest: str
    mac: bytes
    name: str
    group: str


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


@dataclass(frozen=True, slots=True)
class Tagged:
    """Either end of a trunk: an Ethernet frame in a port group, whose name is UTF-8."""

    group: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class TrunkHello:
    """Lower switch: I am `identity`, called `name` for people, and ask for the `attempt`-th time
    to be below you."""

    version: int
    identity: str
    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Lower switch: is there an end to the way up? The first of `path` asks, in its `attempt`; the
    others have passed this on. `path` has names by identities, `greatest` is the greatest identity
    of those in it that were asking themselves."""

    attempt: int
    path: dict[str, str]
    greatest: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Upper switch: the answer to the `attempt` of the first of `path`, on its way back down to it
    from the last. It may be below its parent, unless there is a `reason` why not."""

    attempt: int
    path: dict[str, str]
    reason: str


@dataclass(frozen=True, slots=True)
class Attach:
    """Either end of a trunk: replicas of `guest` with the address `mac` in `group` are behind
    me."""

    group: str
    mac: bytes
    guest: str


@dataclass(frozen=True, slots=True)
class Detach:
    """Either end of a trunk: no replica with the address `mac` in `group` is behind me any more."""

    group: str
    mac: bytes


Message = (
    Frame
    | Hello
    | Welcome
    | Refuse
    | Who
    | Ping
    | Taken
    | Tagged
    | TrunkHello
    | Probe
    | Verdict
    | Attach
    | Detach
)
_CONTROL: dict[int, type[Message]] = {
    1: Hello,
    2: Welcome,
    3: Refuse,
    4: Who,
    5: Ping,
    6: Taken,
    8: TrunkHello,
    9: Probe,
    10: Verdict,
    11: Attach,
    12: Detach,
}
_CODEC = Codec[Message](_CONTROL)


def encode(message: Message) -> bytes:
    """Names and reasons that are too long are cut; groups must not be."""
    if isinstance(message, Frame):
        return FRAME + message.data
    if isinstance(message, Tagged):
        return tag(message.group) + message.data
    names = [f.name for f in fields(message) if f.type == "str"]
    cut: dict[str, Any] = {name: _cut(getattr(message, name)) for name in names}
    return _CODEC.encode(replace(message, **cut))


def decode(data: bytes) -> Message:
    """Raises `MessageError` for anything that `encode` cannot have made."""
    if not 1 <= len(data) <= MAX_MESSAGE:
        raise MessageError(f"a message of {len(data)} bytes")
    if data[:1] == FRAME:
        return Frame(_frame(data[1:]))
    if data[:1] == TAGGED:
        group, frame = split(data)
        return Tagged(group, _frame(frame))
    if len(data) > _MAX_CONTROL:
        raise MessageError(f"a message of {len(data)} bytes and kind {data[0]}")
    message = _CODEC.decode(data)
    for f in fields(message):
        _check_field(f.name, getattr(message, f.name), data[0])
    return message


def tag(group: bytes) -> bytes:
    """How a message with a frame of `group` begins."""
    assert len(group) <= MAX_GROUP
    return TAGGED + bytes((len(group),)) + group


def split(data: bytes) -> tuple[bytes, bytes]:
    """The group and the frame of a message that begins with `TAGGED`. The frame may be of any
    length. Raises `MessageError` if there is no group."""
    size = data[1] if len(data) > 1 else MAX_GROUP + 1
    if size > MAX_GROUP or len(data) < 2 + size:
        raise MessageError("a frame without the group that it is in")
    return data[2 : 2 + size], data[2 + size :]


def check_group(name: str) -> None:
    """Raises `UsageError` if no port group can have this name."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise UsageError(f"the port group {name!r} is not valid UTF-8") from error
    if size > MAX_GROUP or not name.isprintable():
        raise UsageError(
            f"{name!r} is no port group: its name has at most {MAX_GROUP} bytes, all printable"
        )


def _frame(data: bytes) -> bytes:
    if len(data) > MAX_FRAME:
        raise MessageError(f"a frame of {len(data)} bytes")
    return data


def _check_field(name: str, value: Any, kind: int) -> None:
    if name == "mac" and len(value) != _MAC_SIZE:
        raise MessageError(f"a MAC address of {len(value)} bytes")
    if isinstance(value, dict) and len(value) > MAX_DEPTH:
        raise MessageError(f"{len(value)} switches in a row in a message of kind {kind}")
    texts = (value,) if isinstance(value, str) else ()
    if isinstance(value, dict):
        texts = (*value, *value.values())
    limit = MAX_GROUP if name == "group" else MAX_TEXT
    if any(len(text.encode()) > limit for text in texts):
        raise MessageError(f"an overlong text in a message of kind {kind}")


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

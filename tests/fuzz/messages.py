"""What replicas say to each other: as it comes, and with a checksum that fits."""

from __future__ import annotations

import struct
import zlib

from support import config_for, sample

from vlockstep.errors import LogError
from vlockstep.machine.config import GuestConfig
from vlockstep.protocol import messages
from vlockstep.replay import codec
from vlockstep.wire.codec import MessageError

_CHECKSUM = struct.Struct("<I")


def check(data: bytes) -> None:
    _check(data)
    _check(seal(data))


def seeds() -> list[bytes]:
    """One message of each kind."""
    config = config_for(sample("hello"), "a").to_dict()
    entries = codec.encode(
        7, [(0, 5, 0, 1 << 40, b""), (5, 6, 0, b"digest00", b""), (3, 7, 0, (2, b"frame"), b"")]
    )
    says: list[messages.Message] = [
        messages.Iam(1, "instance"),
        messages.Who(),
        messages.Hello("digest", 9, 1, "guest", "tcp://localhost:1"),
        messages.Welcome(2, 9, config),
        messages.Refuse("no"),
        messages.Ruling(3, "instance", {"instance": "", "other": "tcp://localhost:1"}),
        messages.Batch(3, 1 << 40, 5, 3, 2, 1, entries),
        messages.Query(1, 2, 3, 4, 5),
        messages.Answer(1, 2, 3, 4),
        messages.Handover(9, 8, 7),
        messages.Have(3, 7, True, False),
        messages.Finished(1 << 60),
        messages.Ended(1, "ende"),
        messages.EndGuest("ende"),
        messages.Goodbye("ende"),
        messages.Switchover(),
        messages.SwitchoverDone(3, ""),
    ]
    return [messages.encode(message) for message in says]


def seal(data: bytes) -> bytes:
    content = data[_CHECKSUM.size :]
    return _CHECKSUM.pack(zlib.crc32(content)) + content


def _check(data: bytes) -> None:
    try:
        message = messages.decode(data)
    except MessageError as error:
        str(error)
        return
    wire = messages.encode(message)
    assert messages.encode(messages.decode(wire)) == wire
    try:
        if isinstance(message, messages.Batch):
            first, entries = codec.decode(message.entries)
            assert codec.decode(codec.encode(first, entries)) == (first, entries)
        elif isinstance(message, messages.Welcome):
            config = GuestConfig.from_dict(message.config)
            assert GuestConfig.from_dict(config.to_dict()) == config
    except LogError as error:
        str(error)

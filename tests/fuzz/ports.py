"""What a switch and its ports say to each other, frames included."""

from __future__ import annotations

from vlockstep.errors import UsageError
from vlockstep.net import portmessages
from vlockstep.net.nic import MAX_FRAME, MIN_FRAME
from vlockstep.net.portmessages import Frame, Hello, Taken, Window
from vlockstep.switch.fabric import Fabric
from vlockstep.wire.codec import MessageError

_GUEST = bytes.fromhex("020000000001")
_OTHER = bytes.fromhex("020000000002")


def check(data: bytes) -> None:
    try:
        message = portmessages.decode(data)
    except MessageError as error:
        str(error)
        return
    assert portmessages.decode(portmessages.encode(message)) == message
    fabric = Fabric()
    fabric.add_port("uplink")
    fabric.add_port("port", _GUEST, "guest")
    if isinstance(message, Hello):
        try:
            fabric.add_port("new", message.mac, message.guest)
        except UsageError as error:
            assert str(error)
            assert "new" not in fabric.ports
    elif isinstance(message, Taken):
        window = Window()
        window.sent()
        window.granted(message.count)
        assert not window.full()
    elif isinstance(message, Frame):
        for source in ("uplink", "port"):
            targets = fabric.forward(0, source, message.data)
            assert source not in targets
            assert not targets or MIN_FRAME <= len(message.data) <= MAX_FRAME


def seeds() -> list[bytes]:
    """One message of each kind, and a few frames."""
    says: list[portmessages.Message] = [
        Frame(_GUEST + _OTHER + b"\x08\0" + bytes(50)),
        Frame(b"\xff" * 6 + _GUEST + b"\x08\x06" + bytes(28)),
        Hello(portmessages.PROTOCOL, "guest", _GUEST, "name"),
        Hello(portmessages.PROTOCOL, "other", _OTHER, "name"),
        portmessages.Welcome(portmessages.PROTOCOL),
        portmessages.Refuse("no"),
        portmessages.Who(),
        portmessages.Ping(),
        Taken(250),
    ]
    return [portmessages.encode(message) for message in says]

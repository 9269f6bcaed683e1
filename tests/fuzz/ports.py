"""What a switch and its ports say to each other, frames included."""

from __future__ import annotations

from vlockstep.errors import UsageError
from vlockstep.net import portmessages
from vlockstep.net.nic import MAX_FRAME, MIN_FRAME
from vlockstep.net.portmessages import (
    Attach,
    Detach,
    Frame,
    Hello,
    Probe,
    Tagged,
    Taken,
    TrunkHello,
    Verdict,
    Window,
)
from vlockstep.switch.fabric import Fabric, PortId
from vlockstep.switch.tree import Down, State, Tree
from vlockstep.wire.codec import MessageError

_GUEST = bytes.fromhex("020000000001")
_OTHER = bytes.fromhex("020000000002")
_ROOT = "root"


def check(data: bytes) -> None:
    try:
        message = portmessages.decode(data)
    except MessageError as error:
        str(error)
        return
    assert portmessages.decode(portmessages.encode(message)) == message
    fabric, tree = Fabric(), Tree(_ROOT, "root")
    fabric.add_port("uplink")
    fabric.add_port("port", _GUEST, "guest")
    for trunk in ("trunk", "other trunk"):
        fabric.add_trunk(trunk)
    match message:
        case Hello():
            try:
                fabric.add_port("new", message.mac, message.guest, group=message.group.encode())
            except UsageError as error:
                assert str(error)
                assert "new" not in fabric.ports
        case Taken():
            window = Window()
            window.sent()
            window.granted(message.count)
            assert not window.full()
        case Frame():
            for source in ("uplink", "port"):
                _check_targets(fabric, source, message.data, b"")
        case Tagged():
            targets = _check_targets(fabric, "trunk", message.data, message.group)
            assert set(targets) <= ({"other trunk"} if message.group else set(fabric.ports))
        case Attach():
            fabric.announcements()
            address = message.group.encode(), message.mac
            fabric.attach("trunk", *address, message.guest)
            told = {(trunk, group, mac) for trunk, group, mac, _ in fabric.announcements()}
            assert told <= {("other trunk", *address), ("trunk", *address)}
            fabric.detach("trunk", *address)
            fabric.announcements()
            assert not fabric.attached(b"") - {_GUEST}
        case TrunkHello():
            step = tree.asked(message)
            assert isinstance(step, Down) == (message.identity != _ROOT)
        case Probe():
            tree.ask()
            step = tree.probed(next(reversed(message.path), ""), message)
            assert step is None or portmessages.decode(portmessages.encode(step.message))
        case Verdict():
            tree.ask()
            tree.judged(message)
            assert (tree.state is State.CHILD) == (
                (list(message.path), message.attempt, message.reason) == ([_ROOT], 1, "")
            )


def _check_targets(fabric: Fabric, source: str, frame: bytes, group: bytes) -> tuple[PortId, ...]:
    targets = fabric.forward(0, source, frame, group)
    assert source not in targets
    assert not targets or MIN_FRAME <= len(frame) <= MAX_FRAME
    return targets


def seeds() -> list[bytes]:
    """One message of each kind, and a few frames."""
    path = {"child": "a", _ROOT: "b"}
    says: list[portmessages.Message] = [
        Frame(_GUEST + _OTHER + b"\x08\0" + bytes(50)),
        Frame(b"\xff" * 6 + _GUEST + b"\x08\x06" + bytes(28)),
        Hello(portmessages.PROTOCOL, "guest", _GUEST, "name", ""),
        Hello(portmessages.PROTOCOL, "other", _OTHER, "name", "blue"),
        portmessages.Welcome(portmessages.PROTOCOL),
        portmessages.Refuse("no"),
        portmessages.Who(),
        portmessages.Ping(),
        Taken(250),
        Tagged(b"", _GUEST + _OTHER + b"\x08\0" + bytes(50)),
        Tagged(b"blue", b"\xff" * 6 + _OTHER + b"\x08\x06" + bytes(28)),
        TrunkHello(portmessages.PROTOCOL, "child", "name", 1),
        Probe(1, {"child": "a"}, "child"),
        Probe(1, path, _ROOT),
        Verdict(1, {_ROOT: "b"}, ""),
        Verdict(1, path, "no"),
        Attach("blue", _OTHER, "other"),
        Detach("blue", _OTHER),
    ]
    return [portmessages.encode(message) for message in says]

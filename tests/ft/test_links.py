"""Who is at the other end of a connection, whatever strangers say."""

from __future__ import annotations

from vlockstep.ft.links import Links
from vlockstep.protocol.messages import PROTOCOL, Goodbye, Iam, Message, Who, decode

PRIMARY, STRANGER = b"made", b"stranger"


class Said:
    """Links of the replica "me", who knows "primary", and what was said on them."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, Message]] = []
        self.links = Links("me", self._send, lambda: {"primary"})

    def _send(self, data: bytes, peer: bytes) -> bool:
        self.messages.append((peer, decode(data)))
        return True


def test_strangers_do_not_displace_who_is_known() -> None:
    said = Said()
    said.links.introduce(PRIMARY)
    said.links.heard(PRIMARY, Iam(PROTOCOL, "primary"))
    for number in range(1000):
        said.links.heard(b"%d" % number, Iam(PROTOCOL, f"stranger {number}"))
    assert "primary" in said.links
    assert len(said.links.replicas) == 64
    assert "stranger 999" in said.links, "the newest of them are known"
    assert said.links.heard(PRIMARY, Goodbye("")) == "primary"


def test_who_was_displaced_is_asked_at_the_next_word() -> None:
    said = Said()
    said.links.introduce(PRIMARY)
    said.links.heard(PRIMARY, Iam(PROTOCOL, "primary"))
    said.links.heard(STRANGER, Iam(PROTOCOL, "primary"))
    said.messages.clear()
    assert said.links.heard(PRIMARY, Goodbye("")) is None
    assert said.messages == [(PRIMARY, Iam(PROTOCOL, "me"))], "the other end says its name to that"
    said.links.heard(PRIMARY, Iam(PROTOCOL, "primary"))
    said.messages.clear()
    assert said.links.heard(STRANGER, Goodbye("")) is None
    assert said.messages == [(STRANGER, Who())]

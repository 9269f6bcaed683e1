"""Who is at the other end of a connection, whatever strangers say."""

from __future__ import annotations

from vlockstep.ft.links import Links
from vlockstep.protocol.messages import PROTOCOL, Goodbye, Iam, Message, Who, decode

PRIMARY, STRANGER = b"made", b"stranger"


class Said:
    """Links of the replica "me", who knows "primary", what was said on them, and to whom it
    connects: to peers that are called as the places where they are reached."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, Message]] = []
        self.connected: list[bytes] = []
        self.links = Links("me", self, lambda: {"primary"})

    def dial(self, endpoint: str) -> bytes:
        self.connected.append(endpoint.encode())
        return endpoint.encode()

    def hang_up(self, peer: bytes) -> None:
        self.connected.remove(peer)

    def send(self, data: bytes, peer: bytes) -> bool:
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


def test_who_was_dialed_and_is_no_member_any_more_is_hung_up_on() -> None:
    said = Said()
    for place in ("primary's", "member's", "destination", "gone", "never there"):
        assert said.links.dial(place) == place.encode()
    for place, replica in ((b"primary's", "primary"), (b"gone", "gone")):
        said.links.introduce(place)
        said.links.heard(place, Iam(PROTOCOL, replica))
    said.links.hang_up({"member's"}, b"destination")
    assert said.connected == [b"primary's", b"member's", b"destination"]
    assert [*said.links.dialed] == ["primary's", "member's", "destination"]
    assert said.links.replicas == ["primary"]
    assert not said.links.made(b"gone")


def test_who_is_dialed_again_is_another_one() -> None:
    said = Said()
    said.links.dial("there")
    said.links.introduce(b"there")
    said.links.heard(b"there", Iam(PROTOCOL, "gone"))
    said.links.hang_up((), None)
    said.links.dial("there")
    said.links.introduce(b"there")
    assert said.links.at(b"there") is None
    assert said.links.heard(b"there", Iam(PROTOCOL, "primary")) == "primary"
    said.links.hang_up((), None)
    assert said.connected == [b"there"]

"""Bytes on the channel from somebody who is not the peer, or is out of his mind."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing

import pytest
import zmq
from pair_checks import SHORT, check_equal, check_output, said

from vlockstep.machine.basis import basis
from vlockstep.machine.bundled import open_bundled
from vlockstep.protocol.messages import (
    PROTOCOL,
    Answer,
    Batch,
    Ended,
    EndGuest,
    Finished,
    Goodbye,
    Handover,
    Have,
    Hello,
    Iam,
    Message,
    Query,
    Refuse,
    Ruling,
    Switchover,
    SwitchoverDone,
    Welcome,
    Who,
    decode,
    encode,
)
from vlockstep.testing import Pair, PairError
from vlockstep.testing.plugin import MakePair
from vlockstep.wire.endpoint import present
from vlockstep.wire.keys import Keys, Party, load

BIG = 1 << 62
IN_WRONG_STATES: list[Message] = [
    Answer(0, 0, 0, 0),
    Answer(1, BIG, BIG, BIG),
    Batch(BIG, 0, BIG, BIG, BIG, BIG, b""),
    Batch(0, 0, 0, 0, 0, 0, b"\x93\x00\x01\x02"),
    Ended(0, ""),
    Finished(0),
    Goodbye("ha"),
    Handover(0, 0, 0),
    Have(BIG, BIG, True, True),
    Query(BIG, BIG, BIG, BIG, BIG),
    Refuse("no"),
    SwitchoverDone(9, ""),
    Ruling(99, "me", {"me": ""}),
    Welcome(7, 0, {}),
    Who(),
]


class Stranger:
    """A DEALER at the primary's endpoint."""

    def __init__(self, pair: Pair, keys: Keys | None = None) -> None:
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        if keys is not None:
            present(self.socket, keys, Party.PRIMARY)
        self.socket.setsockopt(zmq.LINGER, 5000)
        self.socket.setsockopt(zmq.RCVTIMEO, 10_000)
        self.socket.connect(pair.endpoint)

    def introduce(self) -> None:
        """Say who this is, and hear who listens."""
        assert isinstance(self.ask(Iam(PROTOCOL, "me")), Iam)

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def ask(self, message: Message) -> Message:
        """What the primary answers; everything sent before has arrived then, too."""
        self.send(encode(message))
        return decode(self.socket.recv())

    def close(self) -> None:
        self.socket.close()


def sealed(content: bytes) -> bytes:
    """With the right checksum."""
    return struct.pack("<I", zlib.crc32(content)) + content


def garbage() -> Iterator[bytes]:
    chance = random.Random(1)
    yield from (b"", b"\0", bytes(4), bytes(5), b"\xff" * 5)
    for _ in range(100):
        yield chance.randbytes(chance.randrange(1, 200))
    for message in IN_WRONG_STATES:
        whole = encode(message)
        yield from (whole[:size] for size in range(len(whole)))
        yield whole + b"\0"
    for content in (b"", b"\x90", b"\x91\x63", b"\x91\xff", b"\x92\x00\x01", b"\xc0", b"\xa1x"):
        yield sealed(content)
    deep = b"\x91" * 5000 + b"\xc0"
    yield from (
        sealed(deep),
        sealed(b"\xdd\xff\xff\xff\xff"),
        sealed(b"\x92\x03\xcf" + b"\xff" * 8),
    )
    for _ in range(100):
        yield sealed(chance.randbytes(chance.randrange(1, 40)))


def attack(stranger: Stranger) -> None:
    for data in garbage():
        stranger.send(data)
    stranger.send(b"two", b"frames")
    for message in IN_WRONG_STATES:
        stranger.send(encode(message))


def test_before_the_secondary_comes(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, start=False)
    pair.start_primary()
    with closing(Stranger(pair)) as stranger:
        assert stranger.ask(Query(0, 0, 0, 0, 0)) == Who()
        refusal = stranger.ask(Iam(PROTOCOL + 1, "me"))
        assert isinstance(refusal, Refuse)
        assert "protocol" in refusal.reason
        stranger.introduce()
        attack(stranger)
        refusal = stranger.ask(Hello("image", 0, 0, "", ""))
        assert isinstance(refusal, Refuse)
        assert "image" in refusal.reason
        assert stranger.ask(Switchover()) == SwitchoverDone(
            0, "no switchover while the primary is: waiting for secondaries"
        )
    counted = pair.process("primary").wait_status(lambda status: status["rejected"] > 200)
    pair.start_secondary()
    assert pair.wait_finished() == (0, 0)
    rejected = [e["total"] for e in pair.events("primary") if e["event"] == "rejected"]
    assert rejected[:20] == list(range(1, 21)), "the first ones are told"
    assert len(rejected) < counted["rejected"] / 2, "not all of them"
    check_output(pair)
    check_equal(pair)


def test_while_the_guest_runs(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, stop_at=["exits:50"])
    with closing(Stranger(pair)) as stranger:
        stranger.introduce()
        attack(stranger)
        refusal = stranger.ask(hello(pair))
        assert isinstance(refusal, Refuse)
        assert "let it listen somewhere" in refusal.reason
    pair.go()
    assert pair.wait_finished() == (0, 0)
    assert any(event["event"] == "rejected" for event in pair.events("primary"))
    for which in ("primary", "secondary"):
        assert all(event["event"] != "live" for event in pair.events(which))
    check_output(pair)
    check_equal(pair)


def hello(pair: Pair) -> Hello:
    """Of somebody who has seen the arbiter."""
    digest = open_bundled(str(pair.guest)).digest
    return Hello(digest, 0, 0, (pair.arbiter / "guest").read_text(), "", dict(basis()))


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (Hello("", BIG, BIG, "", ""), 0),
        (Goodbye("ha"), 0),
        (EndGuest("enough"), 0),
        (Ruling(99, "me", {"me": ""}), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_accepted_follower_that_talks_nonsense(
    make_pair: MakePair, last: Message, status: int
) -> None:
    """Somebody without a guest who gets in, as anybody on this machine can without keys, may end
    the protection, but not damage what the guest says. Who claims to be live is believed."""
    pair = make_pair("ledger", SHORT, start=False)
    pair.start_primary()
    with closing(Stranger(pair)) as stranger:
        stranger.introduce()
        assert isinstance(stranger.ask(hello(pair)), Welcome)
        for data in garbage():
            stranger.send(data)
        for message in IN_WRONG_STATES:
            if not isinstance(message, Goodbye | Ruling):
                stranger.send(encode(message))
        stranger.send(encode(last))
    primary = pair.process("primary")
    assert primary.wait_exit() == status, primary.report()
    assert not said(pair, "primary", "Traceback")
    if status == 0 and not isinstance(last, EndGuest):
        check_output(pair)


OPERATOR_SAYS = [
    *IN_WRONG_STATES,
    Iam(PROTOCOL, "me"),
    Hello("image", 0, 0, "", ""),
]


@pytest.mark.parametrize("when", ["before the secondary comes", "while the guest runs"])
def test_an_operator_who_says_what_a_replica_says_gets_nothing(
    make_pair: MakePair, when: str
) -> None:
    """Not even an answer; and may still ask to swap."""
    pair = make_pair("ledger", SHORT, keys=True, start=False)
    pair.start_primary("--stop-at", "exits:50")
    if when == "while the guest runs":
        pair.start_secondary()
        pair.wait_reached("primary")
    assert pair.keys is not None
    with closing(Stranger(pair, load(pair.keys, Party.OPERATOR))) as operator:
        for message in (hello(pair), *OPERATOR_SAYS):
            operator.send(encode(message))
        for data in garbage():
            operator.send(data)
        said_by_operator = 1 + len(OPERATOR_SAYS) + len([*garbage()])
        primary = pair.process("primary")
        primary.wait_status(lambda status: status["rejected"] >= said_by_operator)
        if when == "before the secondary comes":
            answer = operator.ask(Switchover())
            reason = "no switchover while the primary is: waiting for secondaries"
            assert answer == SwitchoverDone(0, reason), "the first thing that it hears"
            pair.start_secondary()
        else:
            operator.send(encode(Switchover()))
        pair.go("primary")
        if when == "while the guest runs":
            assert decode(operator.socket.recv()) == SwitchoverDone(2, ""), "the first, too"
    assert pair.wait_finished() == (0, 0)
    rejected = [e for e in pair.events("primary") if e["event"] == "rejected"]
    assert rejected[0]["reason"] == "the operator may not say: Hello"
    assert {event["party"] for event in rejected} == {"operator"}
    check_output(pair)
    check_equal(pair)


def test_guest_waits_until_the_follower_has_its_welcome(make_pair: MakePair) -> None:
    """A primary that dies before it is received takes its guest along: nobody else runs it yet."""
    pair = make_pair("ledger", SHORT, start=False)
    pair.start_primary()
    with closing(Stranger(pair)) as stranger:
        stranger.introduce()
        stranger.send(encode(hello(pair)))
        with pytest.raises(PairError):
            pair.process("primary").wait_event("started", timeout=1)

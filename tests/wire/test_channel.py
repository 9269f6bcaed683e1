"""The logging channel."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import get_args

import pytest
import zmq

from vlockstep.errors import HostError
from vlockstep.ft.rejections import Rejections
from vlockstep.protocol.messages import (
    Answer,
    Batch,
    Blocks,
    Ended,
    EndGuest,
    Finished,
    Goodbye,
    Handover,
    Have,
    Hello,
    Iam,
    Invite,
    Join,
    Later,
    Message,
    MoveDisk,
    Opened,
    Pages,
    Query,
    Refuse,
    Rest,
    Ruling,
    Switchover,
    SwitchoverDone,
    Took,
    Welcome,
    Who,
    encode,
    forbidden,
)
from vlockstep.protocol.timing import SECOND
from vlockstep.testing.process import TIMEOUT, environment
from vlockstep.wire import keys
from vlockstep.wire.channel import (
    Arrived,
    Channel,
    Connected,
    Disconnected,
    Event,
    Forbidden,
    Rejected,
    connect,
    listen,
)
from vlockstep.wire.endpoint import present
from vlockstep.wire.keys import Party

Dealer = zmq.Socket[bytes]
SIZE = 1 << 20
"""What fits into the buffers of a connection, and is not there at once."""
SENDER = f"""
import os, select, sys
from vlockstep.wire.channel import Connected, connect
channel = connect(sys.argv[1], None)
while Connected() not in channel.events():
    select.select(channel.descriptors, [], [])
assert channel.send(bytes({SIZE}), b"")
channel.close()
os._exit(0)
"""


def connected(channel: Channel) -> None:
    while Connected() not in channel.events():
        assert any(select.select(channel.descriptors, [], [], TIMEOUT)), "no connection"


def receive(channel: Channel) -> bytes:
    while True:
        for event in channel.events():
            if isinstance(event, Arrived):
                return event.data
        assert any(select.select(channel.descriptors, [], [], TIMEOUT)), "nothing came"


def test_the_last_word_of_a_process_arrives() -> None:
    """However abruptly it ends after closing."""
    with closing(listen("tcp://127.0.0.1:0", None, forbidden)) as channel:
        command = [sys.executable, "-c", SENDER, channel.endpoint]
        with subprocess.Popen(command, env=environment()) as sender:
            assert len(receive(channel)) == SIZE
            assert sender.wait(TIMEOUT) == 0


ANSWERER = """
import os, select, sys
from vlockstep.wire.channel import Arrived, listen
channel = listen("tcp://127.0.0.1:0", None, lambda party, data: None)
print(channel.endpoint, flush=True)
while True:
    for event in channel.events():
        if isinstance(event, Arrived):
            assert channel.send(b"answer", event.peer)
            channel.close()
            os._exit(0)
    select.select(channel.descriptors, [], [])
"""


def test_the_last_word_of_a_listener_is_heard_before_its_loss() -> None:
    """However late, and nothing that is said then is kept for the next one who listens there."""
    command = [sys.executable, "-c", ANSWERER]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as answerer:
        assert answerer.stdout is not None
        endpoint = answerer.stdout.readline().decode().strip()
        with closing(connect(endpoint, None)) as channel:
            connected(channel)
            assert channel.send(b"question", b"")
            assert answerer.wait(TIMEOUT) == 0
            seen: list[Event] = []
            while Disconnected() not in seen:
                assert any(select.select(channel.descriptors, [], [], TIMEOUT)), seen
                seen += channel.events()
            assert seen == [Arrived(b"", b"answer"), Disconnected()]
            assert not channel.send(b"too late", b"")
            with closing(listen(endpoint, None, forbidden)) as successor:
                connected(channel)
                assert channel.send(b"hello", b"")
                assert receive(successor) == b"hello"


DEAF = """
import sys, time, zmq
socket = zmq.Context().socket(zmq.ROUTER)
socket.setsockopt(zmq.RCVHWM, 1)
socket.bind("tcp://127.0.0.1:0")
print(socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
time.sleep(1000)
"""


def test_who_listens_next_does_not_hear_what_the_last_one_did_not_read() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DEAF], env=environment(), stdout=subprocess.PIPE
    ) as deaf:
        assert deaf.stdout is not None
        endpoint = deaf.stdout.readline().decode().strip()
        with closing(connect(endpoint, None)) as channel:
            connected(channel)
            for _ in range(64):
                assert channel.send(bytes(SIZE), b"")
            deaf.kill()
            deaf.wait()
            with closing(listen(endpoint, None, forbidden)) as successor:
                connected(channel)
                assert channel.send(b"hello", b"")
                assert receive(successor) == b"hello"


def test_a_channel_connects_again_and_again() -> None:
    """To whoever listens there, also while nobody does."""
    with closing(listen("tcp://127.0.0.1:0", None, forbidden)) as listener:
        endpoint = listener.endpoint
    with closing(connect(endpoint, None)) as channel:
        descriptors = channel.descriptors
        for number in range(4):
            with closing(listen(endpoint, None, forbidden)) as listener:
                connected(channel)
                assert channel.send(bytes((number,)), b"")
                assert receive(listener) == bytes((number,))
        assert channel.descriptors == descriptors


def test_a_channel_connects_again_after_an_error_of_the_protocol(pair: Path) -> None:
    own, others = (keys.load(pair, party) for party in (Party.SECONDARY, Party.PRIMARY))
    with closing(listen("tcp://127.0.0.1:0", None, forbidden)) as keyless:
        endpoint = keyless.endpoint
        channel = connect(endpoint, own, Party.PRIMARY, look=False)
        seen: list[Event] = []
        while not any(isinstance(event, Rejected) for event in seen):
            assert any(select.select(channel.descriptors, [], [], TIMEOUT)), seen
            seen += channel.events()
    with closing(channel), closing(listen(endpoint, others, forbidden)):
        connected(channel)


@pytest.mark.parametrize("encrypted", [False, True])
def test_ipv6(ipv6: str, encrypted: bool, tmp_path: Path) -> None:
    own = others = None
    if encrypted:
        keys.create(tmp_path / "keys")
        own = keys.load(tmp_path / "keys", Party.PRIMARY)
        others = keys.load(tmp_path / "keys", Party.SECONDARY)
    with closing(listen(ipv6, own, forbidden)) as channel:
        assert channel.endpoint.startswith("tcp://[::1]:")
        with closing(connect(channel.endpoint, others)) as peer:
            assert any(select.select(peer.descriptors, [], [], TIMEOUT))
            connected(peer)
            assert peer.send(b"hello", b"")
            assert receive(channel) == b"hello"


def test_a_peer_that_is_not_read_has_to_wait(tmp_path: Path) -> None:
    most = 10_000
    with (
        closing(listen(f"ipc://{tmp_path}/channel", None, forbidden)) as channel,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as flood,
    ):
        flood.setsockopt(zmq.SNDTIMEO, 1000)
        flood.connect(channel.endpoint)
        sent = 0
        with pytest.raises(zmq.Again):
            while sent < most:
                flood.send(bytes(1024))
                sent += 1
        for _ in range(sent):
            assert len(receive(channel)) == 1024


def test_only_a_dead_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "channel"
    endpoint = f"ipc://{path}"
    path.write_text("precious")
    with pytest.raises(HostError, match=f"{path} exists and is no socket; choose another path"):
        listen(endpoint, None, forbidden)
    assert path.read_text() == "precious"
    path.unlink()
    (tmp_path / "precious").touch()
    path.symlink_to(tmp_path / "precious")
    with pytest.raises(HostError, match="is no socket"):
        listen(endpoint, None, forbidden)
    path.unlink()
    with closing(socket.socket(socket.AF_UNIX)) as living:
        living.bind(str(path))
        living.listen(0)
        for _ in range(3):  # more than it takes without being asked
            with pytest.raises(HostError, match=f"{path} is already in use"):
                listen(endpoint, None, forbidden)
    with closing(listen(endpoint, None, forbidden)):
        pass


def test_an_address_that_cannot_be_bound() -> None:
    with closing(listen("tcp://127.0.0.1:0", None, forbidden)) as channel:
        wanted = f"^cannot listen on {channel.endpoint}: Address already in use$"
        with pytest.raises(HostError, match=wanted):
            listen(channel.endpoint, None, forbidden)


# Who may say what

SAYS: list[Message] = [
    Iam(1, "me"),
    Who(),
    Have(1, 0, True, True),
    Ended(0, ""),
    EndGuest(""),
    Hello("image", 0, 0, "", ""),
    Welcome(1, 0, {}),
    Refuse("no"),
    Batch(0, 0, 0, 0, 0, 0, b""),
    Query(0, 0, 0, 0, 0),
    Answer(0, 0, 0, 0),
    Handover(0, 0, 0),
    Ruling(2, "me", {"me": ""}),
    Finished(0),
    Goodbye(""),
    Switchover(),
    SwitchoverDone(2, ""),
    Join(1, {}),
    Later(),
    Pages(0, 0, 0, b""),
    Took(1),
    Rest(0, 0, 0, b""),
    Invite(""),
    Blocks(0, 1, 0, 0, b""),
    MoveDisk(0, "", "", 0, {}),
    Opened(0, ""),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys."""
    directory = tmp_path_factory.mktemp("channel") / "keys"
    keys.create(directory)
    return directory


@contextmanager
def dealer(channel: Channel, directory: Path, party: Party, name: bytes = b"") -> Iterator[Dealer]:
    """A plain socket with the keys of `party`, under a `name` of its own choice."""
    own = keys.load(directory, party)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        present(socket, own, Party.PRIMARY)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 200)
        if name:
            socket.setsockopt(zmq.ROUTING_ID, name)
        socket.connect(channel.endpoint)
        yield socket


def next_message(channel: Channel) -> Arrived | Forbidden:
    while True:
        for event in channel.events():
            if isinstance(event, Arrived | Forbidden):
                return event
        assert any(select.select(channel.descriptors, [], [], TIMEOUT)), "nothing came"


@pytest.mark.parametrize("party", [Party.SECONDARY, Party.OPERATOR])
def test_an_operator_may_ask_for_a_switchover_and_a_replica_say_all(
    pair: Path, party: Party
) -> None:
    assert {type(message) for message in SAYS} == set(get_args(Message)), "each kind there is"
    with (
        closing(listen("tcp://127.0.0.1:0", keys.load(pair, Party.PRIMARY), forbidden)) as channel,
        dealer(channel, pair, party) as peer,
    ):
        for message in SAYS:
            peer.send(encode(message))
            event = next_message(channel)
            if party is Party.SECONDARY or isinstance(message, Switchover):
                assert isinstance(event, Arrived) and event.data == encode(message)
                assert channel.send(b"answer", event.peer)
                assert peer.recv() == b"answer"
            else:
                assert event == Forbidden(party, type(message).__name__)


@pytest.mark.parametrize("party", [Party.SECONDARY, Party.OPERATOR])
def test_what_the_primary_says_comes_from_the_primary(pair: Path, party: Party) -> None:
    """Who connects hears nobody else, and of him everything."""
    with (
        closing(listen("tcp://127.0.0.1:0", keys.load(pair, Party.PRIMARY), forbidden)) as channel,
        closing(connect(channel.endpoint, keys.load(pair, party))) as peer,
    ):
        connected(peer)
        assert peer.send(encode(Switchover()), b"")
        event = next_message(channel)
        assert isinstance(event, Arrived)
        for message in SAYS:
            assert channel.send(encode(message), event.peer)
            assert next_message(peer) == Arrived(b"", encode(message))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "a message of 0 bytes"),
        (bytes(1024), "a message with a wrong checksum"),
        (bytes(1025), "1025 bytes at once"),
        (bytes(1 << 20), "1048576 bytes at once"),
    ],
)
def test_what_is_no_message_is_nothing_that_an_operator_may_say(
    pair: Path, data: bytes, what: str
) -> None:
    with (
        closing(listen("tcp://127.0.0.1:0", keys.load(pair, Party.PRIMARY), forbidden)) as channel,
        dealer(channel, pair, Party.OPERATOR) as operator,
    ):
        operator.send(data)
        assert next_message(channel) == Forbidden(Party.OPERATOR, what)


def test_an_operator_by_the_secondarys_name_is_an_operator(pair: Path) -> None:
    """While the secondary is there he says and hears nothing by that name; afterwards he says what
    an operator may."""
    hello = encode(SAYS[0])
    with closing(listen("tcp://127.0.0.1:0", keys.load(pair, Party.PRIMARY), forbidden)) as channel:
        with dealer(channel, pair, Party.SECONDARY, b"me") as secondary:
            secondary.send(hello)
            assert next_message(channel) == Arrived(b"me", hello)
            with dealer(channel, pair, Party.OPERATOR, b"me") as operator:
                operator.send(hello)
                secondary.send(hello)
                assert next_message(channel) == Arrived(b"me", hello)
                assert channel.send(b"for the secondary", b"me")
                assert secondary.recv() == b"for the secondary"
                with pytest.raises(zmq.Again):
                    operator.recv()
        while channel.send(b"until it is gone", b"me"):
            select.select(channel.descriptors, [], [], 0.01)
        assert Disconnected() in channel.events()  # and so all is read that it said
        with dealer(channel, pair, Party.OPERATOR, b"me") as operator:
            operator.send(hello)
            assert next_message(channel) == Forbidden(Party.OPERATOR, "Iam")


def test_without_keys_everybody_may_say_all() -> None:
    with (
        closing(listen("tcp://127.0.0.1:0", None, forbidden)) as channel,
        closing(connect(channel.endpoint, None)) as peer,
    ):
        connected(peer)
        for message in SAYS:
            assert peer.send(encode(message), b"")
            assert receive(channel) == encode(message)


def test_who_says_much_leaves_others_their_turn() -> None:
    """What else a replica has to do waits for so many events at the most."""
    with (
        closing(listen("tcp://127.0.0.1:0", None, forbidden)) as channel,
        closing(connect(channel.endpoint, None)) as peer,
    ):
        connected(peer)
        for _ in range(3000):
            assert peer.send(b"", b"")
        seen = 0
        while seen < 3000:
            events = [e for e in channel.events() if isinstance(e, Arrived)]
            assert len(events) <= 1024
            seen += len(events)


def test_rejections_are_counted_and_told_ever_less_often() -> None:
    rejections = Rejections()
    start = 5 * SECOND
    assert [rejections.count(start) for _ in range(100)] == [True] * 20 + [False] * 80
    assert [rejections.count(start + SECOND) for _ in range(10)] == [True] + [False] * 9
    told = sum(rejections.count(start + SECOND + n * SECOND // 1000) for n in range(60_000))
    assert told == 59
    assert rejections.total == 60_110
    assert [rejections.count(start + 3600 * SECOND) for _ in range(21)] == [True] * 20 + [False]

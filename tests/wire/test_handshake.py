"""Who connects to somebody else than a vlockstep, or to one with other keys, learns it at once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from vlockstep.errors import HostError, UsageError
from vlockstep.protocol.messages import forbidden
from vlockstep.supervise.operator import request_switchover
from vlockstep.wire import keys
from vlockstep.wire.channel import connect, listen
from vlockstep.wire.handshake import look_before_connecting
from vlockstep.wire.keys import Keys, Party

Talk = Callable[[socket.socket], object]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys") / "ours"
    keys.create(directory)
    return directory


@contextmanager
def somebody(talk: Talk) -> Iterator[str]:
    """An endpoint where `talk` is called with each connection, which is closed then."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with closing(server.accept()[0]) as connection, suppress(OSError):
                        talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def until_a_line(connection: socket.socket) -> None:
    heard = b""
    while b"\n" not in heard:
        heard += connection.recv(1000)


def web_server(connection: socket.socket) -> None:
    until_a_line(connection)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + b"x" * 5000)


def redis(connection: socket.socket) -> None:
    until_a_line(connection)
    connection.sendall(b"-ERR unknown command '\xff'\r\n")


def tls(connection: socket.socket) -> None:
    connection.recv(1)
    connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    ("talk", "says"),
    [
        (web_server, "'HTTP/1.1 400 Bad Request'"),
        (lambda c: c.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n"), "'SSH-2.0-OpenSSH_9.2p1'"),
        (redis, r'''"-ERR unknown command '\\xff'"'''),
        (tls, r"'\x15\x03\x01\x00\x02\x02F'"),
        (lambda c: c.sendall(b"\xff" * 70), "'" + r"\\xff" * 60 + "'"),
        (lambda c: c.sendall(b"\n\n"), "''"),
    ],
    ids=["http", "ssh", "redis", "tls", "noise", "nothing readable"],
)
def test_somebody_else_is_named_by_what_he_says(
    pair: Path, talk: Talk, says: str, encrypted: bool
) -> None:
    own = keys.load(pair, Party.SECONDARY) if encrypted else None
    with somebody(talk) as endpoint:
        for go in (lambda: connect(endpoint, own), lambda: request_switchover(endpoint, own, 60)):
            with pytest.raises(HostError) as error:
                go()
            assert str(error.value) == f"{endpoint} is no vlockstep, but somebody who says {says}"


@pytest.mark.parametrize(
    "talk",
    [
        lambda c: None,
        lambda c: c.recv(1000),
        lambda c: c.sendall(b"\xff\0\0"),
        lambda c: c.sendall(b"\xff" + bytes(8) + b"\x7f\3"),
        until_a_line,
    ],
    ids=["closes", "closes later", "begins", "begins more", "is silent"],
)
def test_who_says_too_little_may_be_a_vlockstep(talk: Talk) -> None:
    """One that is stopped, or a proxy whose own peer is not there yet."""
    with somebody(talk) as endpoint:
        look_before_connecting(endpoint, None)


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_where_nobody_listens_somebody_may_later(scheme: str, tmp_path: Path) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        tcp = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        look_before_connecting(tcp if scheme == "tcp" else f"ipc://{tmp_path}/none", None)


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a..b", "x" * 80])
def test_a_name_that_no_host_has(pair: Path, name: str) -> None:
    own = keys.load(pair, Party.SECONDARY)
    with pytest.raises((UsageError, HostError), match=f"{name!r}"):
        connect(f"tcp://{name}:7700", own)


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_keys_on_one_side(pair: Path, scheme: str, tmp_path: Path) -> None:
    where = "tcp://127.0.0.1:0" if scheme == "tcp" else f"ipc://{tmp_path}/channel"
    ours, theirs = keys.load(pair, Party.PRIMARY), keys.load(pair, Party.SECONDARY)
    for own, others in ((ours, None), (None, theirs)):
        with closing(listen(where, own, forbidden)) as channel:
            refused = mismatch(channel.endpoint, others)
        assert (
            refused == f"there are keys {'there and none here' if own else 'here and none there'}"
        )
    for own, others in ((ours, theirs), (None, None)):
        with closing(listen(where, own, forbidden)) as channel:
            connect(channel.endpoint, others).close()


def mismatch(endpoint: str, own: Keys | None) -> str:
    with pytest.raises(HostError) as error:
        connect(endpoint, own)
    said, next_step = str(error.value).removeprefix(f"{endpoint}: ").split("; ")
    assert next_step == "give keys to both sides, or to neither"
    return said

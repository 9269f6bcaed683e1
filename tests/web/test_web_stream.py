"""The stream: who comes back misses nothing, who reads nothing is dropped."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import takewhile

import pytest
from commands import wait_until
from simulated import TEXT
from webclient import Client, Message, applied, simulated

from vlockstep.web.serving import MOST


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with simulated("--guests", 300, "--patience", 0.5, "--head-seconds", 0.5) as made:
        yield made


def take(messages: Iterator[Message], count: int) -> list[Message]:
    return [message for _, message in zip(range(count), messages, strict=False)]


def test_the_view_and_then_its_changes(client: Client) -> None:
    with client.stream() as messages:
        first, *changes = take(messages, 4)
        view = first.data
        assert first.event == "view" and first.id == view["revision"]
        for message in changes:
            assert message.event == "change" and message.id == view["revision"] + 1
            view = applied(view, message.data)
    with client.stream(f"?after={view['revision'] - 1}") as messages:
        assert take(messages, 1) == [changes[-1]], "the same for everybody"


def test_who_comes_back_misses_nothing(client: Client) -> None:
    with client.stream() as messages:
        view = take(messages, 1)[0].data
    with client.stream() as messages:
        later = take(messages, 3)[-1]
    with client.stream(Last_Event_ID=str(view["revision"])) as messages:
        for message in takewhile(lambda message: message.id <= later.id, messages):
            assert message.event == "change"
            view = applied(view, message.data)
    assert view["revision"] == later.id


@pytest.mark.parametrize("known", [0, 1 << 50])
def test_who_knows_another_server_gets_all(client: Client, known: int) -> None:
    with client.stream(f"?after={known}") as messages:
        assert take(messages, 1)[0].event == "view"


def test_two_at_once_see_the_same(client: Client) -> None:
    with client.stream() as one, client.stream() as other:
        first, second = take(one, 3), take(other, 3)
    seen = {message.id: message.data for message in first if message.event == "change"}
    both = [m for m in second if m.event == "change" and m.id in seen]
    assert both and all(message.data == seen[message.id] for message in both)


def test_a_console_is_told_to_who_asked(client: Client) -> None:
    after = len(TEXT) - 100
    with client.stream(f"?console=guest-001&from={after}") as messages:
        (piece,) = take(filter(lambda message: message.event == "console", messages), 1)
    assert piece.id is None, "who comes back goes on behind the last change"
    assert piece.data["text"].encode() == TEXT[after:]
    assert (piece.data["after"], piece.data["next"]) == (after, len(TEXT))


def test_a_console_of_nobody_disturbs_nothing(client: Client) -> None:
    with client.stream("?console=nobody") as messages:
        assert [message.event for message in take(messages, 2)] == ["view", "change"]


def test_who_reads_nothing_is_dropped(client: Client) -> None:
    """And others are told meanwhile."""
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", client.port))
        for _ in range(20):  # as many views as no buffer between has room for
            deaf.sendall(_request(client, "GET /api/view"))
        deaf.sendall(_request(client, "GET /api/stream"))
        poller = select.poll()
        poller.register(deaf, 0)
        with client.stream() as messages:
            assert take(messages, 2)
        with pytest.raises(ConnectionError):
            for _ in range(600):
                poller.poll(100)
                deaf.send(b"x")  # who has read all requests before says nothing when it closes


@pytest.mark.parametrize(
    ("request_line", "then"),
    [
        ("GET /api/view", b"GET /api/view HTTP/1.1\r\nHo"),
        ("POST /api/guests/guest-001/stop", b"{"),
    ],
)
def test_who_is_answered_and_asks_nothing_more_is_not_kept(
    client: Client, request_line: str, then: bytes
) -> None:
    """Whatever it sends: half a request, or a body that never ends."""
    stranger = client.with_token(None)
    with socket.create_connection(("127.0.0.1", client.port), 60) as kept:
        length = "Content-Length: 100\r\n\r\n" if request_line.startswith("POST") else "\r\n"
        kept.sendall(_request(stranger, request_line)[:-2] + length.encode())
        assert kept.recv(4096).startswith(b"HTTP/1.1 401")
        kept.sendall(then)
        while kept.recv(4096):
            pass


def test_connections_are_bounded() -> None:
    """One more is ended without an answer, so that descriptors are left."""
    with simulated("--guests", 2, "--head-seconds", 100) as client:
        with ExitStack() as stack:
            many = [stack.enter_context(socket.socket()) for _ in range(MOST + 1)]
            for each in many:
                each.connect(("127.0.0.1", client.port))
            with suppress(ConnectionError):
                many[-1].sendall(_request(client, "GET /api/session"))
                assert many[-1].recv(1) == b""

        def answers() -> bool:
            with suppress(ConnectionError):
                return client.get("/api/session").status == 200
            return False

        wait_until(answers)


def _request(client: Client, line: str) -> bytes:
    fields = {"Host": f"127.0.0.1:{client.port}", **client.headers({})}
    head = [f"{line} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*head, "", ""]).encode()

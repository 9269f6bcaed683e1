"""The control socket: what is answered, what is told, and who cannot be in anybody's way."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.ft.events import Alone, Memory, Notice, Started, Status
from vlockstep.protocol.states import State
from vlockstep.supervise import control
from vlockstep.supervise.control import EVENTS, MAX_CLIENTS, MAX_LINE, Answer, ControlServer
from vlockstep.supervise.rundir import RunDirectory

TIMEOUT = 20.0
ASK_STATUS = b'{"ask": "status"}\n'


class Client:
    """Lines of JSON, one after another; the greeting has been read."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT)
        self.socket = connection
        self._lines = connection.makefile("rb")
        self.hello = self.read()

    def say(self, what: bytes | Mapping[str, Any]) -> None:
        self.socket.sendall(what if isinstance(what, bytes) else json.dumps(what).encode() + b"\n")

    def read(self) -> dict[str, Any] | None:
        """None at the end."""
        with suppress(ConnectionResetError):
            line = self._lines.readline()
            return json.loads(line) if line else None
        return None

    def ask(self, command: str, **details: Any) -> dict[str, Any]:
        self.say({"ask": command, **details})
        while True:
            answer = self.read()
            assert answer is not None
            if "revision" not in answer and answer.get("event") != "dropped":
                return answer

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


class Guest:
    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.waiting: list[Answer] = []
        self.clients: list[Client] = []
        commands = {"status": self.status, "slow": self.slow, "broken": self.broken}
        listener = directory.claim("books", "ledger")[1]
        self.server = ControlServer(listener, {"name": "books"}, commands)

    def status(self, request: Mapping[str, Any], answer: Answer) -> None:
        answer({"state": "alone"})

    def slow(self, request: Mapping[str, Any], answer: Answer) -> None:
        self.waiting.append(answer)

    def broken(self, request: Mapping[str, Any], answer: Answer) -> None:
        raise ZeroDivisionError("a bug")

    def client(self) -> Client:
        made = Client(self.directory.connect("books"))
        self.clients.append(made)
        return made

    def notices(self, count: int, text: str = "n") -> None:
        for number in range(count):
            self.server.observe(Notice(f"{text}{number}"))


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    made = Guest(RunDirectory(tmp_path / "run"))
    yield made
    for client in made.clients:
        client.close()
    made.server.close()


# Asking


def test_everybody_is_told_who_this_is(guest: Guest) -> None:
    hello = guest.client().hello
    assert hello is not None
    assert (hello["hello"], hello["protocol"], hello["name"]) == ("vlockstep", 1, "books")
    assert guest.client().hello == hello, "one life has one instance"


def test_what_is_asked_is_answered_in_order(guest: Guest) -> None:
    client = guest.client()
    client.say(b'{"ask": "slow"}\n{"ask": "nope"}\n' + ASK_STATUS)
    assert guest.client().ask("status") == {"answer": "status", "state": "alone"}
    guest.waiting[0]({"generation": 2})
    assert client.read() == {"answer": "slow", "generation": 2}
    known = "there are: events, broken, slow, status"
    assert client.read() == {"answer": "nope", "error": f"no command 'nope'; {known}"}
    assert client.read() == {"answer": "status", "state": "alone"}


def test_a_bug_in_a_command_is_an_answer(guest: Guest) -> None:
    client = guest.client()
    assert client.ask("broken")["error"] == "ZeroDivisionError: a bug"
    assert client.ask("status")["state"] == "alone"


def test_who_only_asks_and_listens_gets_an_answer(guest: Guest) -> None:
    client = guest.client()
    client.say(ASK_STATUS.strip())
    client.socket.shutdown(socket.SHUT_WR)
    assert client.read() == {"answer": "status", "state": "alone"}
    assert client.read() is None


# Events


def test_events_are_told_as_they_happen(guest: Guest) -> None:
    client = guest.client()
    assert client.ask("events") == {"answer": "events", "after": 0}
    guest.server.observe(Started())
    guest.server.observe(Status("primary", State.ALONE, 1, 0, 0, 0, 0))
    guest.server.observe(Memory(0, b"secret", ""))
    guest.server.observe(Alone(2))
    first, second = client.read(), client.read()
    assert first is not None and second is not None
    assert (first["revision"], first["event"]) == (1, "started")
    assert (second["revision"], second["event"], second["generation"]) == (2, "alone", 2)
    assert first["time"] <= second["time"]


def test_who_comes_back_misses_nothing(guest: Guest) -> None:
    guest.notices(EVENTS)
    seen: list[int] = []
    while len(seen) < EVENTS:
        client = guest.client()
        client.ask("events", after=len(seen))
        for _ in range(EVENTS // 4):
            told = client.read()
            assert told is not None
            seen.append(told["revision"])
        client.close()
    assert seen == list(range(1, EVENTS + 1))


def test_who_comes_back_late_is_told_how_many_are_gone(guest: Guest) -> None:
    guest.notices(EVENTS + 7)
    client = guest.client()
    client.ask("events", after=2)
    assert client.read() == {"event": "dropped", "count": 5}
    told = client.read()
    assert told is not None and (told["revision"], told["text"]) == (8, "n7")


def test_revisions_that_there_are_not(guest: Guest) -> None:
    client = guest.client()
    for after in (1, -1, True, "0", None, 1.0):
        assert "error" in client.ask("events", after=after)


def test_the_last_events_are_told_in_the_end(guest: Guest) -> None:
    client = guest.client()
    client.ask("events")
    guest.notices(100)
    guest.server.close()
    told = [client.read() for _ in range(101)]
    assert told[-2] is not None and told[-2]["revision"] == 100
    assert told[-1] is None


# Hostile clients


def still_serves(guest: Guest) -> bool:
    """As soon as it has seen who has gone."""
    client = guest.client()
    while client.hello is None or "error" in client.hello:
        client = guest.client()
    answer = client.ask("status")
    client.close()
    return answer == {"answer": "status", "state": "alone"}


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_that_is_too_long(guest: Guest, end: bytes) -> None:
    client = guest.client()
    with suppress(BrokenPipeError, ConnectionResetError):
        client.say(b"x" * (3 * MAX_LINE) + end)
    assert client.read() in ({"error": f"a line is longer than {MAX_LINE} bytes"}, None)
    assert client.read() is None
    assert still_serves(guest)


@pytest.mark.parametrize(
    "line",
    [b"", b"5", b"[]", b"{}", b'{"ask": 5}', b"\xff\0", b'"ask"', b"[" * 4000, b'{"ask": null}'],
)
def test_what_is_no_question(guest: Guest, line: bytes) -> None:
    client = guest.client()
    client.say(line + b"\n")
    assert client.read() == {"error": 'a line is {"ask": COMMAND, ...}, in JSON'}
    assert client.ask("status")["state"] == "alone"


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    guest = Guest(RunDirectory(tmp_path_factory.mktemp("run") / "run"))
    client = guest.client()
    client.say(data)
    client.socket.shutdown(socket.SHUT_WR)
    while client.read() is not None:
        pass
    assert still_serves(guest)
    client.close()
    guest.server.close()


def test_more_clients_than_there_is_room_for(guest: Guest) -> None:
    clients = [guest.client() for _ in range(MAX_CLIENTS)]
    for _ in range(1000):
        one_more = guest.client()
        assert one_more.hello == {"error": f"{MAX_CLIENTS} others are connected already"}
        one_more.close()
    assert clients[-1].ask("status")["state"] == "alone"
    for client in clients:
        client.close()
    assert still_serves(guest)


def test_who_asks_nothing_makes_room(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.1)
    silent, following = guest.client(), guest.client()
    following.ask("events")
    assert silent.read() is None
    guest.notices(1)
    assert following.read() is not None


def test_who_takes_no_event_keeps_nobody_waiting(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped, and others learn that."""
    monkeypatch.setattr(control, "PATIENCE", 0.5)
    deaf, following = guest.client(), guest.client()
    deaf.ask("events")
    following.ask("events")
    finish = threading.Thread(target=guest.notices, args=(EVENTS, "x" * 5000))
    finish.start()
    finish.join(TIMEOUT)
    assert not finish.is_alive()
    assert wait_for(following, lambda told: "is dropped" in told.get("text", ""))
    assert still_serves(guest)


def wait_for(client: Client, fits: Callable[[dict[str, Any]], bool]) -> bool:
    while (told := client.read()) is not None:
        if fits(told):
            return True
    return False


def test_who_vanishes_in_the_midst(guest: Guest) -> None:
    for what in (b"", b'{"ask": "sl', b'{"ask": "slow"}\n', b'{"ask": "events"}\n'):
        client = guest.client()
        client.say(what)
        client.close()
    guest.notices(3)
    for answer in guest.waiting:
        answer({})
    assert still_serves(guest)

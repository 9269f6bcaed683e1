"""Who asks a server over HTTP, as a program does."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from simulated import TOKENS

from vlockstep.testing.process import environment

JSON = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Of a server at this port of this computer."""

    def __init__(self, port: int, token: str | None = TOKENS.act) -> None:
        self.port = port
        self.token = token

    def with_token(self, token: str | None) -> Client:
        return Client(self.port, token)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, self.headers(headers))
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, told, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, given: Any = None, **headers: str) -> Answer:
        body = json.dumps({} if given is None else given).encode()
        return self.ask("POST", path, body, **{**JSON, **headers})

    def headers(self, others: dict[str, str]) -> dict[str, str]:
        own = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        return own | {name.replace("_", "-"): value for name, value in others.items()}

    @contextmanager
    def stream(self, query: str = "", **headers: str) -> Iterator[Iterator[Message]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", f"/api/stream{query}", headers=self.headers(headers))
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            yield _messages(answer)
        finally:
            connection.close()


class Message(NamedTuple):
    event: str
    id: int | None
    data: Any


def _messages(answer: http.client.HTTPResponse) -> Iterator[Message]:
    fields: dict[str, str] = {}
    while line := answer.readline().decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "event" in fields:
            number = fields.get("id")
            data = json.loads(fields["data"])
            yield Message(fields["event"], None if number is None else int(number), data)
            fields = {}


@contextmanager
def simulated(*options: object) -> Iterator[Client]:
    """A server process whose source is simulated."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.web.simulated", *map(str, options)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().partition("#")[0]
            yield Client(int(address.rstrip("/").rpartition(":")[2]))
        finally:
            process.terminate()


def applied(view: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The view with a change, as a page makes it."""
    made = json.loads(json.dumps(view))
    for path, value in change["set"]:
        place = made
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
    for path in change["unset"]:
        place = made
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
    made["events"] = [*made["events"], *change["events"]][-1000:]
    made["revision"] = change["revision"]
    return made

"""Who asks running guests by their control sockets: one of them, or all of a run directory."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from vlockstep.errors import HostError, UsageError
from vlockstep.supervise.rundir import CONNECT_SECONDS, RunDirectory

ANSWER_SECONDS = 5.0
SILENCE_SECONDS = 60.0
_MAX_LINE = 64 << 20
_CHUNK = 1 << 16
_LEAST_SECONDS = 0.05
"""For each guest, though others took all the time."""


class Gone(HostError):
    """The guest has ended, or this process of it has."""


class GuestClient:
    """A connection to the guest of this name. Raises `UsageError` if there is none, and `HostError`
    for what it refuses or does not answer in time."""

    def __init__(
        self, directory: RunDirectory, name: str, seconds: float = CONNECT_SECONDS
    ) -> None:
        self.name = name
        self._received = b""
        self._socket = directory.connect(name, seconds)
        self._socket.setblocking(False)
        self.hello: Mapping[str, Any] = {}
        """Who it says to be; empty until it has."""

    def ask(self, command: str, seconds: float = ANSWER_SECONDS, **details: Any) -> dict[str, Any]:
        """What it answers, in this time."""
        self.send(command, **details)
        deadline = time.monotonic() + seconds
        while True:
            said = self.read(deadline - time.monotonic())
            if said is None:
                raise HostError(f"{self.name} does not answer within {seconds:g} s")
            if "answer" in said:
                return said

    def request(self, command: str, tell: Callable[[str], None], **details: Any) -> dict[str, Any]:
        """What it answers when it has done what takes a while; `tell` is told how far it is. Waits
        as long as it tells anything."""
        self.send(command, **details)
        while True:
            said = self.read(SILENCE_SECONDS)
            if said is None:
                raise HostError(f"{self.name} says nothing any more, for {SILENCE_SECONDS:g} s")
            if "answer" in said:
                return said
            if "progress" in said:
                tell(said["progress"])

    def wait_end(self, seconds: float) -> bool:
        """Whether it has gone in this time."""
        deadline = time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0:
                self.read(left)
        except Gone:
            return True
        return False

    def send(self, command: str, **details: Any) -> None:
        try:
            self._socket.sendall(json.dumps({"ask": command, **details}).encode() + b"\n")
        except OSError as error:
            raise Gone(f"{self.name} has gone") from error

    def events(self, after: int | None) -> Iterator[dict[str, Any]]:
        """Those after a revision, or from now on; until it has gone."""
        self.ask("events", **({} if after is None else {"after": after}))
        try:
            while True:
                said = self.read(None)
                if said is not None and "event" in said:
                    yield said
        except Gone:
            return

    def read(self, seconds: float | None) -> dict[str, Any] | None:
        """What it says next but for the greeting; None if not in this time."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            line, found, rest = self._received.partition(b"\n")
            if found:
                self._received = rest
                said = self._decode(line)
                if "hello" in said:
                    self.hello = said
                    continue
                if "error" in said:
                    raise HostError(f"{self.name}: {said['error']}")
                return said
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._socket], [], [], left)[0]:
                return None
            self._receive()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except OSError as error:
            raise Gone(f"{self.name} has gone") from error
        if not data or len(self._received) > _MAX_LINE:
            raise Gone(f"{self.name} has gone")
        self._received += data

    def _decode(self, line: bytes) -> dict[str, Any]:
        try:
            said = json.loads(line)
            if isinstance(said, dict):
                return said
        except (ValueError, RecursionError):
            pass
        raise HostError(f"what listens as {self.name} is no guest: it says {line[:40]!r}")


def facts(said: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer or a greeting tells besides what it is."""
    return {key: value for key, value in said.items() if key not in ("answer", "event", "hello")}


@dataclass(frozen=True)
class Sight:
    """A guest, when somebody looked; `status` is None if it did not answer."""

    name: str
    about: Mapping[str, Any]
    status: Mapping[str, Any] | None

    @property
    def state(self) -> str:
        """For people."""
        return "no answer" if self.status is None else str(self.status["state_text"])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**facts(self.about), "name": self.name, "status": self.status}


class Watch:
    """Looks at all guests of a run directory, again and again. `heard` is told what happens to each
    meanwhile, and at first what is still known: the guest's name, its greeting, and an event."""

    def __init__(
        self,
        directory: RunDirectory,
        heard: Callable[[str, Mapping[str, Any], Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._directory = directory
        self._heard = heard
        self._heard_up_to: dict[str, tuple[object, int]] = {}
        """By name: of which process, and the last revision."""
        self._clients: dict[str, GuestClient] = {}

    def look(self, seconds: float = 1.0) -> list[Sight]:
        """All there are, by name; those that take longer to answer have no status."""
        deadline = time.monotonic() + seconds
        silent = self._connect(deadline)
        statuses: dict[str, Mapping[str, Any]] = {}
        asked = {}
        for name, client in [*self._clients.items()]:
            try:
                client.send("status")
                asked[name] = client
            except HostError:
                with suppress(HostError):
                    self._status(client)  # its last words
                self._drop(name)
        while asked and (left := deadline - time.monotonic()) > 0:
            for client in select.select([*asked.values()], [], [], left)[0]:
                try:
                    status = self._status(client)
                except HostError:
                    self._drop(client.name)
                    del asked[client.name]
                    continue
                if status is not None:
                    statuses[client.name] = status
                    del asked[client.name]
        sights = [Sight(n, c.hello, statuses.get(n)) for n, c in self._clients.items()]
        sights += [Sight(name, {}, None) for name in silent]
        for name in asked:  # a late answer would be taken for the next one
            self._drop(name)
        return sorted(sights, key=attrgetter("name"))

    def _status(self, client: GuestClient) -> Mapping[str, Any] | None:
        """If it has come by now."""
        found = None
        while (said := client.read(0)) is not None:
            if said.get("answer") == "status":
                found = facts(said)
            elif "revision" in said:
                self._hear(client, said)
        return found

    def _hear(self, client: GuestClient, event: Mapping[str, Any]) -> None:
        """Once, though it is told anew on each connection."""
        process, last = self._heard_up_to.get(client.name, (None, 0))
        instance, revision = client.hello.get("instance"), event["revision"]
        if process != instance or revision > last:
            self._heard_up_to[client.name] = instance, revision
            if self._heard is not None:
                self._heard(client.name, client.hello, event)

    def close(self) -> None:
        for name in [*self._clients]:
            self._drop(name)

    def _connect(self, deadline: float) -> list[str]:
        """Those that are there and do not accept."""
        silent = []
        names = self._directory.names()
        self._heard_up_to = {n: last for n, last in self._heard_up_to.items() if n in names}
        for name in names:
            if name not in self._clients:
                left = max(_LEAST_SECONDS, deadline - time.monotonic())
                try:
                    client = self._clients[name] = GuestClient(self._directory, name, left)
                    if self._heard is not None:
                        client.send("events", after=0)
                except UsageError:  # it has gone
                    continue
                except HostError:
                    silent.append(name)
        return silent

    def _drop(self, name: str) -> None:
        self._clients.pop(name).close()

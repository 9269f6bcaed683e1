"""Who asks running guests by their control sockets: one of them, or all of a run directory."""

from __future__ import annotations

import json
import math
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
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
_MOST_DIGITS = 300
"""Of an integer: longer ones are no `float`."""
_MOST_BYTES = 4 << 20
_MOST_LINES = 4000
"""Who says more than that without the answer that it owes to a `Watch` is no longer heard."""
_AGAIN_SECONDS = 0.02
"""After which a guest that did not accept is tried again."""


class Gone(HostError):
    """The guest has ended, or this process of it has."""


class GuestClient:
    """A connection to the guest of this name. Raises `UsageError` if there is none, and `HostError`
    for what it refuses or does not answer in time."""

    def __init__(
        self, directory: RunDirectory, name: str, seconds: float = CONNECT_SECONDS
    ) -> None:
        self.name = name
        self._lines: deque[bytes] = deque()
        self._begun = bytearray()
        """A line of which the end is yet to come."""
        self._said_bytes = self._said_lines = 0
        self._socket = directory.connect(name, seconds)
        self._socket.setblocking(False)
        self.hello: Mapping[str, Any] = {}
        """Who it says to be; empty until it has."""

    def ask(self, command: str, seconds: float = ANSWER_SECONDS, **details: Any) -> dict[str, Any]:
        """What it answers, in this time."""
        self.send(command, **details)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            said = self.read(left)
            if said is not None and "answer" in said:
                return said
        raise HostError(f"{self.name} does not answer within {seconds:g} s")

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

    @property
    def says_too_much(self) -> bool:
        """Since it was asked last."""
        return self._said_bytes > _MOST_BYTES or self._said_lines > _MOST_LINES

    def send(self, command: str, **details: Any) -> None:
        self._said_bytes = self._said_lines = 0
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
        """What it says next but for the greeting; None if not in this time. Without time it is what
        has come by now, of which at most a piece is taken."""
        deadline = None if seconds is None else time.monotonic() + seconds
        left = seconds
        while True:
            while self._lines:
                said = self._decode(self._lines.popleft())
                if "error" in said:
                    raise HostError(f"{self.name}: {said['error']}")
                if "hello" not in said:
                    return said
                self.hello = said
            if left is not None and left < 0:
                return None
            if not _readable([self], left):
                return None
            self._receive()
            left = None if deadline is None else deadline - time.monotonic()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except OSError as error:
            raise Gone(f"{self.name} has gone") from error
        if not data:
            raise Gone(f"{self.name} has gone")
        first, *others = data.split(b"\n")
        self._begun += first
        if len(self._begun) > _MAX_LINE:
            raise HostError(f"what listens as {self.name} is no guest: its line has no end")
        if others:
            self._lines += (bytes(self._begun), *others[:-1])
            self._begun = bytearray(others[-1])
        self._said_bytes += len(data)
        self._said_lines += len(others)

    def _decode(self, line: bytes) -> dict[str, Any]:
        try:
            said = json.loads(line, parse_constant=_float, parse_float=_float, parse_int=_integer)
            if isinstance(said, dict):
                return said
            why = "no object"
        except (ValueError, RecursionError) as error:
            why = str(error)
        raise HostError(f"what listens as {self.name} is no guest: it says {line[:40]!r} ({why})")


def _float(text: str) -> float:
    """What is not finite is no JSON, and nobody can tell it on."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not finite")
    return value


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number has more than {_MOST_DIGITS} digits")
    return int(text)


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
    meanwhile, and at first what is still known: the guest's name, its greeting, and an event.

    All are asked at once. Who does not answer in time is waited for once, and then only asked for
    its answer at each look: it delays nobody. Who says what no guest says, or too much, is asked
    anew at the next look, and is not waited for either."""

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
        self._owing: set[str] = set()
        """Those that were asked and have not answered yet."""
        self._silent: set[str] = set()
        """Those that did not answer, or accept, or were refused, at the last look."""

    def look(self, seconds: float = 2.0) -> list[Sight]:
        """All there are, by name; those that take longer to answer have no status."""
        deadline = time.monotonic() + seconds
        names = self._directory.names()
        self._heard_up_to = {n: last for n, last in self._heard_up_to.items() if n in names}
        closed = self._connect(names)
        for client in [*self._clients.values()]:
            self._ask(client)
        seen = self._listen(0, deadline)
        while (closed | self._owing) - self._silent:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            seen |= self._listen(min(left, _AGAIN_SECONDS) if closed else left, deadline)
            closed = self._connect(closed)
        refused = seen.keys() - self._clients.keys()
        self._silent = closed | self._owing | refused
        unseen = {name: Sight(name, {}, None) for name in closed}
        unseen |= {name: Sight(name, c.hello, None) for name, c in self._clients.items()}
        return sorted((unseen | seen).values(), key=attrgetter("name"))

    def _connect(self, names: Iterable[str]) -> set[str]:
        """Those of them that do not accept."""
        closed = set()
        for name in names:
            if name not in self._clients:
                try:
                    client = GuestClient(self._directory, name, 0)
                except UsageError:  # it has gone
                    continue
                except HostError:
                    closed.add(name)
                    continue
                self._clients[name] = client
                self._ask(client, events=self._heard is not None)
        return closed

    def _ask(self, client: GuestClient, events: bool = False) -> None:
        """For its status, unless it has been, and for all its `events` from now on."""
        if client.name in self._owing:
            return
        try:
            if events:
                client.send("events", after=0)
            client.send("status")
        except HostError:
            with suppress(HostError):
                while _readable([client], 0):
                    self._status(client)  # its last words
            self._drop(client.name)
        else:
            self._owing.add(client.name)

    def _listen(self, seconds: float, deadline: float) -> dict[str, Sight]:
        """Those that answer in this time, and without a status those that are refused."""
        found = {}
        owing = [self._clients[name] for name in self._owing]
        for client in _readable(owing, seconds):
            try:
                status = self._status(client)
            except Gone:
                self._drop(client.name)
            except HostError:
                found[client.name] = Sight(client.name, client.hello, None)
                self._drop(client.name)
            else:
                if status is not None:
                    found[client.name] = Sight(client.name, client.hello, status)
                    self._owing.discard(client.name)
            if time.monotonic() > deadline:
                break
        return found

    def _status(self, client: GuestClient) -> Mapping[str, Any] | None:
        """If it has come by now."""
        found = None
        while (said := client.read(0)) is not None:
            if said.get("answer") == "status":
                found = facts(said)
            elif "revision" in said:
                self._hear(client, said)
            if client.says_too_much:
                break
        if found is None and client.says_too_much:
            raise HostError(f"{client.name} says too much")
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

    def _drop(self, name: str) -> None:
        self._clients.pop(name).close()
        self._owing.discard(name)
        self._silent.discard(name)


def _readable(clients: Iterable[GuestClient], seconds: float | None) -> list[GuestClient]:
    """Those that have said something, as soon as one has, or none after this time."""
    with selectors.PollSelector() as selector:  # `select` takes no descriptor above 1023
        for client in clients:
            selector.register(client, selectors.EVENT_READ, client)
        return [key.data for key, _ in selector.select(seconds)]

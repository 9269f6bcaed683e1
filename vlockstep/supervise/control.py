"""The control socket of a running guest: who asks is answered, who follows is told every event.

Lines of JSON over a Unix stream socket; see README.md beside this file. A thread of its own serves
all clients, so that neither the guest nor the protocol waits for any. What a client is told comes
from a ring of events: one that reads slowly is told how many it missed, and nothing piles up. One
that takes nothing at all, or asks nothing, is dropped.
"""

from __future__ import annotations

import contextlib
import json
import queue
import select
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

PROTOCOL = 1
EVENTS = 1000
"""So many of the newest are kept."""
MAX_LINE = 4096
"""Bytes of what a client asks."""
MAX_CLIENTS = 32
PATIENCE = 10.0
"""Seconds for a client to ask something, or to take something of what it gets."""
_FAREWELL = 0.5
"""Seconds in the end for clients to take the rest."""
_UNTOLD = ("status", "memory")
"""Events that are asked for by hand, or all the time, and have a way of their own."""
_CHUNK = 1 << 16
_TICK_MS, _FAREWELL_MS = 1000, 50

Answer = Callable[[dict[str, Any]], None]
"""Takes what is answered, from any thread; `error` in it says why not. With `progress` in it the
answer is still to come."""
Command = Callable[[Mapping[str, Any], Answer], None]
"""Takes what was asked, and answers once, sooner or later; it is in nobody's way meanwhile."""


class Told(Protocol):
    """An `ft.events.Event`, or what becomes one when somebody wants to know."""

    @property
    def name(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...


class EventRing:
    """The newest events, numbered from 1 in the order they happened: their *revisions*."""

    def __init__(self, limit: int = EVENTS) -> None:
        self._lock = threading.Lock()
        self._events: deque[tuple[float, Told]] = deque(maxlen=limit)
        self.last = 0
        """The newest event's revision."""

    def add(self, event: Told) -> None:
        with self._lock:
            self._events.append((time.time(), event))
            self.last += 1

    def next(self, revision: int) -> tuple[int, dict[str, Any]] | None:
        """What comes after `revision`, and up to which revision that tells; None if nothing."""
        with self._lock:
            first = self.last - len(self._events) + 1
            if revision >= self.last:
                return None
            if revision + 1 < first:
                return first - 1, {"event": "dropped", "count": first - 1 - revision}
            then, event = self._events[revision + 1 - first]
        return revision + 1, {"revision": revision + 1, "time": then, **event.to_dict()}


class _Client:
    def __init__(self, socket: socket.socket, to_send: bytes) -> None:
        self.socket = socket
        self.received = b""
        self.to_send = to_send
        self.after: int | None = None
        """The revision that it was told last, if it follows."""
        self.asked = ""
        """What it waits for an answer to."""
        self.finished = False
        """It says nothing any more."""
        self.moved = time.monotonic()
        """When it last said or took something."""


class ControlServer:
    """Serves a listening socket until `close`. `about` tells every client who this is; `commands`
    are what can be asked."""

    def __init__(
        self, listener: socket.socket, about: Mapping[str, Any], commands: Mapping[str, Command]
    ) -> None:
        self._listener = listener
        self._commands = dict(commands)
        self._ring = EventRing()
        self._clients: dict[int, _Client] = {}
        self._answers: queue.SimpleQueue[tuple[_Client, dict[str, Any]]] = queue.SimpleQueue()
        self._wake_receive, self._wake_send = socket.socketpair()
        self._wake_receive.setblocking(False)
        self._wake_send.setblocking(False)
        self._closing_at: float | None = None
        self._accept_at = 0.0
        hello = {"hello": "vlockstep", "protocol": PROTOCOL, "instance": uuid.uuid4().hex}
        self._hello = _line(hello | dict(about))
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def observe(self, event: Told) -> None:
        """From any thread."""
        if event.name not in _UNTOLD:
            self._ring.add(event)
            self._wake()

    def close(self) -> None:
        """Tell the rest to who takes it soon."""
        self._closing_at = time.monotonic() + _FAREWELL
        self._wake()
        self._thread.join()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full of reasons to wake, or closed
            self._wake_send.send(b"!")

    # The thread

    def _run(self) -> None:
        try:
            while self._closing_at is None:
                self._turn()
            self._turn()
            while self._busy():
                self._turn()
        finally:
            for client in [*self._clients.values()]:
                self._drop(client)
            for each in (self._listener, self._wake_receive, self._wake_send):
                each.close()

    def _busy(self) -> bool:
        """In the end: whether somebody may take more."""
        assert self._closing_at is not None
        return self._unsent() and time.monotonic() < self._closing_at

    def _unsent(self) -> bool:
        return any(client.to_send for client in self._clients.values())

    def _turn(self) -> None:
        ready = self._poll()
        if self._wake_receive.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                self._wake_receive.recv(4096)
        if self._listener.fileno() in ready:
            self._accept()
        while not self._answers.empty():
            client, answer = self._answers.get()
            if "progress" in answer:
                client.to_send += _line(answer)
                continue
            client.to_send += _line({"answer": client.asked, **answer})
            client.asked = ""
        now = time.monotonic()
        for descriptor, client in [*self._clients.items()]:
            try:
                self._serve(client, ready.get(descriptor, 0), now)
            except OSError:  # it has gone
                self._drop(client)

    def _poll(self) -> dict[int, int]:
        poller = select.poll()
        poller.register(self._wake_receive, select.POLLIN)
        if time.monotonic() >= self._accept_at and self._closing_at is None:
            poller.register(self._listener, select.POLLIN)
        for descriptor, client in self._clients.items():
            listening = not client.finished and not client.asked and not client.to_send
            what = select.POLLIN if listening else 0
            poller.register(descriptor, what | (select.POLLOUT if client.to_send else 0))
        if self._closing_at is not None:
            return dict(poller.poll(_FAREWELL_MS if self._unsent() else 0))
        return dict(poller.poll(_TICK_MS if self._clients or self._accept_at else None))

    def _accept(self) -> None:
        try:
            made, _ = self._listener.accept()
        except OSError:  # such as too many open files: not now
            self._accept_at = time.monotonic() + 0.1
            return
        self._accept_at = 0.0
        made.setblocking(False)
        if len(self._clients) >= MAX_CLIENTS:
            with made, contextlib.suppress(OSError):
                made.send(_line({"error": f"{MAX_CLIENTS} others are connected already"}))
            return
        self._clients[made.fileno()] = _Client(made, self._hello)

    def _serve(self, client: _Client, ready: int, now: float) -> None:
        if ready & select.POLLIN:
            self._receive(client, now)
        elif ready & ~select.POLLOUT:
            self._drop(client)
            return
        self._send(client, now)
        while not client.asked and not client.to_send and self._ask_next(client):
            self._send(client, now)
        owes = client.to_send or (client.after is None and not client.asked)
        if owes and now > client.moved + PATIENCE:
            if client.after is not None:
                from vlockstep.ft.events import Notice

                why = f"who followed the events here took none for {PATIENCE:g} s, and is dropped"
                self._ring.add(Notice(why))
            self._drop(client)
        elif client.finished and client.after is None and not client.asked and not client.to_send:
            self._drop(client)

    def _receive(self, client: _Client, now: float) -> None:
        data = client.socket.recv(MAX_LINE)
        client.moved = now
        client.received += data
        if not data:
            client.finished = True
            client.received += b"\n" if client.received else b""

    def _ask_next(self, client: _Client) -> bool:
        """Whether there was anything."""
        line, found, rest = client.received.partition(b"\n")
        if len(line) > MAX_LINE or (not found and len(client.received) > MAX_LINE):
            client.to_send += _line({"error": f"a line is longer than {MAX_LINE} bytes"})
            client.received, client.finished, client.after = b"", True, None
            return True
        if found:
            client.received = rest
            self._ask(client, line)
        return bool(found)

    def _ask(self, client: _Client, line: bytes) -> None:
        try:
            request = json.loads(line)
            name = request["ask"]
            if type(name) is not str:
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError):
            client.to_send += _line({"error": 'a line is {"ask": COMMAND, ...}, in JSON'})
            return
        client.asked = name
        answer = self._answer_to(client)
        if name == "events":
            self._follow(client, request, answer)
        elif name in self._commands:
            try:
                self._commands[name](request, answer)
            except Exception as error:  # a bug in a command must not end the thread
                answer({"error": f"{type(error).__name__}: {error}"})
        else:
            known = ", ".join(["events", *sorted(self._commands)])
            answer({"error": f"no command {name[:40]!r}; there are: {known}"})

    def _answer_to(self, client: _Client) -> Answer:
        def answer(what: dict[str, Any]) -> None:
            self._answers.put((client, what))
            self._wake()

        return answer

    def _follow(self, client: _Client, request: Mapping[str, Any], answer: Answer) -> None:
        after = request.get("after", self._ring.last)
        if type(after) is not int or not 0 <= after <= self._ring.last:
            answer({"error": f"revisions are whole numbers from 0 to {self._ring.last}"})
            return
        client.after = after
        answer({"after": after})

    def _send(self, client: _Client, now: float) -> None:
        """Also the events that it has yet to be told, as long as it takes them."""
        for _ in range(EVENTS):
            if not client.to_send:
                told = None if client.after is None or client.asked else self._next(client)
                if told is None:
                    return
                client.to_send = told
            try:
                count = client.socket.send(client.to_send[:_CHUNK])
            except BlockingIOError:
                return
            client.to_send = client.to_send[count:]
            client.moved = now

    def _next(self, client: _Client) -> bytes | None:
        assert client.after is not None
        found = self._ring.next(client.after)
        if found is None:
            return None
        client.after, event = found
        return _line(event)

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.socket.fileno(), None)
        client.socket.close()


def _line(what: dict[str, Any]) -> bytes:
    return json.dumps(what, default=str).encode() + b"\n"

"""A TCP relay between two replicas: the network that a test can break.

A cut link loses nothing by itself, as TCP would send it again: what arrives meanwhile is delivered
when the link heals. Neither side learns that the other has closed its connection before that.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from urllib.parse import urlsplit

from vlockstep.program.tracebacks import hide
from vlockstep.sim.sides import Direction, Side, receivers

__tracebackhide__ = hide

_CHUNK = 1 << 16
_LIMIT = 1 << 20
"""Bytes that may wait in one direction; then the sender has to."""
_TIMEOUT = 10.0


class _Flow:
    """Bytes on their way from one socket to another, each chunk with the time it is due."""

    def __init__(self, source: socket.socket, sink: socket.socket, receiver: Side) -> None:
        self.source = source
        self.sink = sink
        self.receiver = receiver
        self.chunks: deque[tuple[float, bytes]] = deque()
        self.waiting = 0
        self.ended = False
        """The source has closed; the sink is told once the chunks are delivered."""

    def read(self, delay: float, flip: bool, truncate: bool) -> None:
        try:
            data = self.source.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return
        if flip:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if truncate:
            data = data[: len(data) // 2]
            self.ended = True
        self.chunks.append((time.monotonic() + delay, data))
        self.waiting += len(data)

    def write(self, now: float) -> bool:
        """Deliver what is due; whether the sink could not take all of it."""
        while self.chunks and self.chunks[0][0] <= now:
            due, data = self.chunks.popleft()
            try:
                count = self.sink.send(data)
            except BlockingIOError:
                count = 0
            except OSError:
                self.ended = True
                self.chunks.clear()
                return False
            self.waiting -= count
            if count < len(data):
                self.chunks.appendleft((due, data[count:]))
                return True
        return False


class Relay:
    """Forwards connections from `endpoint` to the one that `forward_to` names; until then they
    wait, and when that refuses one they are refused.

    The secondary connects here, the primary listens at the target. `delay` is in seconds, for each
    direction. All methods may be called from any thread, and what
    they ask for has happened when they return.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._address: tuple[str, int] = self._listener.getsockname()
        self.endpoint = f"tcp://127.0.0.1:{self._address[1]}"
        self._target: tuple[str, int] | None = None
        self._links: list[tuple[_Flow, _Flow]] = []
        self._cut: set[Side] = set()
        self._flipped: set[Side] = set()
        self._truncated: set[Side] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._wake_receive, self._wake_send = socket.socketpair()
        self._wake_receive.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def forward_to(self, endpoint: str) -> None:
        """Accept connections from now on, and forward them to `tcp://HOST:PORT`."""
        parts = urlsplit(endpoint)
        assert parts.scheme == "tcp" and parts.hostname and parts.port, endpoint
        with self._lock:
            self._target = parts.hostname, parts.port
            if self._listener is None:
                self._listener = socket.create_server(self._address)
                self._listener.setblocking(False)
        self._wake()

    def cut(self, direction: Direction = "both") -> None:
        """Deliver nothing more in this direction. Connections stay open."""
        with self._lock:
            self._cut |= receivers(direction)

    def flip(self, direction: Direction = "both") -> None:
        """Turn a bit at the end of each piece that comes in this direction."""
        with self._lock:
            self._flipped |= receivers(direction)

    def heal(self) -> None:
        """Deliver again, first what has waited, and unchanged."""
        with self._lock:
            self._cut.clear()
            self._flipped.clear()
        self._wake()

    def truncate(self, direction: Direction = "both") -> None:
        """Deliver half of the next piece in this direction, then close its connection."""
        with self._lock:
            self._truncated |= receivers(direction)

    def drop(self) -> int:
        """Close all connections, in both directions; how many there were. New ones are welcome."""
        with self._lock:
            dropped, self._links = self._links, []
            for link in dropped:
                _close(link)
        self._wake()
        return len(dropped)

    def close(self) -> None:
        self._closed = True
        self._wake()
        self._thread.join(_TIMEOUT)
        assert not self._thread.is_alive(), "the relay's thread does not end"

    # The thread

    def _wake(self) -> None:
        self._wake_send.send(b"!")

    def _run(self) -> None:
        while not self._closed:
            with self._lock:
                selector, wait = self._watch()
            with selector:
                selector.select(wait)
            with self._lock:
                self._turn()
        self.drop()
        for open_socket in (self._listener, self._wake_receive, self._wake_send):
            if open_socket is not None:
                open_socket.close()

    def _watch(self) -> tuple[selectors.BaseSelector, float | None]:
        """What to wait for, and for how long at most."""
        events: dict[socket.socket, int] = {self._wake_receive: selectors.EVENT_READ}
        if self._target is not None and self._listener is not None:
            events[self._listener] = selectors.EVENT_READ
        now = time.monotonic()
        wait: float | None = None
        for flow in self._flows():
            if not flow.ended and flow.waiting < _LIMIT:
                events[flow.source] = events.get(flow.source, 0) | selectors.EVENT_READ
            if not flow.chunks:
                continue
            if flow.chunks[0][0] <= now:
                events[flow.sink] = events.get(flow.sink, 0) | selectors.EVENT_WRITE
            else:
                left = flow.chunks[0][0] - now
                wait = left if wait is None else min(wait, left)
        selector = selectors.DefaultSelector()
        for watched, mask in events.items():
            selector.register(watched, mask)
        return selector, wait

    def _flows(self) -> list[_Flow]:
        """Those in directions that are not cut."""
        return [f for link in self._links for f in link if f.receiver not in self._cut]

    def _turn(self) -> None:
        with suppress(BlockingIOError):
            self._wake_receive.recv(4096)
        if self._target is not None and self._listener is not None:
            self._accept(self._listener, self._target)
        for flow in self._flows():
            if not flow.ended and flow.waiting < _LIMIT:
                way = flow.receiver
                flow.read(self.delay, way in self._flipped, way in self._truncated)
                if flow.ended:
                    self._truncated.discard(way)
            flow.write(time.monotonic())
        for link in self._links[:]:
            if any(flow.ended and not flow.chunks for flow in link if flow in self._flows()):
                self._links.remove(link)
                _close(link)

    def _accept(self, listener: socket.socket, target: tuple[str, int]) -> None:
        """Where the target refuses, further connections are refused here, too."""
        try:
            near, _ = listener.accept()
        except BlockingIOError:
            return
        try:
            far = socket.create_connection(target, _TIMEOUT)
        except OSError:
            listener.close()  # first, so that who sees its connection closed finds no listener
            self._listener = None
            near.close()
            return
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setblocking(False)
        self._links.append((_Flow(near, far, "primary"), _Flow(far, near, "secondary")))


def _close(link: tuple[_Flow, _Flow]) -> None:
    for flow in link:
        flow.source.close()

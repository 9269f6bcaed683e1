"""Whether computers answer on the management network: whoever accepts a connection does."""

from __future__ import annotations

import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from vlockstep.errors import VlockstepError
from vlockstep.wire.endpoint import socket_address

_SECONDS = 1.0
"""For an answer; who needs longer is asked again meanwhile."""
_MOST = 256
"""Pings under way."""


class Pings:
    """Asks in a thread of its own; `answered` is called there with the endpoint that did."""

    def __init__(self, answered: Callable[[str], None]) -> None:
        self._answered = answered
        self._asked: queue.Queue[str | None] = queue.Queue(_MOST)
        self._under_way: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="pings", daemon=True)
        self._thread.start()

    def ask(self, endpoint: str) -> None:
        with suppress(queue.Full):
            self._asked.put_nowait(endpoint)

    def close(self) -> None:
        with suppress(queue.Full):
            self._asked.put_nowait(None)

    def _run(self) -> None:
        waiting: dict[socket.socket, tuple[str, float]] = {}
        with selectors.DefaultSelector() as selector:
            while True:
                try:
                    endpoint = self._asked.get(timeout=None if not waiting else 0.01)
                    if endpoint is None:
                        return
                    self._begin(selector, waiting, endpoint)
                except queue.Empty:
                    pass
                for found, _ in selector.select(0) if waiting else ():
                    connection = found.fileobj
                    assert isinstance(connection, socket.socket)
                    ok = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                    self._end(selector, waiting, connection, ok)
                for connection, (_, until) in list(waiting.items()):
                    if time.monotonic() > until:
                        self._end(selector, waiting, connection, False)

    def _begin(
        self,
        selector: selectors.BaseSelector,
        waiting: dict[socket.socket, tuple[str, float]],
        endpoint: str,
    ) -> None:
        if endpoint in self._under_way or len(waiting) >= _MOST:
            return
        try:
            family, address = socket_address(endpoint)
            connection = socket.socket(family, socket.SOCK_STREAM)
        except (VlockstepError, OSError):
            return
        connection.setblocking(False)
        with suppress(OSError):
            connection.connect_ex(address)
            selector.register(connection, selectors.EVENT_WRITE)
            waiting[connection] = endpoint, time.monotonic() + _SECONDS
            self._under_way.add(endpoint)

    def _end(
        self,
        selector: selectors.BaseSelector,
        waiting: dict[socket.socket, tuple[str, float]],
        connection: socket.socket,
        answered: bool,
    ) -> None:
        endpoint, _ = waiting.pop(connection)
        self._under_way.discard(endpoint)
        selector.unregister(connection)
        connection.close()
        if answered:
            self._answered(endpoint)

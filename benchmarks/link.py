"""A link of this computer that carries only so many bytes in a second."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 1 << 16
_BURST = 0.005
"""Seconds of its rate that it may be behind."""


@contextmanager
def limited(port: int, rate: int) -> Iterator[int]:
    """The port from which on the way to `port` no more than `rate` bytes a second pass in each
    direction; `port` itself if that is 0."""
    if not rate:
        yield port
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, port, rate), daemon=True).start()
        yield listener.getsockname()[1]


def _accept(listener: socket.socket, port: int, rate: int) -> None:
    while True:
        try:
            here, _ = listener.accept()
            there = socket.create_connection(("127.0.0.1", port))
        except OSError:
            return
        for ends in ((here, there), (there, here)):
            threading.Thread(target=_carry, args=(*ends, rate), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket, rate: int) -> None:
    free = time.monotonic()
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            now = time.monotonic()
            free = max(free, now - _BURST) + len(data) / rate
            if free > now:
                time.sleep(free - now)
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

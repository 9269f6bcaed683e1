"""A descriptor that wakes who waits for others."""

from __future__ import annotations

import socket
import threading


class Alarm:
    """Becomes readable some time after it was set. One thread at a time."""

    def __init__(self) -> None:
        self._receive, self._send = socket.socketpair()
        self._timer: threading.Timer | None = None

    def fileno(self) -> int:
        return self._receive.fileno()

    @property
    def is_set(self) -> bool:
        return self._timer is not None

    def set(self, seconds: float) -> None:
        """Only once before it was cleared."""
        self._timer = threading.Timer(seconds, self._send.send, (b"\0",))
        self._timer.daemon = True
        self._timer.start()

    def clear(self) -> None:
        """After it has become readable."""
        self._receive.recv(1)
        self._timer = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        self._receive.close()
        self._send.close()

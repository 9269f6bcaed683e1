"""Clients that each count up a key of their own, and know what the answer must be."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass


@dataclass
class _Client:
    key: str
    connection: socket.socket
    count: int = 0
    asked: float = 0.0
    longest: float = 0.0
    """Seconds that it waited for an answer."""

    def ask(self) -> None:
        self.asked = time.monotonic()
        self.connection.sendall(
            b"*2\r\n$4\r\nINCR\r\n$%d\r\n%s\r\n" % (len(self.key), self.key.encode())
        )

    def answered(self) -> None:
        answer = self.connection.recv(64)
        self.count += 1
        assert answer == b":%d\r\n" % self.count, f"{self.key}: {answer!r} for {self.count}"
        self.longest = max(self.longest, time.monotonic() - self.asked)


class Counting:
    """`clients` connections that are opened once and send INCR after INCR until `stop`.

    A connection that ends, and an answer that is not the next number, are errors.
    """

    def __init__(self, address: tuple[str, int], clients: int = 50) -> None:
        self.error: BaseException | None = None
        self._changed = threading.Condition()
        self._answers = 0
        self._stopping = False
        self._clients = [
            _Client(f"key:{n}", socket.create_connection(address, timeout=10))
            for n in range(clients)
        ]
        for client in self._clients:
            client.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread = threading.Thread(target=self._run, name="clients", daemon=True)
        self._thread.start()

    def wait(self, answers: int, timeout: float = 30) -> None:
        """Until there were so many more answers, to all together."""
        with self._changed:
            end = self._answers + answers
            assert self._changed.wait_for(lambda: self.error or self._answers >= end, timeout)
        if self.error is not None:
            raise self.error

    def stop(self) -> dict[str, int]:
        """Let each client get its last answer; how far each key was counted."""
        self._stopping = True
        self._thread.join(30)
        if self.error is not None:
            raise self.error
        assert not self._thread.is_alive(), "a client still waits for an answer"
        return {client.key: client.count for client in self._clients}

    @property
    def longest(self) -> float:
        """The longest that any client waited, in seconds."""
        return max(client.longest for client in self._clients)

    def get(self, key: str) -> int:
        """The value of a key now, on its client's connection. After `stop`."""
        client = next(c for c in self._clients if c.key == key)
        client.connection.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key.encode()))
        return int(client.connection.recv(64).split(b"\r\n")[1])

    def close(self) -> None:
        self._stopping = True
        for client in self._clients:
            with suppress(OSError):
                client.connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        for client in self._clients:
            client.connection.close()

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                for client in self._clients:
                    client.ask()
                    selector.register(client.connection, selectors.EVENT_READ, client)
                while selector.get_map():
                    ready = selector.select()
                    for key, _ in ready:
                        client = key.data
                        client.answered()
                        if self._stopping:
                            selector.unregister(client.connection)
                        else:
                            client.ask()
                    with self._changed:
                        self._answers += len(ready)
                        self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self.error = error
                self._changed.notify_all()

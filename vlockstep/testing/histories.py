"""Clients of the guest `kv` that do anything at any time, and whose history is checked."""

from __future__ import annotations

import random
import socket
import threading
import time
from typing import BinaryIO, cast

from vlockstep.program.tracebacks import hide
from vlockstep.sim.linear import HistoryReport, Operation, Reply, check_history, emptied

__tracebackhide__ = hide

_PATIENCE = 10.0
"""Seconds to wait for a connection, and for a reply."""
_PACE = 0.05
"""Seconds from a connection that ended to the next one."""
_HASTY = 0.005
"""How many requests are given up at once."""
_COMMANDS = (b"GET", b"GET", b"SET", b"INCR", b"DEL", b"APPEND")


class RandomClients:
    """`clients` threads that send random commands on so many `keys` until `check` or `close`.

    An operation has an unknown outcome if its connection ends, if no reply comes in time, and if
    its client hangs up at once, as each does now and then; the client connects again. Times are
    those of this computer's monotonic clock, in nanoseconds since the start.
    """

    def __init__(
        self, address: tuple[str, int], clients: int = 8, keys: int = 4, seed: int = 0
    ) -> None:
        self._address = address
        self._keys = [b"key:%d" % n for n in range(keys)]
        self._began = time.monotonic_ns()
        self._changed = threading.Condition()
        self._history: list[Operation] = []
        self._replies = 0
        self._lost = 0
        self._error: BaseException | None = None
        self._leave = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(n, random.Random(f"{seed} {n}")), daemon=True)
            for n in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def now(self) -> int:
        return time.monotonic_ns() - self._began

    @property
    def lost(self) -> int:
        """How many connections ended, could not be made, or had no reply in time."""
        return self._lost

    def wait(self, replies: int, timeout: float = 30) -> None:
        """Until there were so many more, to all together."""
        with self._changed:
            end = self._replies + replies
            self._changed.wait_for(lambda: self._error or self._replies >= end, timeout)
            there = self._replies
        self._raise()
        assert there >= end, f"{there} replies within {timeout:g} s, not {end}"

    def note_emptied(self, since: int) -> None:
        """At some moment between `since` and now the server has lost every key, as `kv` does when
        it dies, and is to be started again from its boot."""
        self._note(emptied(since, self.now))

    def check(self) -> HistoryReport:
        """Let each client wait for its last reply, and check what all have seen."""
        self.close()
        self._raise()
        return check_history(self._history)

    def close(self) -> None:
        self._leave.set()
        for thread in self._threads:
            thread.join(3 * _PATIENCE)
            assert not thread.is_alive(), "a client does not end"

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _note(self, operation: Operation) -> None:
        with self._changed:
            self._history.append(operation)
            self._replies += operation.returned is not None
            self._changed.notify_all()

    # Threads

    def _run(self, number: int, chance: random.Random) -> None:
        try:
            while not self._leave.is_set():
                try:
                    with socket.create_connection(self._address, _PATIENCE) as connection:
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        self._talk(connection, f"client {number}", chance)
                except OSError:
                    with self._changed:
                        self._lost += 1
                    self._leave.wait(_PACE)
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _talk(self, connection: socket.socket, name: str, chance: random.Random) -> None:
        """Until it is to leave, or hangs up."""
        stream = cast(BinaryIO, connection.makefile("rwb"))
        hasty = False
        while not hasty and not self._leave.is_set():
            words = self._words(chance)
            hasty = chance.random() < _HASTY
            called = self.now
            try:
                _send(stream, words)
                reply = None if hasty else _receive(stream)
            except OSError:
                self._note(Operation(name, words, called))
                raise
            self._note(Operation(name, words, called, None if hasty else self.now, reply))

    def _words(self, chance: random.Random) -> tuple[bytes, ...]:
        command, key = chance.choice(_COMMANDS), chance.choice(self._keys)
        value = b"%d" % chance.randrange(10**9)  # hardly ever the same one again
        return (command, key, value) if command in (b"SET", b"APPEND") else (command, key)


def _send(stream: BinaryIO, words: tuple[bytes, ...]) -> None:
    parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    stream.write(b"*%d\r\n%s" % (len(words), parts))
    stream.flush()


def _receive(stream: BinaryIO) -> Reply:
    """Raises `OSError` if the connection ends, and `ValueError` for what is no reply."""
    line = _read(stream.readline())
    kind, text = line[:1], line[1:]
    match kind:
        case b"+" | b"-":
            return text.decode()
        case b":":
            return int(text)
        case b"$" if text == b"-1":
            return None
        case b"$":
            size = int(text)
            return _read(stream.read(size + 2))
    raise ValueError(f"the server answers {line!r}")


def _read(data: bytes) -> bytes:
    if not data.endswith(b"\r\n"):
        raise ConnectionError("the connection has ended")
    return data[:-2]

"""A client of the Redis protocol that counts on a key of its own, over one connection."""

from __future__ import annotations

import socket
import threading
from typing import BinaryIO, cast

from vlockstep.demo.visits import Visitor

_PATIENCE = 10.0
"""Seconds to wait for an answer."""
_PACE = 0.005
"""Seconds from an answer to the next question."""

Reply = int | bytes


class RedisError(Exception):
    """The server's answer is an error, or none."""


class RedisVisitor(Visitor):
    """`replies` are those to its INCRs, in order; `value` is what GET said in the end."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__(f"client {number}")
        self.replies: list[Reply] = []
        self.value: Reply | None = None
        self._key = b"visits:%d" % number
        self._port = port

    def run(self, leave: threading.Event) -> None:
        try:
            # The only connection: should it end, so does this client.
            with socket.create_connection(("127.0.0.1", self._port), _PATIENCE) as connection:
                stream = cast(BinaryIO, connection.makefile("rwb"))
                while not leave.wait(_PACE):
                    self.replies.append(ask(stream, b"INCR", self._key))
                    self.note_answer()
                self.value = ask(stream, b"GET", self._key)
        except TimeoutError:
            self.trouble = f"no answer within {_PATIENCE:.0f} s"
        except (OSError, RedisError) as error:
            self.trouble = str(error)


def ask(stream: BinaryIO, *words: bytes) -> Reply:
    """Say a command, and return the answer. Raises `RedisError`."""
    parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    stream.write(b"*%d\r\n%s" % (len(parts), b"".join(parts)))
    stream.flush()
    line = _line(stream)
    try:
        if line.startswith(b":"):
            return int(line[1:])
        if line.startswith(b"$") and (size := int(line[1:])) >= 0:
            return stream.read(size + 2)[:size]
    except ValueError:
        pass
    raise RedisError(f"the server answers {line.decode(errors='replace')!r}")


def _line(stream: BinaryIO) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise RedisError("the server has closed the connection")
    return line.removesuffix(b"\r\n")

"""A client of the Redis protocol that hides nothing: what is sent, and replies with their types."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from vlockstep.testing.process import TIMEOUT

Address: TypeAlias = tuple[str, int]


class Reply(NamedTuple):
    """`kind` is the byte it begins with; an aggregate's `value` is a tuple of replies."""

    kind: str
    value: bytes | tuple[Reply, ...] | None


def encode(command: Sequence[bytes]) -> bytes:
    parts = [b"*%d\r\n" % len(command)]
    parts += [b"$%d\r\n%s\r\n" % (len(argument), argument) for argument in command]
    return b"".join(parts)


class Connection:
    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(address, TIMEOUT)
        self._stream = self._socket.makefile("rb")

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def send(self, commands: Sequence[Sequence[bytes]]) -> None:
        self._socket.sendall(b"".join(map(encode, commands)))

    def read(self) -> Reply:
        line = self._stream.readline()
        assert line.endswith(b"\r\n"), line
        kind, rest = chr(line[0]), line[1:-2]
        if kind in "$=":
            size = int(rest)
            return Reply(kind, None if size < 0 else self._stream.read(size + 2)[:-2])
        if kind in "*~%>":
            count = int(rest) * (2 if kind == "%" else 1)
            return Reply(kind, None if count < 0 else tuple(self.read() for _ in range(count)))
        return Reply(kind, rest)


def converse(address: Address, said: bytes) -> bytes:
    """All that comes until the server closes the connection."""
    with socket.create_connection(address, TIMEOUT) as sock:
        sock.sendall(said)
        answer = b""
        while piece := sock.recv(1 << 16):
            answer += piece
        return answer

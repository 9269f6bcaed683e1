"""What a protected request waits for at least, in Python with ZeroMQ: its ways and nothing else.

A client asks a primary, whose guest's thread says so to a secondary; that wakes its guest's thread
and answers, and the primary's other thread, which gets this answer, gives the client its own. No
entry is encoded, no protocol spoken, and no guest runs.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

import zmq

_MESSAGE = bytes(100)
_TIMES = 4000


def alone() -> float:
    """The median wait of a client that a lone process answers, in milliseconds."""
    return _measure(lambda asked: [_program("echo", asked)])


def protected() -> float:
    """The median wait of a client whose answer waits for the secondary's, in milliseconds."""

    def start(asked: socket.socket) -> list[subprocess.Popen[bytes]]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        return [_program("primary", asked, port), _program("secondary", asked, port)]

    return _measure(start)


def _measure(start: Callable[[socket.socket], list[subprocess.Popen[bytes]]]) -> float:
    client, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with client, asked, ExitStack() as stack:
        for program in start(asked):
            stack.callback(program.wait)
            stack.callback(program.kill)
        client.settimeout(20)
        times = []
        for _ in range(_TIMES):
            begin = time.perf_counter()
            client.send(_MESSAGE)
            client.recv(1000)
            times.append(time.perf_counter() - begin)
    return median(times) * 1000


def _program(role: str, asked: socket.socket, port: int = 0) -> subprocess.Popen[bytes]:
    descriptor = asked.fileno()
    command = [sys.executable, "-m", "benchmarks.hops", role, str(descriptor), str(port)]
    return subprocess.Popen(command, pass_fds=[descriptor])


def _echo(asked: socket.socket) -> None:
    while True:
        select.select([asked], [], [])
        asked.send(asked.recv(1000))


def _primary(asked: socket.socket, port: int) -> None:
    channel = zmq.Context().socket(zmq.DEALER)
    channel.bind(f"tcp://127.0.0.1:{port}")
    lock = threading.Lock()

    def answer() -> None:
        while channel.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            asked.send(channel.recv(zmq.NOBLOCK))

    def guest() -> None:
        while True:
            select.select([asked], [], [])
            request = asked.recv(1000)
            with lock:
                channel.send(request, zmq.NOBLOCK)
                answer()  # what came meanwhile, of which nothing else tells any more

    channel.recv()
    threading.Thread(target=guest, daemon=True).start()
    while True:
        with lock:
            answer()
        select.select([channel.FD], [], [])


def _secondary(port: int) -> None:
    channel = zmq.Context().socket(zmq.DEALER)
    channel.connect(f"tcp://127.0.0.1:{port}")
    channel.send(b"here")
    received: list[bytes] = []
    condition = threading.Condition()

    def guest() -> None:
        while True:
            with condition:
                condition.wait_for(lambda: received)
                received.clear()

    threading.Thread(target=guest, daemon=True).start()
    while True:
        while channel.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            entries = channel.recv(zmq.NOBLOCK)
            channel.send(b"received", zmq.NOBLOCK)
            with condition:
                received.append(entries)
                condition.notify_all()
        select.select([channel.FD], [], [])


if __name__ == "__main__":
    role, descriptor, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if role == "secondary":
        _secondary(port)
    asked = socket.socket(fileno=descriptor)
    if role == "primary":
        _primary(asked, port)
    _echo(asked)

"""The trunk to the parent of a switch, over ZeroMQ. It connects again by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import zmq

from vlockstep.net.port import dealer
from vlockstep.net.portmessages import Window, encode
from vlockstep.switch.fabric import PortCounters
from vlockstep.switch.tree import State, Tree
from vlockstep.wire.endpoint import (
    HANDSHAKE_FAILED,
    check_endpoint,
    connect_to,
    monitor_event,
)
from vlockstep.wire.handshake import ACCIDENTS, look_before_connecting, why_failed
from vlockstep.wire.keys import Keys, Party

_MILLISECOND = 10**6
_REPEAT = 100 * _MILLISECOND
"""After which an unanswered TrunkHello is said again."""
_AGAIN = 1000 * _MILLISECOND
"""After which it is asked again who has refused."""
_MONITORED = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | HANDSHAKE_FAILED


class Trunk:
    """A connection to the switch at `endpoint`, which `tree` asks to be the parent.

    Raises `UsageError` or `HostError` if there can be none, or somebody else is there.
    """

    def __init__(self, endpoint: str, keys: Keys | None, tree: Tree) -> None:
        check_endpoint(endpoint, keys is not None)
        look_before_connecting(endpoint, keys)
        self.name = f"trunk:{endpoint}"
        self.counters = PortCounters()
        self.window = Window()
        self.failure = ""
        """Why connections fail, if they do and that is known."""
        self._tree = tree
        self._keys = keys
        self._connected = False
        self._failures = 0
        self._asked = 0
        self._patient_until = time.monotonic_ns() + _AGAIN
        self.socket = dealer(keys)
        self.monitor = self.socket.get_monitor_socket(_MONITORED)
        try:
            connect_to(self.socket, endpoint)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)

    def send(self, message: bytes) -> bool:
        """False if there is no room, or no connection."""
        with suppress(zmq.Again):
            self.socket.send(message, zmq.NOBLOCK)
            return True
        return False

    def received(self, most: int) -> Iterator[bytes]:
        """Up to `most` messages that have come. One of several parts is empty: it is none."""
        with suppress(zmq.Again):
            for _ in range(most):
                data, *others = self.socket.recv_multipart(zmq.NOBLOCK)
                yield b"" if others else data

    def notice(self, now: int) -> None:
        """Take note of what has happened to the connection."""
        while self.monitor.poll(0):
            event, value = monitor_event(self.monitor.recv_multipart())
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._connected, self._failures, self.failure = True, 0, ""
                self.ask(now)
            elif event == zmq.EVENT_DISCONNECTED:
                self._connected = False
                self._patient_until = now + _AGAIN
                self._tree.lost()
            elif event & HANDSHAKE_FAILED:
                reason, certain = why_failed(event, value, self._keys, Party.SWITCH)
                self._failures += ACCIDENTS if certain else 1
                if self._failures >= ACCIDENTS:
                    self.failure = reason

    def silent(self, now: int) -> str:
        """That nobody has answered for a while, unless it was refused, or has not been so long."""
        patient = self._tree.state in (State.CHILD, State.REFUSED) or now < self._patient_until
        return "" if patient else "no switch answers there"

    def ask(self, now: int) -> None:
        """Ask the switch there to be the parent, from the beginning."""
        self._say(now, encode(self._tree.ask()))

    def due(self) -> int | None:
        """When to `tick`, if ever."""
        if not self._connected or self._tree.state is State.CHILD:
            return None
        return self._asked + (_REPEAT if self._tree.state is State.ASKING else _AGAIN)

    def tick(self, now: int) -> None:
        """Ask again, if it is time."""
        due = self.due()
        if due is None or now < due:
            return
        if self._tree.state is State.ASKING:
            self._say(now, encode(self._tree.hello()))
        else:
            self.ask(now)

    def _say(self, now: int, hello: bytes) -> None:
        self.socket.getsockopt(zmq.EVENTS)  # or it may not know yet that there is a connection
        self.send(hello)
        self._asked = now

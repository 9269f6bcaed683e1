"""The logging channel: ZeroMQ, with CURVE where keys are given.

The primary of the start listens, the other replica and the operator connect. Roles may swap
later; who listens stays. Without keys only addresses of this machine are accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq

from vlockstep.endpoint import (
    HANDSHAKE_FAILED,
    authenticate,
    bind,
    check_endpoint,
    connect_to,
    monitor_event,
    present,
)
from vlockstep.errors import HostError, UsageError
from vlockstep.ft.messages import MAX_MESSAGE
from vlockstep.keys import Keys, Party

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

_LINGER = 500
_RECONNECT, _RECONNECT_MAX = 5, 200
"""Milliseconds until the first attempt, well below the time for which a lost connection is no
reason to part, and between later ones."""

_RECEIVED = 4096
"""Messages of a peer that may wait to be read."""


@dataclass(frozen=True)
class Arrived:
    """`peer` is whom to answer."""

    peer: bytes
    data: bytes


@dataclass(frozen=True)
class Connected:
    """There is a connection; a listener learns whose from what it says."""


@dataclass(frozen=True)
class Disconnected:
    """A connection dropped."""


@dataclass(frozen=True)
class Rejected:
    """A connection failed before it stood. If not `certain`, that may have been an accident."""

    reason: str
    certain: bool


Event = Arrived | Connected | Disconnected | Rejected
_MONITORED = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | HANDSHAKE_FAILED


class Channel:
    """One socket and its monitor, in a context of their own: the thread of another one may belong
    to another network namespace.

    Wait until one of `descriptors` becomes readable, but only after `pending` has said no: what
    the socket does by the way may take the sign that something came. One thread at a time.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        socket: zmq.Socket[bytes],
        authenticator: ThreadAuthenticator | None = None,
    ) -> None:
        self._context = context
        self._socket = socket
        self._authenticator = authenticator
        self._monitor = socket.get_monitor_socket(_MONITORED)
        self._poller = zmq.Poller()
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self.descriptors = (int(socket.FD), int(self._monitor.FD))
        self.listens = socket.getsockopt(zmq.TYPE) == zmq.ROUTER

    @property
    def endpoint(self) -> str:
        """Where it listens or connects, with the port that the system chose."""
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def send(self, data: bytes, peer: bytes) -> bool:
        """False if the peer is gone."""
        frames = [peer, data] if self.listens else [data]
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def pending(self) -> bool:
        """Whether there are events."""
        return bool(self._poller.poll(0))

    def events(self) -> Iterator[Event]:
        """What has happened, messages before the loss of a connection."""
        while ready := self._poller.poll(0):
            source = ready[0][0]  # in the order of their registration
            frames = source.recv_multipart(zmq.NOBLOCK)
            if source is self._monitor:
                yield _connection_event(monitor_event(frames))
            elif self.listens and len(frames) == 2:
                yield Arrived(frames[0], frames[1])
            elif not self.listens and len(frames) == 1:
                yield Arrived(b"", frames[0])

    def close(self) -> None:
        """When it returns, what was sent is on its way, unless the peer takes nothing for `_LINGER`
        milliseconds."""
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(_LINGER)
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.term()


def _connection_event(event: int) -> Event:
    match event:
        case zmq.EVENT_HANDSHAKE_SUCCEEDED:
            return Connected()
        case zmq.EVENT_DISCONNECTED:
            return Disconnected()
        case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return Rejected("the peer does not accept this replica's key", True)
        case _:
            certain = event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            return Rejected("the peer does not speak with these keys, or with none", certain)


def listen(endpoint: str, keys: Keys | None) -> Channel:
    """Wait for peers at `endpoint`. With keys, only for those that hold an accepted one."""
    check_endpoint(endpoint, keys is not None)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = _socket(context, zmq.ROUTER)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    authenticator = None
    if keys is not None:
        authenticator = authenticate(context, socket, keys, (Party.SECONDARY, Party.OPERATOR))
    channel = Channel(context, socket, authenticator)
    try:
        bind(socket, endpoint)
    except HostError:
        channel.close()
        raise
    return channel


def connect(endpoint: str, keys: Keys | None) -> Channel:
    """Connect to a listener at `endpoint`, now or as soon as there is one."""
    check_endpoint(endpoint, keys is not None)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = _socket(context, zmq.DEALER)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX)
    if keys is not None:
        present(socket, keys, Party.PRIMARY)
    channel = Channel(context, socket)  # it watches before there is anything to see
    try:
        connect_to(socket, endpoint)
    except UsageError:
        channel.close()
        raise
    return channel


def _socket(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(kind)
    socket.setsockopt(zmq.LINGER, _LINGER)
    # What a replica sends is limited by the protocol, what a peer sends is not: who is faster than
    # it is read has to wait.
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, _RECEIVED)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
    return socket

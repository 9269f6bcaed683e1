"""The logging channel: ZeroMQ, with CURVE where keys are given.

The primary of the start listens, the other replica and the operator connect. Roles may swap
later; who listens stays. Without keys only addresses of this machine are accepted.

With keys a listener knows of every message whose key the connection has shown, whatever the peer
calls itself, and drops what that party may not say. Without, everybody may say all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq

from vlockstep.errors import HostError, UsageError
from vlockstep.wire.alarm import Alarm
from vlockstep.wire.codec import MAX_MESSAGE
from vlockstep.wire.endpoint import (
    HANDSHAKE_FAILED,
    authenticate,
    bind,
    check_endpoint,
    connect_to,
    monitor_event,
    present,
)
from vlockstep.wire.handshake import (
    ACCIDENTS,
    look_before_connecting,
    who_listens,
    why_failed,
    why_rejected,
)
from vlockstep.wire.keys import Keys, Party

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

_LINGER = 500
_RECONNECT, _RECONNECT_MAX = 0.005, 0.2
"""Seconds until the first attempt, well below the time for which a lost connection is no reason to
part, and between later ones."""
_NEVER = 24 * 3600 * 1000
"""Milliseconds. ZeroMQ, which would say first on the next connection what it has kept of the last
one, is to try nothing by itself before the channel has thrown that away."""

_CONNECTING = {
    Party.PRIMARY: (Party.SECONDARY, Party.OPERATOR),
    Party.SECONDARY: (Party.PRIMARY, Party.SECONDARY, Party.OPERATOR),  # which share their key
}
"""Whom a replica lets connect, if it has their keys."""
_RECEIVED = 4096
"""Messages of a peer that may wait to be read."""
_AT_ONCE = 1024
"""Events after which somebody else has his turn, however many there are."""

Forbid = Callable[[Party, bytes], str | None]
"""What a party may not say, if a message is that."""


@dataclass(frozen=True)
class Arrived:
    """`peer` is whom to answer."""

    peer: bytes
    data: bytes


@dataclass(frozen=True)
class Forbidden:
    """A message was dropped, for `party` may not say that."""

    party: Party
    what: str


@dataclass(frozen=True)
class Connected:
    """There is a connection; a listener learns whose from what it says."""


@dataclass(frozen=True)
class Disconnected:
    """A connection dropped."""


@dataclass(frozen=True)
class Rejected:
    """Connections fail before they stand, and not by accident. Told once for each reason, until
    one stands."""

    reason: str


Event = Arrived | Forbidden | Connected | Disconnected | Rejected
_MONITORED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
    | HANDSHAKE_FAILED
)
_OVER = (zmq.EVENT_DISCONNECTED, zmq.EVENT_CONNECT_RETRIED)
"""Events after which a connection brings nothing more. The second one is told of an attempt that
failed and mostly, too, behind the first, but not if the other end broke the protocol: then ZeroMQ
is done with it."""


class Channel:
    """One socket and its monitor, in a context of their own: the thread of another one may belong
    to another network namespace. One that does not listen connects again whenever it has to.

    Wait until one of `descriptors` becomes readable, but only after `pending` has said no: what
    the socket does by the way may take the sign that something came. One thread at a time.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        socket: zmq.Socket[bytes],
        keys: Keys | None,
        authenticator: ThreadAuthenticator | None = None,
        parties: Mapping[str, Party] | None = None,
        forbid: Forbid = lambda party, data: None,
        listener: Party = Party.PRIMARY,
    ) -> None:
        """`listener` is who is reached, `parties` are those that may connect, by their public
        keys; None if anybody may."""
        self._context = context
        self._socket = socket
        self._keys = keys
        self._authenticator = authenticator
        self._parties = parties
        self._forbid = forbid
        self._listener = listener
        self._failures = 0
        self._told: set[str] = set()
        self._monitor = socket.get_monitor_socket(_MONITORED)
        self._poller = zmq.Poller()
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._alarm = Alarm()
        """It is time to connect again."""
        self._poller.register(self._alarm, zmq.POLLIN)
        self._pause = _RECONNECT
        self.descriptors = (int(socket.FD), int(self._monitor.FD), self._alarm.fileno())
        self.listens = socket.getsockopt(zmq.TYPE) == zmq.ROUTER
        self._connected = self.listens

    @property
    def endpoint(self) -> str:
        """Where it listens or connects, with the port that the system chose."""
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def send(self, data: bytes, peer: bytes) -> bool:
        """False if the peer is gone. What is not on its way when a connection drops is lost."""
        if not self._connected:
            return False
        try:
            if self.listens:
                self._socket.send(peer, zmq.NOBLOCK | zmq.SNDMORE)
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def pending(self) -> bool:
        """Whether there are events."""
        return bool(self._poller.poll(0))

    def events(self) -> Iterator[Event]:
        """What has happened, messages before the loss of a connection. There may be more."""
        for _ in range(_AT_ONCE):
            ready = self._poller.poll(0)
            if not ready:
                return
            source = ready[0][0]  # in the order of their registration
            happened: list[Event | None]
            if source is self._socket:
                happened = [self._message()]
            elif source is self._monitor:
                happened = self._news(*monitor_event(self._monitor.recv_multipart(zmq.NOBLOCK)))
            else:
                self._connect_again()
                continue
            yield from (event for event in happened if event is not None)

    def _news(self, event: int, value: int) -> list[Event | None]:
        """What the monitor tells, behind the messages that came after it was seen that there was
        none, and before the loss."""
        happened: list[Event | None] = []
        if event in _OVER:
            while len(happened) < _RECEIVED and self._socket.poll(0):
                happened.append(self._message())
            self._give_up()
        if event != zmq.EVENT_CONNECT_RETRIED:
            happened.append(self._connection(event, value))
        return happened

    def _give_up(self) -> None:
        """The connection was lost, or did not come about: throw away what it has not said, and try
        again after a while. A listener leaves that to the other end."""
        if not self.listens and not self._alarm.is_set:
            self._socket.disconnect(self.endpoint)
            self._alarm.set(self._pause)
            self._pause = min(2 * self._pause, _RECONNECT_MAX)

    def _connect_again(self) -> None:
        self._alarm.clear()
        self._socket.connect(self.endpoint)

    def _connection(self, event: int, value: int) -> Connected | Disconnected | Rejected | None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._failures = 0
            self._told.clear()
            self._pause = _RECONNECT
            self._connected = True
            return Connected()
        if event == zmq.EVENT_DISCONNECTED:
            self._connected = self.listens
            return Disconnected()
        if self.listens:
            reason, certain = why_rejected(event, value, self._keys)
        else:
            reason, certain = why_failed(event, value, self._keys, self._listener)
        self._failures = 0 if certain else self._failures + 1
        if reason in self._told or not (certain or self._failures >= ACCIDENTS):
            return None
        self._told.add(reason)
        return Rejected(reason)

    def _message(self) -> Arrived | Forbidden | None:
        """The next message; None if it has more parts than one of ours."""
        peer = self._socket.recv(zmq.NOBLOCK) if self.listens else b""
        part = last = self._socket.recv(zmq.NOBLOCK, copy=False)
        while last.more:
            last = self._socket.recv(zmq.NOBLOCK, copy=False)
        if part.more:
            return None
        if self._parties is not None:
            party = self._parties[str(part.get("User-Id"))]
            what = self._forbid(party, part.bytes)
            if what is not None:
                return Forbidden(party, what)
        return Arrived(peer, part.bytes)

    def close(self, *, at_once: bool = False) -> None:
        """When it returns, what was sent is on its way, unless the peer takes nothing for `_LINGER`
        milliseconds. `at_once` does not wait: what is not on its way is lost."""
        self._alarm.close()
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(_LINGER if self._connected and not at_once else 0)
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.term()


def listen(endpoint: str, keys: Keys | None, forbid: Forbid = lambda party, data: None) -> Channel:
    """Wait for peers at `endpoint`. With keys, only for those that hold an accepted one, and of
    what they say drop what `forbid` names."""
    check_endpoint(endpoint, keys is not None)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = _socket(context, zmq.ROUTER)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    authenticator = parties = None
    if keys is not None:
        accepted = [party for party in _CONNECTING[keys.party] if keys.has(party)]
        authenticator = authenticate(context, socket, keys, accepted)
        parties = {keys.of(party).decode(): party for party in accepted}
    channel = Channel(context, socket, keys, authenticator, parties, forbid)
    try:
        bind(socket, endpoint)
    except HostError:
        channel.close()
        raise
    return channel


def connect(
    endpoint: str, keys: Keys | None, listener: Party | None = None, *, look: bool = True
) -> Channel:
    """Connect to the `listener` at `endpoint`, now or as soon as there is one; by default to the
    replica that is there, whether it began as the primary or as a secondary. Without a `look` at
    who is there first it does not wait for anything.

    Raises `HostError` if somebody else is there, or the keys do not fit.
    """
    check_endpoint(endpoint, keys is not None)
    there = look and look_before_connecting(endpoint, keys)
    if listener is None:
        listener = who_listens(endpoint, keys) if there and keys is not None else Party.PRIMARY
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = _socket(context, zmq.DEALER)
    socket.setsockopt(zmq.RECONNECT_IVL, _NEVER)
    if keys is not None:
        present(socket, keys, listener)
    channel = Channel(
        context, socket, keys, listener=listener
    )  # it watches before there is anything to see
    try:
        connect_to(socket, endpoint)
    except UsageError:
        channel.close()
        raise
    return channel


def _socket(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)  # until it is closed
    # What a replica sends is limited by the protocol, what a peer sends is not: who is faster than
    # it is read has to wait.
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, _RECEIVED)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
    return socket

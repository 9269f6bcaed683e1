"""The management network: where agents talk, each with each.

A host listens at one endpoint, and connects to that of each other. With keys every connection is
encrypted, and only hosts of the cluster get any: who says something is who holds that host's key.
Nothing that is said waits for anybody; what cannot be sent now is lost.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import zmq
from zmq.auth.thread import ThreadAuthenticator

from vlockstep.cluster.agent.hostkeys import HostKeys
from vlockstep.wire.endpoint import bind, check_endpoint, connect_to

_QUEUE = 100
"""Messages that wait for a host, or from all of them."""
_MAX_MESSAGE = 1 << 16
_MAX_NAME = 64
_SILENCE = 5.0
"""Seconds without a word of a host after which a new connection to it is begun: who was refused, as
it was not known yet, is never accepted on the same one."""
_BURST = 100


@dataclass(frozen=True)
class Peer:
    """Where another host listens, and its public key, if there are keys."""

    endpoint: str
    public_key: bytes = b""


class ManagementNetwork:
    """As the host `name` says and hears it. Close it."""

    def __init__(self, name: str, endpoint: str, keys: HostKeys | None) -> None:
        check_endpoint(endpoint, keys is not None)
        self._name = name.encode()
        self._keys = keys
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._authenticator: ThreadAuthenticator | None = None
        self._accepted = set(keys.others.values()) if keys is not None else set()
        self._peers: dict[str, tuple[Peer, zmq.Socket[bytes]]] = {}
        self._heard_at: dict[str, float] = {}
        """By host, when it said something, or a connection to it was begun, last."""
        self._incoming = self._context.socket(zmq.ROUTER)
        try:
            self._set_up(self._incoming)
            self._incoming.setsockopt(zmq.RCVHWM, _QUEUE)
            if keys is not None:
                self._authenticator = ThreadAuthenticator(self._context)
                self._authenticator.start()
                self._authenticator.configure_curve_callback("*", self)
                self._incoming.setsockopt(zmq.CURVE_SERVER, 1)
                self._identify(self._incoming, keys)
            bind(self._incoming, endpoint)
        except BaseException:
            self.close()
            raise
        self.endpoint = self._incoming.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def callback(self, domain: str, key: bytes) -> bool:
        """pyzmq asks, in a thread of its own, whether who has this key may connect."""
        return key in self._accepted

    def know(self, peers: Mapping[str, Peer]) -> None:
        """These are the other hosts from now on."""
        self._accepted |= {peer.public_key for peer in peers.values()}
        for name in [*self._peers]:
            if peers.get(name) != self._peers[name][0]:
                self._forget(name)
        for name, peer in peers.items():
            if name not in self._peers:
                self._begin(name, peer)

    def send(self, to: str, data: bytes) -> None:
        """If that host can be reached now."""
        if to in self._peers:
            if time.monotonic() > self._heard_at[to] + _SILENCE:
                peer = self._peers[to][0]
                self._forget(to)
                self._begin(to, peer)
            with contextlib.suppress(zmq.Again):
                self._peers[to][1].send_multipart([self._name, data], zmq.NOBLOCK)

    def wait(self, seconds: float) -> None:
        """Until something may have come."""
        self._incoming.poll(max(0, int(seconds * 1000)))

    def heard(self) -> Iterator[tuple[str, bytes]]:
        """From whom, and what: as many as had come, up to a limit."""
        for _ in range(_BURST):
            try:
                frames = self._incoming.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if len(frames) != 3 or len(frames[1]) > _MAX_NAME:
                continue
            name = frames[1].bytes.decode(errors="replace")
            if self._is_from(name, frames[2]):
                self._heard_at[name] = time.monotonic()
                yield name, frames[2].bytes

    def close(self) -> None:
        for _, socket in self._peers.values():
            socket.close(0)
        self._peers.clear()
        self._incoming.close(0)
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.term()

    def _begin(self, name: str, peer: Peer) -> None:
        self._peers[name] = peer, self._connect(peer)
        self._heard_at[name] = time.monotonic()

    def _forget(self, name: str) -> None:
        self._peers.pop(name)[1].close(0)
        del self._heard_at[name]

    def _is_from(self, name: str, frame: zmq.Frame) -> bool:
        """Whether who says to be that host is."""
        if name not in self._peers:
            return False
        if self._keys is None:
            return True
        return frame.get("User-Id") == self._peers[name][0].public_key.decode()

    def _connect(self, peer: Peer) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        try:
            self._set_up(socket)
            socket.setsockopt(zmq.SNDHWM, _QUEUE)
            socket.setsockopt(zmq.IMMEDIATE, 1)
            if self._keys is not None:
                socket.setsockopt(zmq.CURVE_SERVERKEY, peer.public_key)
                self._identify(socket, self._keys)
            connect_to(socket, peer.endpoint)
        except BaseException:
            socket.close(0)
            raise
        return socket

    def _set_up(self, socket: zmq.Socket[bytes]) -> None:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)

    def _identify(self, socket: zmq.Socket[bytes], keys: HostKeys) -> None:
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)

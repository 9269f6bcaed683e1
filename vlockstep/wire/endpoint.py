"""What the logging channel and the switch's ports have in common: addresses, and CURVE."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket as sockets
import stat
import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import zmq

from vlockstep.errors import HostError, UsageError
from vlockstep.wire.keys import Keys, Party

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
"""Events of a socket's monitor: a connection failed before it stood."""
_IPC = "ipc://"


def monitor_event(message: Sequence[bytes]) -> tuple[int, int]:
    """What happened, and its value, from a message of a socket's monitor. pyzmq's own parser
    brings asyncio, and with it 3 MB."""
    event, value = struct.unpack("=HI", message[0])
    return event, value


def check_endpoint(endpoint: str, encrypted: bool) -> None:
    """`tcp://HOST:PORT` or `ipc://PATH`; without encryption, of this machine only."""
    wrong = UsageError(
        f"{endpoint!r} is no address: write tcp://HOST:PORT or ipc://PATH", key=("endpoint",)
    )
    try:
        endpoint.encode()
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        raise wrong from error
    if parts.scheme == "ipc" and (parts.netloc or parts.path):
        return
    bare = endpoint == f"tcp://{parts.netloc}" and "@" not in parts.netloc
    if not bare or not parts.hostname or port is None:
        raise wrong
    if encrypted or parts.hostname == "localhost":
        return
    try:
        local = ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        local = False
    if not local:
        raise UsageError(
            f"{endpoint} is not an address of this machine alone, and there are no keys: "
            "make some, and give them to both ends",
            key=("keys",),
        )


def is_anywhere(endpoint: str) -> bool:
    """Whether it is on all addresses of a host, which others do not know."""
    return endpoint.startswith(("tcp://0.0.0.0:", "tcp://*:", "tcp://[::]:"))


def bind(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Listen at `endpoint`. Raises `HostError` if that cannot be."""
    if endpoint.startswith(_IPC):
        _check_vacant(endpoint.removeprefix(_IPC))
    _allow_ipv6(socket, endpoint)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise HostError(f"cannot listen on {endpoint}: {_reason(error)}") from error


def connect_to(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Connect to `endpoint`, now or as soon as somebody listens there."""
    _allow_ipv6(socket, endpoint)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise UsageError(f"cannot connect to {endpoint}: {_reason(error)}") from error


def _reason(error: zmq.ZMQError) -> str:
    """pyzmq's own text names the address once more."""
    return os.strerror(error.errno or 0)


def socket_address(endpoint: str) -> tuple[sockets.AddressFamily, Any]:
    """Where to connect to, as ZeroMQ understands it, for a plain socket."""
    if endpoint.startswith(_IPC):
        return sockets.AF_UNIX, endpoint.removeprefix(_IPC)
    parts = urlsplit(endpoint)
    assert parts.hostname is not None
    family = sockets.AF_INET6 if _is_ipv6(endpoint) else sockets.AF_INET
    name = parts.hostname.encode()  # for a text Python brings the codec of IDNA, which is 3 MB
    try:
        found = sockets.getaddrinfo(name, parts.port, family, sockets.SOCK_STREAM)
    except sockets.gaierror as error:
        kind = HostError if error.errno == sockets.EAI_AGAIN else UsageError
        text = f"cannot find the host {parts.hostname!r} of {endpoint}: {error.strerror}"
        raise kind(text) from error
    return family, found[0][4]


def _is_ipv6(endpoint: str) -> bool:
    return ":" in (urlsplit(endpoint).hostname or "")


def _allow_ipv6(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Only for addresses: ZeroMQ would prefer IPv6 for names, too, and for `*`."""
    if _is_ipv6(endpoint):
        socket.setsockopt(zmq.IPV6, 1)


def _check_vacant(path: str) -> None:
    """ZeroMQ removes whatever is where its own socket is to be."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:  # if this matters, ZeroMQ cannot bind either
        return
    if not stat.S_ISSOCK(mode):
        raise HostError(f"{path} exists and is no socket; choose another path")
    with sockets.socket(sockets.AF_UNIX) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise HostError(f"{path} is already in use; end who listens there, or choose another")


def authenticate(
    context: zmq.Context[zmq.Socket[bytes]],
    socket: zmq.Socket[bytes],
    keys: Keys,
    accepted: Iterable[Party],
) -> ThreadAuthenticator:
    """Let only those of `accepted` that `keys` has connect to `socket`, which is not bound yet.
    The `User-Id` of a frame that comes from one is its public key.

    There can be one such socket in a context. Stop the authenticator after closing it.
    """
    from zmq.auth.thread import ThreadAuthenticator  # brings asyncio, too

    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    public = {keys.of(party) for party in accepted if keys.has(party)}
    authenticator.configure_curve_callback("*", _Accept(public))
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    _identify(socket, keys)
    return authenticator


def present(socket: zmq.Socket[bytes], keys: Keys, server: Party) -> None:
    """Show these keys to `server`, and talk to nobody else."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, keys.of(server))
    _identify(socket, keys)


def _identify(socket: zmq.Socket[bytes], keys: Keys) -> None:
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)


class _Accept:
    """The credentials provider that pyzmq asks about each client's public key, Z85-encoded."""

    def __init__(self, accepted: set[bytes]) -> None:
        self._accepted = accepted

    def callback(self, domain: str, key: bytes) -> bool:
        return key in self._accepted

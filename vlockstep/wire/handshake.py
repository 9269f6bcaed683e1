"""Why two ends do not come together: what ZeroMQ's monitor says of it, and what can be seen before.

ZeroMQ tries again and again to reach somebody who does not speak its protocol, ZMTP, or who has no
keys where this side has some, and tells hardly why. So whoever connects looks first who is there.
"""

from __future__ import annotations

import socket as sockets
import time
from collections.abc import Callable
from contextlib import closing, suppress
from enum import IntEnum

import zmq

from vlockstep.errors import HostError
from vlockstep.wire.endpoint import (
    HANDSHAKE_FAILED,
    connect_to,
    monitor_event,
    present,
    socket_address,
)
from vlockstep.wire.keys import Keys, Party

ACCIDENTS = 5
"""So many connections in a row do not fail by accident."""
_COPY = "copy the keys of one pair to both sides"
_BOTH = "give keys to both sides, or to neither"

# A greeting of ZMTP 3: rfc.zeromq.org/spec/23
_SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
_VERSION = b"\3\0"
_MECHANISM = slice(12, 32)
_GREETING = 64
_PATIENCE = 0.5
"""Seconds to wait for a connection, for a greeting, and for what else may come instead."""
_QUOTED = 60
_SHAKEN = zmq.EVENT_HANDSHAKE_SUCCEEDED | HANDSHAKE_FAILED


class _Failure(IntEnum):
    """Values of a handshake that failed by the protocol: zmq.h, ZMQ_PROTOCOL_ERROR_ZMTP_*."""

    CRYPTOGRAPHIC = 0x11000001
    MECHANISM_MISMATCH = 0x11000002


def why_rejected(event: int, value: int, keys: Keys | None) -> tuple[str, bool]:
    """For who listens: why a connection failed before it stood, and whether that is certain."""
    tried = keys is not None and keys.party is Party.SECONDARY  # by who tries the primary's first
    match event, value:
        case zmq.EVENT_HANDSHAKE_FAILED_AUTH, _ if keys is not None:
            return f"somebody connects with a key that is not accepted here; {_COPY}", True
        case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, _Failure.CRYPTOGRAPHIC if keys is not None:
            return (
                f"somebody connects with another {keys.party}.key than this one's; {_COPY}",
                not tried,
            )
        case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, _Failure.MECHANISM_MISMATCH:
            return f"somebody connects {'without' if keys else 'with'} keys; {_BOTH}", True
        case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, _:
            return "somebody connects who does not speak ZMTP as vlockstep does", True
    return "somebody connects again and again, and leaves without a word", False


def why_failed(event: int, value: int, keys: Keys | None, server: Party) -> tuple[str, bool]:
    """For who connects to `server`: why that failed, and whether that is certain."""
    match event, value:
        case zmq.EVENT_HANDSHAKE_FAILED_AUTH, _ if keys is not None:
            return f"it does not accept the {keys.party}.key that is here; {_COPY}", True
        case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, _Failure.MECHANISM_MISMATCH:
            return _mismatch(keys), True
        case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, _:
            return "it does not speak ZMTP as vlockstep does", True
    if keys is None:
        return "it breaks off every connection; is that a vlockstep?", False
    return (
        f"the {server}.key that is here is not its own, or it has no keys; {_COPY}",
        False,
    )


def _mismatch(keys: Keys | None) -> str:
    return f"there are keys {'here and none there' if keys else 'there and none here'}; {_BOTH}"


def look_before_connecting(endpoint: str, keys: Keys | None) -> bool:
    """Whoever is at `endpoint` must speak ZMTP, and have keys if there are `keys` here. Whether
    there is somebody.

    Raises `UsageError` for a name that no host has, `HostError` for somebody else. Where nobody
    answers there may be somebody later.
    """
    family, address = socket_address(endpoint)
    mechanism = (b"NULL" if keys is None else b"CURVE").ljust(20, b"\0")
    heard = b""
    with closing(sockets.socket(family, sockets.SOCK_STREAM)) as socket:
        socket.settimeout(_PATIENCE)
        with suppress(OSError):
            socket.connect(address)
            socket.sendall(_SIGNATURE + _VERSION)
            heard = _hear(socket, lambda data: len(data) >= _GREETING or not _begins(data))
            if not heard:
                socket.sendall(b"\r\n\r\n")  # some wait for the end of a line
                heard = _hear(socket, bool)
        if not _begins(heard):
            first = heard.splitlines()[0][:_QUOTED].decode("ascii", "backslashreplace")
            raise HostError(f"{endpoint} is no vlockstep, but somebody who says {first!r}")
        if len(heard) >= _GREETING and heard[_MECHANISM] != mechanism:
            with suppress(OSError):  # let it see that, too
                socket.sendall(mechanism.ljust(_GREETING - _MECHANISM.start, b"\0"))
            raise HostError(f"{endpoint}: {_mismatch(keys)}")
    return bool(heard)


def who_listens(endpoint: str, keys: Keys) -> Party:
    """By whose key the replica at `endpoint` is known: the primary's, or the secondary's where one
    began as that. The primary's if neither fits."""
    parties = (Party.PRIMARY, Party.SECONDARY)
    found = (p for p in parties if keys.has(p) and _is_key_of(endpoint, keys, p))
    return next(found, Party.PRIMARY)


def _is_key_of(endpoint: str, keys: Keys, party: Party) -> bool:
    """Whether who listens there can read what is written for `party`."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        present(socket, keys, party)
        with socket.get_monitor_socket(_SHAKEN | zmq.EVENT_DISCONNECTED) as monitor:
            connect_to(socket, endpoint)
            if not monitor.poll(int(_PATIENCE * 1000)):
                return False
            event, _ = monitor_event(monitor.recv_multipart())
            socket.disable_monitor()
    return event in (zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_HANDSHAKE_FAILED_AUTH)


def _begins(heard: bytes) -> bool:
    """Whether a ZMTP greeting can begin like this."""
    return heard[:1] in (b"", _SIGNATURE[:1]) and heard[9:10] in (b"", _SIGNATURE[9:])


def _hear(socket: sockets.socket, enough: Callable[[bytes], bool]) -> bytes:
    """What comes until it is `enough`, the connection ends, or patience does."""
    heard, deadline = b"", time.monotonic() + _PATIENCE
    while not enough(heard) and (left := deadline - time.monotonic()) > 0:
        socket.settimeout(left)
        try:
            more = socket.recv(4096)
        except OSError:  # it said no more, or reset the connection
            break
        if not more:
            break
        heard += more
    return heard

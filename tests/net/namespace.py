"""Network namespaces for tests, which skip where there can be none."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from vlockstep.testing import network
from vlockstep.testing.network import (
    GUEST,
    HOST,
    PRIMARY_NET,
    SECONDARY_NET,
    add_bridge,
    add_pair_network,
    add_tap,
    ip,
)

__all__ = [
    "GUEST",
    "HEARTBEAT_MS",
    "HOST",
    "PRIMARY_NET",
    "SECONDARY_NET",
    "add_bridge",
    "add_pair_network",
    "add_tap",
    "ip",
    "namespace",
    "until_running",
]
HEARTBEAT_MS = 100
"""Where a replica dies: it shares these CPUs with others, who shall not make the peer look dead."""
_RTMGRP_LINK, _IFF_RUNNING = 1, 0x40
_TIMEOUT = 20.0


@contextmanager
def namespace() -> Iterator[None]:
    """A network of its own for the test's thread and what it starts."""
    if os.geteuid() != 0:
        (pytest.fail if "CI" in os.environ else pytest.skip)("needs root, for a network namespace")
    with network.namespace():
        yield


@contextmanager
def until_running(name: str) -> Iterator[None]:
    """Go on when the kernel has said that it can send there."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as events:
        events.bind((0, _RTMGRP_LINK))
        events.settimeout(_TIMEOUT)
        yield
        while True:
            _, index, flags = struct.unpack_from("=HiI", events.recv(65536), 18)
            if index == socket.if_nametoindex(name) and flags & _IFF_RUNNING:
                return

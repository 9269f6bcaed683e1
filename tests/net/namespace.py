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
    "HOST",
    "PATIENT",
    "PRIMARY_NET",
    "SECONDARY_NET",
    "add_bridge",
    "add_pair_network",
    "add_tap",
    "ip",
    "namespace",
    "until_running",
]
PATIENT = 200
"""Missed heartbeats: so the load of the machine breaks no pair up, and who is killed is missed all
the same, by its connection."""
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

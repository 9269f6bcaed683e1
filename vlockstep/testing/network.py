"""A network of its own for a test: devices, addresses and traffic stay inside. Linux, as root."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlockstep.errors import HostError

_CLONE_NEWNET = 0x40000000
HOST = "10.0.0.1"
GUEST = "10.0.0.2"


def ip(*arguments: object) -> None:
    """Run ip(8) here."""
    subprocess.run(["ip", *map(str, arguments)], check=True, timeout=10)


@contextmanager
def namespace() -> Iterator[None]:
    """Put this thread, and what it starts, into a new network namespace with `lo` up.

    Raises `HostError` without the privilege.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        if libc.unshare(_CLONE_NEWNET):
            why = os.strerror(ctypes.get_errno())
            raise HostError(f"cannot make a network namespace: {why}; it needs root")
        try:
            ip("link", "set", "lo", "up")
            yield
        finally:
            assert libc.setns(before.fileno(), _CLONE_NEWNET) == 0


def add_tap(name: str, bridge: str | None = None) -> None:
    """Without a bridge it has the address `HOST`."""
    ip("tuntap", "add", name, "mode", "tap")
    if bridge:
        ip("link", "set", name, "master", bridge)
    else:
        ip("addr", "add", f"{HOST}/24", "dev", name)
    ip("link", "set", name, "up")


PRIMARY_NET, SECONDARY_NET = (["--net", f"net=tap:{tap}"] for tap in ("tapa", "tapb"))
"""Options of the replicas on the network of `add_pair_network`."""


def add_pair_network(*, hub: bool = True) -> None:
    """A bridge with a tap device for each replica; on a `hub` both receive every frame."""
    add_bridge(hub=hub)
    for tap in ("tapa", "tapb"):
        add_tap(tap, "br0")


def add_bridge(name: str = "br0", *, hub: bool = False) -> None:
    """A bridge with the address `HOST`; a `hub` sends every frame to all."""
    learning = ["ageing_time", 0] if hub else []
    ip("link", "add", name, "type", "bridge", *learning)
    ip("addr", "add", f"{HOST}/24", "dev", name)
    ip("link", "set", name, "up")

"""Network namespaces for tests, which skip where there can be none."""

from __future__ import annotations

import os
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
    "PRIMARY_NET",
    "SECONDARY_NET",
    "add_bridge",
    "add_pair_network",
    "add_tap",
    "ip",
    "namespace",
]


@contextmanager
def namespace() -> Iterator[None]:
    """A network of its own for the test's thread and what it starts."""
    if os.geteuid() != 0:
        (pytest.fail if "CI" in os.environ else pytest.skip)("needs root, for a network namespace")
    with network.namespace():
        yield

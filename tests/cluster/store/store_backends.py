"""The stores under test, each with as many handles as a test likes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from vlockstep.cluster.store import Conflict, Store, open_store

BACKENDS = ["memory", "directory", pytest.param("etcd", marks=pytest.mark.external("etcd"))]

PATIENCE = 60.0
"""Seconds for a call where none is to fail, however busy the disk is."""


@dataclass
class Backend:
    """`address` is what another process opens; "" if none can. `ttl` is a short time for leases
    there, and `elapse` lets seconds pass."""

    make: Callable[[], Store]
    address: str = ""
    ttl: float = 0.25
    elapse: Callable[[float], None] = time.sleep
    handles: list[Store] = field(default_factory=list)

    def open(self) -> Store:
        self.handles.append(self.make())
        return self.handles[-1]

    def close(self) -> None:
        for handle in self.handles:
            handle.close()


def increments(address: str, count: int) -> dict[str, list[int]]:
    """Count up two counters, by turns; the versions that each success has given them."""
    store = open_store(address, PATIENCE)
    keys = ["counters/a", "counters/b"]
    versions: dict[str, list[int]] = {key: [] for key in keys}
    for number in range(count):
        key = keys[number % 2]
        entry = store.get(key)
        while True:
            value = {"count": entry.value["count"] + 1 if entry else 1}
            try:
                versions[key].append(store.put(key, value, entry.version if entry else 0))
            except Conflict as conflict:
                entry = conflict.entry
            else:
                break
    store.close()
    return versions

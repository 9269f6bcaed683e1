"""From what a user calls a store to the store."""

from __future__ import annotations

from pathlib import Path

from vlockstep.cluster.store.directory import DirectoryStore
from vlockstep.cluster.store.interface import Store
from vlockstep.cluster.store.values import Reading, entry_of
from vlockstep.errors import UsageError


def open_store(text: str, limit: float = 5.0, entry: Reading = entry_of) -> Store:
    """The store in a directory or, at `etcd://HOST:PORT/PREFIX`, in etcd. Nothing is asked of it
    yet; calls will take at most `limit` seconds. What is written is read by `entry`. Raises
    `UsageError`."""
    if "://" in text:
        from vlockstep.cluster.store.etcd import EtcdStore  # whose HTTP and TLS others do without

        return EtcdStore(text, limit=limit, entry=entry)
    if not text or "\0" in text:
        raise UsageError(
            f"{text!r} names no store: give a directory that all hosts share, or etcd://HOST:PORT"
        )
    return DirectoryStore(Path(text), limit=limit, entry=entry)

"""The store in a directory that all hosts share, without any server.

What is in [shards](shards.py) is made into entries, leases and watches here. A lease is an entry,
too, in a place of its own. Its holder writes it again and again; whoever has seen it at one version
for as long as it is to last deletes it, if it still is at that version. So either the holder is
told that it has expired or its next version is there, never both. Only when it is gone are the
entries removed that had it: by whoever comes across one, before he tells that it is not there.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from vlockstep.cluster.store.interface import (
    Conflict,
    Entry,
    Expired,
    Lease,
    StoreError,
    Value,
    Watch,
    check_expected,
    check_ttl,
    elapsed,
)
from vlockstep.cluster.store.polling import PolledWatch, Watchers
from vlockstep.cluster.store.shards import Shard, Shards, shard_of
from vlockstep.cluster.store.values import (
    Reading,
    Stored,
    check_key,
    check_prefix,
    decode,
    encode,
    entry_of,
    is_key,
    within,
)
from vlockstep.cluster.store.worker import Worker

T = TypeVar("T")
HOME = "vlockstep-store"
_LEASES = ".leases/"
"""Before the names of entries that are leases: no key of others."""


class _Beat(NamedTuple):
    """When a lease was first seen at this version."""

    version: int
    seen: float


class DirectoryStore:
    """The store in the directory `path`, which must be there, on a file system that all hosts
    share; what else is in it is left alone. Calls take at most `limit` seconds; watches look every
    `interval` seconds. What is written is read by `entry`."""

    def __init__(
        self,
        path: Path,
        *,
        limit: float = 5.0,
        interval: float = 0.1,
        entry: Reading = entry_of,
    ) -> None:
        self._entry = entry
        self._interval = interval
        self._name = f"the store {path}"
        self._shards = Shards(path / HOME)
        self._worker = Worker(self._name, limit)
        self._watchers = Watchers()
        self._beats: dict[str, _Beat] = {}
        self._give_up = 0.0

    def get(self, key: str) -> Entry | None:
        check_key(key)
        _, stored = self._call(lambda: self._settled(key))
        return None if stored is None else self._told(key, stored)

    def list(self, prefix: str) -> dict[str, Entry]:
        check_prefix(prefix)
        found = self._call(lambda: self._entries(prefix))
        self._watchers.learn(found)
        return {key: self._entry(key, stored) for key, stored in found.items()}

    def put(self, key: str, value: Value, expected: int | None, lease: Lease | None = None) -> int:
        check_key(key)
        check_expected(expected)
        text = encode(key, value)
        identity = "" if lease is None else lease.identity

        def change() -> int:
            if identity and self._read(_LEASES + identity) is None:
                raise Expired
            return self._change(key, expected, text, identity)

        version = self._call(change)
        self._watchers.learn([key])
        return version

    def delete(self, key: str, expected: int | None) -> None:
        check_key(key)
        check_expected(expected)
        self._call(lambda: self._change(key, expected, None))

    def watch(self, prefix: str) -> Watch:
        check_prefix(prefix)

        def look() -> dict[str, Stored]:
            return self._call(lambda: self._entries(prefix))

        return PolledWatch(self._watchers, prefix, look, self._entry, self._interval)

    def grant(self, ttl: float) -> Lease:
        check_ttl(ttl)
        identity, text = secrets.token_hex(8), json.dumps({"ttl": ttl})
        asked = elapsed()
        self._call(lambda: self._change(_LEASES + identity, 0, text))

        def keepalive(identity: str) -> None:
            self._call(lambda: self._keep(identity, text))

        def revoke(identity: str) -> None:
            self._call(lambda: self._change(_LEASES + identity, None, None))

        return Lease(identity, ttl, asked, elapsed, keepalive, revoke)

    def close(self) -> None:
        self._worker.close()

    # What the worker does

    def _call(self, call: Callable[[], T]) -> T:
        def within_time() -> T:
            self._give_up = elapsed() + self._worker.limit
            return call()

        return self._worker.call(within_time)

    def _again(self) -> None:
        """Somebody else was first."""
        if elapsed() >= self._give_up:
            raise StoreError(f"{self._name} is changed by others all the time: try again")

    def _change(self, key: str, expected: int | None, text: str | None, lease: str = "") -> int:
        """Put or, without a text, delete; the version then."""
        while True:
            shard, stored = self._settled(key)
            if expected is not None and expected != (stored.version if stored else 0):
                raise Conflict(key, None if stored is None else self._told(key, stored))
            if stored is None and text is None:
                return 0
            if (version := self._replace(shard, key, text, lease)) is not None:
                return version
            self._again()

    def _told(self, key: str, stored: Stored) -> Entry:
        self._watchers.learn([key])
        return self._entry(key, stored)

    def _replace(self, shard: Shard, key: str, text: str | None, lease: str = "") -> int | None:
        """The new version; None if somebody else was first."""
        version = shard.baton.revision + 1
        entries = {name: stored for name, stored in shard.entries.items() if name != key}
        if text is not None:
            entries[key] = Stored(text, version, lease)
        return None if self._shards.replace(shard, entries) is None else version

    def _read(self, key: str) -> Stored | None:
        return self._shards.read(shard_of(key)).entries.get(key)

    def _settled(self, key: str) -> tuple[Shard, Stored | None]:
        """What is at the key, after it was removed if its lease is over."""
        while True:
            shard = self._shards.read(shard_of(key))
            stored = shard.entries.get(key)
            if stored is None or not stored.lease or not self._over(stored.lease):
                return shard, stored
            self._replace(shard, key, None)
            self._again()

    def _entries(self, prefix: str) -> dict[str, Stored]:
        shards = self._shards.read_all()
        everything = {key: stored for shard in shards for key, stored in shard.entries.items()}
        leases = {key.removeprefix(_LEASES) for key in everything if key.startswith(_LEASES)}
        self._beats = {lease: beat for lease, beat in self._beats.items() if lease in leases}
        due = {lease for lease in leases if self._due(lease, everything[_LEASES + lease])}
        alive = leases - {lease for lease in due if self._over(lease)}
        found = {key: stored for key, stored in everything.items() if within(prefix, key)}
        for key, stored in list(found.items()):
            if stored.lease and stored.lease not in alive:
                _, now = self._settled(key)
                if now is None:
                    del found[key]
                else:
                    found[key] = now
        return {key: found[key] for key in sorted(found) if is_key(key)}

    # Leases

    def _keep(self, identity: str, text: str) -> None:
        key = _LEASES + identity
        while True:
            shard = self._shards.read(shard_of(key))
            if key not in shard.entries:
                raise Expired
            if self._replace(shard, key, text) is not None:
                return
            self._again()

    def _over(self, identity: str) -> bool:
        """Whether a lease has ended, now if it was due."""
        key = _LEASES + identity
        while True:
            shard = self._shards.read(shard_of(key))
            stored = shard.entries.get(key)
            if stored is None:
                return True
            if not self._due(identity, stored):
                return False
            self._replace(shard, key, None)
            self._again()

    def _due(self, identity: str, stored: Stored) -> bool:
        """Whether its holder has been silent for long enough."""
        now = elapsed()
        beat = self._beats.get(identity)
        if beat is None or beat.version != stored.version:
            self._beats[identity] = _Beat(stored.version, now)
            return False
        ttl = decode(_LEASES + identity, stored.text).get("ttl")
        if not isinstance(ttl, int | float):
            raise StoreError(f"{self._name} has a lease without a time: restore it")
        return now - beat.seen >= ttl

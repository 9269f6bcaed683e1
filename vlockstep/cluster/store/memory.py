"""A store in memory, in the time of whoever simulates."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Set
from dataclasses import dataclass, field

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
)
from vlockstep.cluster.store.polling import PolledWatch, Watchers
from vlockstep.cluster.store.values import (
    Reading,
    Stored,
    check_key,
    check_prefix,
    encode,
    entry_of,
    within,
)

_LAST = "\U0010ffff"
"""Above any character of a key."""


@dataclass
class Content:
    """What all handles share. `clock` tells the time by which leases end, in seconds."""

    clock: Callable[[], float]
    entries: dict[str, Stored] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    """Of the entries, in order."""
    leases: dict[str, float] = field(default_factory=dict)
    """When each one ends."""
    revision: int = 0

    def settle(self) -> None:
        """End the leases that are over, and what has them."""
        now = self.clock()
        if over := {name for name, end in self.leases.items() if end <= now}:
            self.end_leases(over)

    def end_leases(self, names: Set[str]) -> None:
        for name in names & self.leases.keys():
            del self.leases[name]
        for key in [key for key, stored in self.entries.items() if stored.lease in names]:
            self.remove(key)

    def put(self, key: str, stored: Stored) -> None:
        if key not in self.entries:
            insort(self.keys, key)
        self.entries[key] = stored

    def remove(self, key: str) -> None:
        del self.entries[key]
        del self.keys[bisect_left(self.keys, key)]

    def within(self, prefix: str) -> list[str]:
        """The keys that it means, in order."""
        own = [prefix] if prefix in self.entries else []
        beneath = prefix if not prefix or prefix.endswith("/") else prefix + "/"
        end = bisect_left(self.keys, beneath + _LAST) if beneath else len(self.keys)
        return own + self.keys[bisect_left(self.keys, beneath) : end]

    def step(self) -> int:
        self.revision += 1
        return self.revision


class MemoryStore:
    """A handle on the `content`, which calls never wait for, and which knows no threads. What is
    written is read by `entry`."""

    def __init__(self, content: Content, entry: Reading = entry_of) -> None:
        self._entry = entry
        self.reachable = True
        """Else nothing that it is asked is done."""
        self.deaf = False
        """What it is asked is done, but the answers get lost."""
        self._content = content
        self._watchers = Watchers()
        self._seen: dict[str, Stored] | None = None

    @property
    def stale(self) -> bool:
        """Reads tell what was there when this began, but for what this handle has changed since, or
        was told of by a conflict."""
        return self._seen is not None

    @stale.setter
    def stale(self, stale: bool) -> None:
        if stale != self.stale:
            self._content.settle()
            self._seen = dict(self._content.entries) if stale else None

    def get(self, key: str) -> Entry | None:
        check_key(key)
        return self.list(key).get(key)

    def list(self, prefix: str) -> dict[str, Entry]:
        check_prefix(prefix)
        found = {key: self._entry(key, stored) for key, stored in self._find(prefix).items()}
        self._watchers.learn(found)
        return found

    def put(self, key: str, value: Value, expected: int | None, lease: Lease | None = None) -> int:
        check_key(key)
        check_expected(expected)
        text = encode(key, value)
        self._ask()
        if lease is not None and lease.identity not in self._content.leases:
            self._answer()
            raise Expired
        self._compare(key, expected)
        identity = "" if lease is None else lease.identity
        stored = Stored(text, self._content.step(), identity)
        self._content.put(key, stored)
        self._answer(key)
        return stored.version

    def delete(self, key: str, expected: int | None) -> None:
        check_key(key)
        check_expected(expected)
        self._ask()
        self._compare(key, expected)
        if key in self._content.entries:
            self._content.remove(key)
            self._content.step()
        self._answer(key)

    def watch(self, prefix: str) -> Watch:
        """Its polls never wait."""
        check_prefix(prefix)
        return PolledWatch(self._watchers, prefix, lambda: self._find(prefix), self._entry, None)

    def grant(self, ttl: float) -> Lease:
        check_ttl(ttl)
        clock = self._content.clock
        asked = clock()
        self._ask()
        identity = str(self._content.step())
        self._content.leases[identity] = clock() + ttl
        self._answer()

        def keepalive(identity: str) -> None:
            self._ask()
            known = identity in self._content.leases
            if known:
                self._content.leases[identity] = clock() + ttl
            self._answer()
            if not known:
                raise Expired

        return Lease(identity, ttl, asked, clock, keepalive, self._revoke)

    def close(self) -> None:
        pass

    def _revoke(self, identity: str) -> None:
        self._ask()
        self._content.end_leases({identity})
        self._answer()

    def _find(self, prefix: str) -> dict[str, Stored]:
        self._ask()
        if self._seen is None:
            found = {key: self._content.entries[key] for key in self._content.within(prefix)}
        else:
            found = {key: self._seen[key] for key in sorted(self._seen) if within(prefix, key)}
        self._answer()
        return found

    def _compare(self, key: str, expected: int | None) -> None:
        stored = self._content.entries.get(key)
        if expected is not None and expected != (stored.version if stored else 0):
            self._answer(key)
            raise Conflict(key, self._entry(key, stored) if stored else None)

    def _ask(self) -> None:
        if not self.reachable:
            raise StoreError("the store is simulated to be out of reach")
        self._content.settle()

    def _answer(self, key: str = "") -> None:
        """`key` is the one of which the answer tells the truth."""
        if self.deaf:
            raise StoreError("the store's answer is simulated to be lost")
        if key in self._content.entries:
            self._watchers.learn([key])
        if key and self._seen is not None:
            self._seen.pop(key, None)
            if key in self._content.entries:
                self._seen[key] = self._content.entries[key]

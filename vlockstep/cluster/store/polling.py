"""Watches by looking again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from vlockstep.cluster.store.interface import Change, Entry, elapsed
from vlockstep.cluster.store.values import within


class Versioned(Protocol):
    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=Versioned)


class Told:
    """What has been told to who watches `prefix`; at first that is all of `entries`."""

    def __init__(self, prefix: str, entries: Mapping[str, Versioned]) -> None:
        self._prefix = prefix
        self._versions = _versions(entries)
        self._learnt: set[str] = set()

    def learn(self, keys: Iterable[str]) -> None:
        """Of these he has learnt otherwise that they are there: if they are not, that is news."""
        self._learnt.update(key for key in keys if within(self._prefix, key))

    def news(
        self, look: Callable[[], Mapping[str, V]], entry: Callable[[str, V], Entry]
    ) -> list[Change]:
        """What is there now and has not been told, in the keys' order. If `look` or `entry` raises,
        nothing is told."""
        learnt, self._learnt = self._learnt, set()
        try:
            found = look()
            versions = _versions(found)
            new = {key for key in versions if versions[key] != self._versions.get(key)}
            gone = (learnt | self._versions.keys()) - versions.keys()
            changes = [
                Change(key, entry(key, found[key]) if key in found else None)
                for key in sorted(new | gone)
            ]
        except BaseException:
            self._learnt |= learnt
            raise
        self._versions = versions
        return changes


class Watcher(Protocol):
    def learn(self, keys: Iterable[str]) -> None: ...


class Watchers:
    """Those of a handle, who learn what it hands out."""

    def __init__(self) -> None:
        self._all: tuple[Watcher, ...] = ()

    def add(self, watcher: Watcher) -> None:
        self._all = (*self._all, watcher)

    def remove(self, watcher: Watcher) -> None:
        self._all = tuple(other for other in self._all if other is not watcher)

    def learn(self, keys: Iterable[str]) -> None:
        for watcher in self._all:
            watcher.learn(keys)


class PolledWatch:
    """Looks every `interval` seconds while a poll waits; with None a poll never waits."""

    def __init__(
        self,
        watchers: Watchers,
        prefix: str,
        look: Callable[[], Mapping[str, V]],
        entry: Callable[[str, V], Entry],
        interval: float | None,
    ) -> None:
        self._watchers = watchers
        told = self._told = Told(prefix, look())
        self._news: Callable[[], list[Change]] = lambda: told.news(look, entry)
        self._interval = interval
        self._closed = threading.Event()
        watchers.add(self._told)

    def poll(self, seconds: float) -> list[Change]:
        end = elapsed() + seconds
        while True:
            changes = self._news()
            if changes or self._interval is None or (left := end - elapsed()) <= 0:
                return changes
            if self._closed.wait(min(left, self._interval)):
                return []

    def close(self) -> None:
        """A poll that waits ends."""
        self._closed.set()
        self._watchers.remove(self._told)


def _versions(entries: Mapping[str, Versioned]) -> dict[str, int]:
    return {key: entry.version for key, entry in entries.items()}

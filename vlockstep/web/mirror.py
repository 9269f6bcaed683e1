"""A store as it was at the last look, kept by a watch: reading all of it costs nothing there."""

from __future__ import annotations

from collections.abc import Mapping

from vlockstep.cluster.store import Store
from vlockstep.cluster.store.interface import Entry, Lease, Value, Watch

_NOTHING: Mapping[str, Entry] = {}


class Mirror:
    """A `Store` whose reads tell what `update` has seen. Changes go to the store itself."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parts: dict[str, dict[str, Entry]] = {}
        """By what their keys begin with."""
        self._watch: Watch | None = None

    def update(self, seconds: float) -> None:
        """Wait so long for changes. Raises `StoreError`; then nothing is lost."""
        if self._watch is None:
            watch = self._store.watch("")
            try:
                parts: dict[str, dict[str, Entry]] = {}
                for key, entry in self._store.list("").items():
                    parts.setdefault(_first(key), {})[key] = entry
                self._parts = parts
            except BaseException:
                watch.close()
                raise
            self._watch = watch
        if changes := self._watch.poll(seconds):
            changed = {first: dict(self.part(first)) for first in {_first(c.key) for c in changes}}
            for change in changes:
                entries = changed[_first(change.key)]
                if change.entry is None:
                    entries.pop(change.key, None)
                else:
                    entries[change.key] = change.entry
            self._parts = {**self._parts, **changed}  # at once: others read meanwhile

    def part(self, first: str) -> Mapping[str, Entry]:
        """All whose keys begin with this part: the same object as long as nothing there changes,
        and of what does not change the same entries."""
        return self._parts.get(first, _NOTHING)

    def get(self, key: str) -> Entry | None:
        return self.part(_first(key)).get(key)

    def list(self, prefix: str) -> dict[str, Entry]:
        inner = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        parts = self._parts
        entries = parts.get(_first(prefix), _NOTHING)
        if not prefix:
            entries = {key: entry for part in parts.values() for key, entry in part.items()}
        return {
            key: entries[key] for key in sorted(entries) if key == prefix or key.startswith(inner)
        }

    def put(self, key: str, value: Value, expected: int | None, lease: Lease | None = None) -> int:
        return self._store.put(key, value, expected, lease)

    def delete(self, key: str, expected: int | None) -> None:
        self._store.delete(key, expected)

    def watch(self, prefix: str) -> Watch:
        return self._store.watch(prefix)

    def grant(self, ttl: float) -> Lease:
        return self._store.grant(ttl)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._store.close()


def _first(key: str) -> str:
    return key.partition("/")[0]

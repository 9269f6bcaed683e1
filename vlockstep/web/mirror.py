"""A store as it was at the last look, kept by a watch: reading all of it costs nothing there."""

from __future__ import annotations

from vlockstep.cluster.store import Store
from vlockstep.cluster.store.interface import Entry, Lease, Value, Watch


class Mirror:
    """A `Store` whose reads tell what `update` has seen. Changes go to the store itself."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: dict[str, Entry] = {}
        self._watch: Watch | None = None

    def update(self, seconds: float) -> None:
        """Wait so long for changes. Raises `StoreError`; then nothing is lost."""
        if self._watch is None:
            watch = self._store.watch("")
            try:
                self._entries = self._store.list("")
            except BaseException:
                watch.close()
                raise
            self._watch = watch
        if changes := self._watch.poll(seconds):
            entries = dict(self._entries)
            for change in changes:
                if change.entry is None:
                    entries.pop(change.key, None)
                else:
                    entries[change.key] = change.entry
            self._entries = entries  # at once: others read meanwhile

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def list(self, prefix: str) -> dict[str, Entry]:
        inner = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        entries = self._entries
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

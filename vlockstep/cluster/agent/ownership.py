"""The lock of a datastore's list of protected guests: which master is responsible for them.

The lock is a record that its owner renews by compare-and-set, several times in a lease. Who has
seen it unchanged for longer than the lease, by its own clock, may take it. So the owner, which
counts from before it asked, has given it up by then.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from vlockstep.cluster.store import Conflict, Store

_KEY = "protectedlist"


class Ownership:
    """As `host` sees it. Times are in seconds. Every method may raise `StoreError`."""

    def __init__(self, store: Store, host: str, lease: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._host = host
        self._lease = lease
        self._clock = clock
        self._version = 0
        """That this host wrote last, if it owns the lock."""
        self._until = float("-inf")
        self._seen: tuple[int, float] | None = None
        """The version that another owner wrote, and since when it has been that."""

    @property
    def owned(self) -> bool:
        """Surely, by this host's clock."""
        return self._clock() < self._until

    def acquire(self) -> bool:
        """Take it, if nobody has it any more; whether it is owned."""
        if self.owned:
            return self.renew()
        asked = self._clock()
        entry = self._store.get(_KEY)
        if entry is not None and entry.value.get("owner"):
            if self._seen is None or self._seen[0] != entry.version:
                self._seen = entry.version, asked
            lease = float(entry.value.get("lease", self._lease))
            if asked < self._seen[1] + lease * 1.05 + 0.005:
                return False
        return self._write(asked, 0 if entry is None else entry.version)

    def renew(self) -> bool:
        """Keep it; whether it is owned."""
        return self._write(self._clock(), self._version)

    def held(self) -> bool:
        """Whether anybody has it, as far as can be seen."""
        entry = self._store.get(_KEY)
        return entry is not None and bool(entry.value.get("owner"))

    def release(self) -> None:
        """Nobody has to wait for it."""
        until, self._until = self._until, float("-inf")
        if self._clock() < until:
            with suppress(Conflict):
                self._store.put(_KEY, {"owner": "", "lease": self._lease}, self._version)

    def _write(self, asked: float, version: int) -> bool:
        try:
            value = {"owner": self._host, "lease": self._lease}
            self._version = self._store.put(_KEY, value, version)
        except Conflict:
            self._until = float("-inf")
            return False
        self._until = asked + self._lease
        return self.owned

"""Datastores in memory: files that hosts share, and locks with a lease."""

from __future__ import annotations

from dataclasses import dataclass

from vlockstep.cluster.sim.clock import VirtualTime


class Unreachable(OSError):
    """The host does not reach the datastore."""


@dataclass(frozen=True)
class _Lock:
    owner: str
    until: int


class SimulatedDatastore:
    """Whoever reads or writes says from which host."""

    def __init__(self, name: str, time: VirtualTime) -> None:
        self.name = name
        self.away: set[str] = set()
        """Hosts that do not reach it."""
        self._time = time
        self._files: dict[str, bytes] = {}
        self._locks: dict[str, _Lock] = {}

    def write(self, host: str, path: str, content: bytes) -> None:
        self._reach(host)
        self._files[path] = content

    def read(self, host: str, path: str) -> bytes | None:
        """None if there is no such file."""
        self._reach(host)
        return self._files.get(path)

    def lock(self, host: str, path: str, lease: int) -> bool:
        """Take or renew the lock for so long, unless another host has it."""
        self._reach(host)
        if self.owner(path) not in (None, host):
            return False
        self._locks[path] = _Lock(host, self._time.now + lease)
        return True

    def unlock(self, host: str, path: str) -> None:
        self._reach(host)
        if self.owner(path) == host:
            del self._locks[path]

    def owner(self, path: str) -> str | None:
        """Who has the lock now."""
        lock = self._locks.get(path)
        return lock.owner if lock is not None and self._time.now < lock.until else None

    def _reach(self, host: str) -> None:
        if host in self.away:
            raise Unreachable(f"{host} does not reach {self.name}")

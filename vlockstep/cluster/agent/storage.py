"""A datastore as the agents' second channel: heartbeats, what runs where, and who is responsible.

One thread for each datastore does all that: it may hang for as long as the storage does, and nobody
waits for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vlockstep.cluster.agent.ownership import Ownership
from vlockstep.cluster.ha.datastore import (
    MAX_FILE,
    DamagedFile,
    Heartbeat,
    PowerOn,
    directory,
    heartbeat_file,
    poweron_file,
)
from vlockstep.cluster.ha.isolation import Home
from vlockstep.cluster.store import DirectoryStore, StoreError
from vlockstep.errors import VlockstepError

_OWNERS = "owner"


@dataclass(frozen=True)
class Connected:
    """The datastore can be used."""

    datastore: str


@dataclass(frozen=True)
class Lost:
    """It cannot, for this reason."""

    datastore: str
    reason: str


@dataclass(frozen=True)
class HostRead:
    """What stood in a host's files there."""

    datastore: str
    host: str
    counter: int | None
    isolated: bool
    runs: frozenset[str]


@dataclass(frozen=True)
class Owned:
    """This host is responsible for the guests at home there, or no longer."""

    datastore: str
    owned: bool


StorageEvent = Connected | Lost | HostRead | Owned


class Datastore:
    """`tell` is called in the thread. `beat` is the time between two heartbeats, `lease` that of
    the ownership, in seconds."""

    def __init__(
        self,
        name: str,
        path: Path,
        cluster: str,
        host: str,
        beat: float,
        lease: float,
        tell: Callable[[StorageEvent], None],
    ) -> None:
        self.name = name
        self._path = path
        self._directory = path / directory(cluster)
        self._host = host
        self._beat = beat
        self._lease = lease
        self._tell = tell
        self._wake = threading.Event()
        self._closed = False
        self._isolated = False
        self._running: tuple[str, ...] = ()
        self._heartbeat = False
        self._watched: frozenset[str] = frozenset()
        self._wants = False
        """To own it."""
        self._counter = time.time_ns()
        self._connected: bool | None = None
        self._ownership: Ownership | None = None
        self.home = Home.UNREACHABLE
        """How it looks from this host, while that is isolated."""
        self._told_owned = False
        self._thread = threading.Thread(target=self._run, name=f"datastore {name}", daemon=True)
        self._thread.start()

    # What the agent wants, from any thread

    def beat_here(self, wanted: bool) -> None:
        """It is one of this host's heartbeat datastores."""
        self._heartbeat = wanted

    def declare(self, isolated: bool) -> None:
        self._isolated = isolated
        self._wake.set()

    def runs(self, guests: Iterable[str]) -> None:
        self._running = tuple(sorted(guests))

    def watch(self, hosts: frozenset[str]) -> None:
        self._watched = hosts
        self._wake.set()

    def own(self, wanted: bool) -> None:
        """Whether it is, is told each time anew."""
        self._wants = wanted
        self._told_owned = False
        self._wake.set()

    @property
    def owned(self) -> bool:
        """Surely, now."""
        ownership = self._ownership
        return self._wants and ownership is not None and ownership.owned

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        self._thread.join(1.0)

    # The thread

    def _run(self) -> None:
        while not self._closed:
            began = time.monotonic()
            try:
                self._turn()
                problem = ""
            except OSError as error:
                problem = f"{error.filename or self._path}: {error.strerror}"
            except VlockstepError as error:
                problem = str(error)
            if problem:
                self.home = Home.UNREACHABLE
            self._tell_connection(problem)
            owned = self.owned
            if owned != self._told_owned:
                self._told_owned = owned
                self._tell(Owned(self.name, owned))
            interval = min(self._beat, self._lease / 4)
            self._wake.wait(max(0.0, began + interval - time.monotonic()))
            self._wake.clear()
        with suppress(OSError, VlockstepError):
            if self._ownership is not None:
                self._ownership.release()

    def _turn(self) -> None:
        if not self._path.is_dir():
            raise StoreError(f"{self._path} is not there")
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._heartbeat:
            self._counter += 1
            self._write(heartbeat_file(self._host), Heartbeat(self._counter).format())
        self._write(poweron_file(self._host), PowerOn(self._isolated, self._running).format())
        self._see_to_ownership()
        if self._isolated:
            self.home = Home.OWNED if self._lock().held() else Home.UNOWNED
        for host in sorted(self._watched):
            self._read_host(host)

    def _see_to_ownership(self) -> None:
        if self._wants:
            self._lock().acquire()
        elif self._ownership is not None:
            self._ownership.release()

    def _lock(self) -> Ownership:
        if self._ownership is None:
            (self._directory / _OWNERS).mkdir(exist_ok=True)
            store = DirectoryStore(self._directory / _OWNERS)
            self._ownership = Ownership(store, self._host, self._lease, time.monotonic)
        return self._ownership

    def _read_host(self, host: str) -> None:
        with suppress(DamagedFile):
            beat = self._read(heartbeat_file(host))
            power = self._read(poweron_file(host))
            counter = None if beat is None else Heartbeat.parse(beat, heartbeat_file(host)).counter
            on = PowerOn(False, ())
            if power is not None:
                on = PowerOn.parse(power, poweron_file(host))
            self._tell(HostRead(self.name, host, counter, on.isolated, frozenset(on.guests)))

    def _read(self, name: str) -> bytes | None:
        try:
            with (self._directory / name).open("rb") as file:
                return file.read(MAX_FILE + 1)
        except FileNotFoundError:
            return None

    def _write(self, name: str, content: bytes) -> None:
        """In one step, so that nobody reads half of it."""
        draft = self._directory / f".{name}.new"
        draft.write_bytes(content)
        draft.replace(self._directory / name)

    def _tell_connection(self, problem: str) -> None:
        connected = not problem
        if connected != self._connected:
            self._connected = connected
            self._tell(Connected(self.name) if connected else Lost(self.name, problem))

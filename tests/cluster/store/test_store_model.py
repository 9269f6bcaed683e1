"""The store in a directory does what the one in memory does, whatever two handles of each ask."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)
from store_backends import PATIENCE

from vlockstep.cluster.store import (
    Change,
    Conflict,
    Content,
    DirectoryStore,
    Entry,
    Expired,
    Lease,
    MemoryStore,
    Watch,
)

KEYS = st.sampled_from(["a", "a/b", "a/bc", "a/b/c", "ab", "b"])
PREFIXES = st.sampled_from(["", "a", "a/", "a/b", "b"])
HANDLES = st.integers(0, 1)
MEMORY = next((path for path in ("/dev/shm",) if Path(path).is_dir()), None)
"""Where no disk is waited for, if there is such a place."""


class Both(RuleBasedStateMachine):
    """Versions differ, but for each of memory there is one of the directory."""

    leases = Bundle("leases")
    watches = Bundle("watches")

    @initialize()
    def open(self) -> None:
        content = Content(lambda: 0.0)
        self.memory = [MemoryStore(content) for _ in range(2)]
        self.path = Path(tempfile.mkdtemp(prefix="vlockstep-store-", dir=MEMORY))
        self.directory = [DirectoryStore(self.path, limit=PATIENCE) for _ in range(2)]
        self.versions = {0: 0}
        self.history: dict[str, list[int]] = {}
        self.count = 0

    def teardown(self) -> None:
        for store in self.directory:
            store.close()
        shutil.rmtree(self.path)

    def same(self, memory: Callable[[], object], directory: Callable[[], object]) -> None:
        expected, found = outcome(memory), outcome(directory)
        assert self.translated(expected) == found

    def translated(self, told: Any) -> Any:
        match told:
            case Entry(value, version):
                return Entry(value, self.versions[version])
            case Change(key, entry):
                return Change(key, self.translated(entry))
            case dict():
                return {key: self.translated(entry) for key, entry in told.items()}
            case list():
                return [self.translated(change) for change in told]
            case "Conflict", entry:
                return "Conflict", self.translated(entry)
        return told

    def versions_of(self, key: str, which: str) -> tuple[int | None, int | None]:
        entry = self.memory[0].get(key)
        now = entry.version if entry else 0
        older = max((v for v in self.history.get(key, []) if v != now), default=0)
        version = {"now": now, "none": 0, "older": older, "any": None}[which]
        return version, None if version is None else self.versions[version]

    def change(
        self, handle: int, key: str, which: str, leases: tuple[Lease | None, Lease | None]
    ) -> None:
        self.count += 1
        value = {"n": self.count}
        expected = self.versions_of(key, which)
        memory = outcome(lambda: self.memory[handle].put(key, value, expected[0], leases[0]))
        directory = outcome(lambda: self.directory[handle].put(key, value, expected[1], leases[1]))
        if isinstance(memory, int):
            assert isinstance(directory, int)
            self.versions[memory] = directory
            self.history.setdefault(key, []).append(memory)
        else:
            assert self.translated(memory) == directory

    @rule(handle=HANDLES, key=KEYS, which=st.sampled_from(["now", "none", "older", "any"]))
    def put(self, handle: int, key: str, which: str) -> None:
        self.change(handle, key, which, (None, None))

    @rule(handle=HANDLES, key=KEYS, which=st.sampled_from(["now", "any"]), leases=leases)
    def put_with_lease(
        self, handle: int, key: str, which: str, leases: tuple[Lease, Lease]
    ) -> None:
        self.change(handle, key, which, leases)

    @rule(handle=HANDLES, key=KEYS, which=st.sampled_from(["now", "none", "older", "any"]))
    def delete(self, handle: int, key: str, which: str) -> None:
        memory, directory = self.versions_of(key, which)
        self.same(
            lambda: self.memory[handle].delete(key, memory),
            lambda: self.directory[handle].delete(key, directory),
        )

    @rule(handle=HANDLES, key=KEYS)
    def get(self, handle: int, key: str) -> None:
        self.same(lambda: self.memory[handle].get(key), lambda: self.directory[handle].get(key))

    @rule(target=leases, handle=HANDLES)
    def grant(self, handle: int) -> tuple[Lease, Lease]:
        return self.memory[handle].grant(3600), self.directory[handle].grant(3600)

    @rule(leases=leases)
    def keepalive(self, leases: tuple[Lease, Lease]) -> None:
        self.same(leases[0].keepalive, leases[1].keepalive)

    @rule(target=leases, leases=consumes(leases), again=st.booleans())
    def revoke(self, leases: tuple[Lease, Lease], again: bool) -> Any:
        self.same(leases[0].revoke, leases[1].revoke)
        return leases if again else multiple()

    @rule(target=watches, handle=HANDLES, prefix=PREFIXES)
    def watch(self, handle: int, prefix: str) -> tuple[Watch, Watch]:
        return self.memory[handle].watch(prefix), self.directory[handle].watch(prefix)

    @rule(watches=watches)
    def poll(self, watches: tuple[Watch, Watch]) -> None:
        self.same(lambda: watches[0].poll(0), lambda: watches[1].poll(0))

    @invariant()
    def all_is_the_same(self) -> None:
        self.same(lambda: self.memory[1].list("a"), lambda: self.directory[1].list("a"))


def outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except Conflict as conflict:
        return "Conflict", conflict.entry
    except Expired:
        return "Expired"


TestBoth = Both.TestCase
TestBoth.settings = settings(max_examples=15, stateful_step_count=20)

"""Three replicas of a guest, as processes: two of them die, and nobody notices."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pair_checks import MISSES

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.testing import check_ledger
from vlockstep.testing.process import TIMEOUT, ReplicaProcess
from vlockstep.wire import keys as key_files

LINES = 60
GUEST = (f"--lines={LINES}", "--pause=5", "--work=1000")
FIRST, SECOND = "entry:50", "entry:150"
"""Where the guest waits for `go`, on each that executes it."""
ANYWHERE = "tcp://127.0.0.1:0"


class Three:
    """A primary that waits for two secondaries, `one` and `other`."""

    def __init__(self, directory: Path, keys: bool) -> None:
        self.arbiter = directory / "arbiter"
        self.processes: dict[str, ReplicaProcess] = {}
        self._directory = directory
        self._console, self._disk = directory / "console", directory / "disk"
        self._disk.write_bytes(bytes(1 << 16))
        self._keys: tuple[object, ...] = ()
        if keys:
            key_files.create(directory / "keys")
            self._keys = ("--keys", directory / "keys")
        self._start("primary", "primary", "--secondaries", 2, "--listen", ANYWHERE)
        endpoint = self["primary"].wait_event("waiting")["endpoint"]
        for name in ("one", "other"):
            self._start(name, "secondary", "--connect", endpoint, "--listen", ANYWHERE)

    def __getitem__(self, name: str) -> ReplicaProcess:
        return self.processes[name]

    def go(self) -> None:
        """The guest goes on, on all of them."""
        for process in self.processes.values():
            process.go()

    def wait_heir(self, *left: str) -> str:
        """Who of those that are left takes over."""
        deadline = time.monotonic() + TIMEOUT
        while not (live := [name for name in left if self[name].count("live")]):
            assert time.monotonic() < deadline, self.report()
            time.sleep(0.01)
        return live[0]

    def check(self) -> None:
        """What the world was shown."""
        check_ledger(self._console.read_bytes(), self._disk.read_bytes(), LINES)

    def report(self) -> str:
        return "\n".join(process.report() for process in self.processes.values())

    def _start(self, name: str, role: str, *options: object) -> None:
        self.processes[name] = ReplicaProcess(
            name,
            [
                role, "ledger", "--json", "--arbiter", self.arbiter, "--console", self._console,
                "--block", f"disk={self._disk}", "--log", self._directory / f"{name}.vlog",
                "--run-dir", self._directory / "run", "--misses", MISSES, *self._keys, *options,
                "--stop-at", FIRST, "--stop-at", SECOND,
                *(["--", *GUEST] if role == "primary" else []),
            ],
            self.report,
        )  # fmt: skip


@contextmanager
def three(directory: Path, keys: bool = False) -> Iterator[Three]:
    replicas = Three(directory, keys)
    try:
        replicas["primary"].wait_event("started")
        yield replicas
    finally:
        for process in replicas.processes.values():
            process.close()


@pytest.mark.parametrize("keys", [False, True], ids=["without keys", "with keys"])
def test_two_die_one_after_the_other(tmp_path: Path, keys: bool) -> None:
    with three(tmp_path, keys) as replicas:
        replicas["primary"].wait_reached()
        replicas["primary"].signal(signal.SIGKILL)
        heir = replicas.wait_heir("one", "other")
        last = "other" if heir == "one" else "one"
        assert replicas[heir].wait_event("live")["protected"]
        replicas.go()
        replicas[heir].wait_event("reached", place=SECOND)
        replicas[heir].signal(signal.SIGKILL)
        assert not replicas[last].wait_event("live")["protected"]
        replicas.go()
        assert replicas[last].wait_exit() == 0
        replicas.check()
        reigns = DirectoryArbiter(replicas.arbiter, "test").reigns()
        assert [len(reign.record.members) for reign in reigns] == [3, 2, 1]
        assert reigns[-1].ended


@pytest.mark.parametrize("lost", ["one", "other"])
def test_a_secondary_that_dies_leaves_the_guest_protected(tmp_path: Path, lost: str) -> None:
    left = "other" if lost == "one" else "one"
    with three(tmp_path) as replicas:
        replicas["primary"].wait_reached()
        replicas[lost].signal(signal.SIGKILL)
        replicas["primary"].wait_status(lambda status: status["members"] == 2)
        replicas.go()
        replicas.go()
        assert replicas["primary"].wait_exit() == replicas[left].wait_exit() == 0
        assert not replicas["primary"].count("unprotected")
        replicas.check()
        reigns = DirectoryArbiter(replicas.arbiter, "test").reigns()
        assert [len(reign.record.members) for reign in reigns] == [3, 2]


def test_a_primary_that_leaves_hands_over_to_one_and_the_other_follows(tmp_path: Path) -> None:
    with three(tmp_path) as replicas:
        replicas["primary"].wait_reached()
        replicas["primary"].signal(signal.SIGTERM)
        replicas["primary"].wait_status(lambda status: status["state"] == "holding")
        replicas.go()
        replicas.go()
        heir = replicas.wait_heir("one", "other")
        assert replicas["primary"].wait_exit() == 0
        assert replicas["one"].wait_exit() == replicas["other"].wait_exit() == 0
        assert not replicas[heir].count("unprotected")
        replicas.check()

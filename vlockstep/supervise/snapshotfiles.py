"""Taking a snapshot of a guest that goes on, and writing the files of snapshots."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from vlockstep.errors import UsageError, VlockstepError
from vlockstep.files.atomicfile import AtomicFile
from vlockstep.files.locks import PRIVATE
from vlockstep.host.devices import Disk
from vlockstep.host.room import expect_room
from vlockstep.machine.config import MIB
from vlockstep.machine.interface import GuestMachine
from vlockstep.machine.memory import Memory
from vlockstep.machine.ramcopy import RamCopy
from vlockstep.replay.pieces import Piece
from vlockstep.replay.snapshot import DiskState, Snapshot, encode
from vlockstep.supervise.control import Answer
from vlockstep.supervise.files import refuse_overwriting
from vlockstep.supervise.visits import Visit

HELD_DISKS = 16 * MIB
"""Bytes that disks may hold to be copied while the guest is held."""
_TELL_SECONDS = 0.5
_FINISH_SECONDS = 60.0

Contents = Mapping[str, list[Piece]]
Facts = dict[str, Any]


class Subject(Protocol):
    """A guest that runs, of which a snapshot is taken. What it is read from and writes to are
    `files` and, by name, `disks`."""

    @property
    def machine(self) -> GuestMachine: ...

    @property
    def files(self) -> tuple[Path, ...]: ...

    @property
    def disks(self) -> Mapping[str, Disk]: ...

    def visit(self) -> Visit[Snapshot]:
        """Hold it at the next place where there is one to be taken."""

    def check(self) -> None:
        """Raises a `VlockstepError` if what was taken is not to be kept."""


def path_of(request: Mapping[str, Any]) -> Path:
    """Where a snapshot is to go. Raises `UsageError`."""
    path, suspend = request.get("path"), request.get("suspend", False)
    if type(path) is not str or not path.startswith("/") or type(suspend) is not bool:
        raise UsageError("a snapshot goes to an absolute path, and suspends or not")
    return Path(path)


class Teller:
    """Tells how far it is, not too often."""

    def __init__(self, answer: Answer, writing: str = "") -> None:
        self._answer = answer
        self._writing = writing
        self._next = time.monotonic() + _TELL_SECONDS

    def __call__(self, text: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _TELL_SECONDS
            self._answer({"progress": text})

    def written(self, size: int) -> None:
        self(f"{size >> 20} {self._writing}")


class SnapshotFiles:
    """Makes files of snapshots, one at a time, in a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None

    def make(
        self,
        path: Path,
        files: tuple[Path, ...],
        fill: Callable[[AtomicFile, Teller], Facts],
        answer: Answer,
        made: Answer | None = None,
    ) -> None:
        """Let `fill` write and keep the file, which is none of `files`. `answer` is told how far
        that is and, if there is no file, why; what `fill` says of it goes there, too, or to `made`
        if there is that."""
        with self._lock:
            if self._thread is not None:
                answer({"error": "a snapshot of it is being taken already"})
                return
            work = partial(self._work, path, files, fill, answer, made or answer)
            self._thread = threading.Thread(target=work, name="snapshot", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """The guest has ended: wait for the file of a snapshot that was taken before."""
        thread = self._thread
        if thread is not None:
            thread.join(_FINISH_SECONDS)

    def _work(
        self,
        path: Path,
        files: tuple[Path, ...],
        fill: Callable[[AtomicFile, Teller], Facts],
        answer: Answer,
        made: Answer,
    ) -> None:
        try:
            refuse_overwriting(path, "snapshot", files, ())
            with AtomicFile(path, PRIVATE) as file:
                told = fill(file, Teller(answer, f"MiB written to {path}"))
        except VlockstepError as error:
            told = {"error": str(error)}
        except OSError as error:
            told = {"error": f"cannot write the snapshot {path}: {error.strerror}"}
        except Exception as error:  # a bug must not leave who asks without an answer
            told = {"error": f"{type(error).__name__}: {error}"}
        with self._lock:
            self._thread = None
        (answer if "error" in told else made)({"path": str(path), **told})


def take(subject: Subject, file: AtomicFile, tell: Teller) -> Facts:
    """Most of the RAM is copied before the guest is held, and the file is made afterwards."""
    expect_room(subject.machine.memory.used, what="a copy of the guest's RAM")
    with closing(RamCopy(subject.machine)) as copy:
        copy.approach()
        with subject.visit() as visit:
            snapshot = visit.result()
            copy.complete()
            disks = {name: list(disk.pieces()) for name, disk in subject.disks.items()}
        write(file, snapshot, copy.memory, disks, tell, subject.check)
    return facts(snapshot, file, visit)


def write(
    file: AtomicFile,
    snapshot: Snapshot,
    memory: Memory,
    disks: Contents,
    tell: Teller,
    check: Callable[[], None] = lambda: None,
) -> None:
    for part in encode(snapshot, memory.chunks(), disks):
        check()
        file.write(part)
        tell.written(file.written)
    check()
    file.keep()


def facts(snapshot: Snapshot, file: AtomicFile, visit: Visit[Snapshot]) -> Facts:
    return {
        "position": str(snapshot.position),
        "pause_ms": round(visit.pause * 1000, 3),
        "bytes": file.written,
    }


def states(disks: Mapping[str, Disk]) -> dict[str, DiskState]:
    """Of disks that a snapshot holds."""
    return {name: DiskState(disk.path.absolute()) for name, disk in disks.items()}


def refuse_large(disks: Mapping[str, Disk], instead: str) -> None:
    """Disks that take too long to be copied while the guest is held; what to do `instead`."""
    held = sum(end - start for disk in disks.values() for start, end in disk.extents())
    if held > HELD_DISKS:
        raise UsageError(
            f"its disks hold {-(-held // MIB)} MiB, and while the guest is held at most "
            f"{HELD_DISKS // MIB} are copied: {instead}"
        )

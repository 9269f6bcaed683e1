"""Taking snapshots of a guest that nobody protects, while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vlockstep.errors import UsageError, VlockstepError
from vlockstep.files.atomicfile import AtomicFile
from vlockstep.host.attach import tell_progress
from vlockstep.host.devices import Disk
from vlockstep.machine.config import MIB
from vlockstep.machine.memory import Memory
from vlockstep.replay.pieces import Piece
from vlockstep.replay.snapshot import DiskState, Snapshot, encode
from vlockstep.supervise.control import Answer
from vlockstep.supervise.files import refuse_overwriting
from vlockstep.supervise.origin import LiveGuest
from vlockstep.supervise.ramcopy import RamCopy
from vlockstep.supervise.visits import Visit

HELD_DISKS = 16 * MIB
"""Bytes that disks may hold to be copied while the guest is held."""
_TELL_SECONDS = 0.5
_FINISH_SECONDS = 60.0

Contents = dict[str, list[Piece]]


class SnapshotCommand:
    """Takes a snapshot to a `path`, one at a time. With `suspend` the guest is held until the file
    is safe; then it ends, or it goes on if there is none."""

    def __init__(self, live: LiveGuest, end: Callable[[str], None]) -> None:
        self._live = live
        self._end = end
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __call__(self, request: Mapping[str, Any], answer: Answer) -> None:
        path, suspend = request.get("path"), request.get("suspend", False)
        if type(path) is not str or not path.startswith("/") or type(suspend) is not bool:
            answer({"error": "a snapshot goes to an absolute path, and suspends or not"})
            return
        with self._lock:
            if self._thread is not None:
                answer({"error": "a snapshot of it is being taken already"})
                return
            work = partial(self._work, Path(path), suspend, answer)
            self._thread = threading.Thread(target=work, name="snapshot", daemon=True)
            self._thread.start()

    @property
    def busy(self) -> bool:
        return self._thread is not None

    def finish(self) -> None:
        """The guest has ended: wait for the file of a snapshot that was taken before."""
        thread = self._thread
        if thread is not None:
            thread.join(_FINISH_SECONDS)

    def _work(self, path: Path, suspend: bool, answer: Answer) -> None:
        try:
            refuse_overwriting(path, "snapshot", self._live.files, ())
            with AtomicFile(path) as file:
                write = self._suspend if suspend else self._take
                told = write(file, _Teller(answer, f"MiB written to {path}"))
        except VlockstepError as error:
            told = {"error": str(error)}
        except OSError as error:
            told = {"error": f"cannot write the snapshot {path}: {error.strerror}"}
        except Exception as error:  # a bug must not leave who asks without an answer
            told = {"error": f"{type(error).__name__}: {error}"}
        with self._lock:
            self._thread = None
        if suspend and "error" not in told:
            self._live.close()
        answer({"path": str(path), **told})
        if suspend and "error" not in told:
            self._end(f"suspended to {path}")

    def _take(self, file: AtomicFile, tell: _Teller) -> dict[str, Any]:
        """Most of the RAM is copied before the guest is held, and the file is made afterwards."""
        self._refuse_large_disks()
        with closing(RamCopy(self._live.machine)) as copy:
            copy.approach()
            with self._visit() as visit:
                snapshot = visit.result()
                copy.complete()
                disks = {name: list(disk.pieces()) for name, disk in self._disks().items()}
            _write(file, snapshot, copy.memory, disks, tell)
        return _told(snapshot, file, visit)

    def _suspend(self, file: AtomicFile, tell: _Teller) -> dict[str, Any]:
        """It is held from then on, so that its RAM can be written as it is."""
        with self._visit() as visit:
            snapshot = replace(visit.result(), disks=self._digests(tell))
            _write(file, snapshot, self._live.machine.memory, {}, tell)
            visit.stay()
        return _told(snapshot, file, visit)

    def _visit(self) -> Visit[Snapshot]:
        return Visit(self._live.machine, self._live.world.wake, self._look)

    def _look(self) -> Snapshot:
        """In the guest's thread."""
        live = self._live
        machine, world = live.machine, live.world
        state = machine.capture(memory=False)
        polls, since = world.polls
        waited = time.monotonic_ns() - since if polls == machine.exits else 0
        return Snapshot(
            live.name,
            machine.config,
            machine.image.path,
            state,
            world.clock(),
            waited,
            live.console_before + world.console_offset,
            live.generation,
            {name: DiskState(disk.path.absolute()) for name, disk in self._disks().items()},
        )

    def _disks(self) -> dict[str, Disk]:
        return self._live.guest.devices.by_name

    def _refuse_large_disks(self) -> None:
        held = sum(end - start for d in self._disks().values() for start, end in d.extents())
        if held > HELD_DISKS:
            raise UsageError(
                f"its disks hold {-(-held // MIB)} MiB, and while the guest is held at most "
                f"{HELD_DISKS // MIB} are copied: suspend it instead, and copy their files"
            )

    def _digests(self, tell: Callable[[str], None]) -> dict[str, DiskState]:
        """Of disks that stay outside; the guest is held."""
        found = {}
        for name, disk in self._disks().items():
            disk.sync()
            digest = disk.digest(partial(tell_progress, name, disk, tell))
            found[name] = DiskState(disk.path.absolute(), digest)
        return found


class _Teller:
    """Tells how far it is, not too often."""

    def __init__(self, answer: Answer, writing: str) -> None:
        self._answer = answer
        self._writing = writing
        self._next = time.monotonic() + _TELL_SECONDS

    def __call__(self, text: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _TELL_SECONDS
            self._answer({"progress": text})

    def written(self, size: int) -> None:
        self(f"{size >> 20} {self._writing}")


def _write(
    file: AtomicFile, snapshot: Snapshot, memory: Memory, disks: Contents, tell: _Teller
) -> None:
    for part in encode(snapshot, memory.chunks(), disks):
        file.write(part)
        tell.written(file.written)
    file.keep()


def _told(snapshot: Snapshot, file: AtomicFile, visit: Visit[Snapshot]) -> dict[str, Any]:
    return {
        "position": str(snapshot.position),
        "pause_ms": round(visit.pause * 1000, 3),
        "bytes": file.written,
    }

"""Taking snapshots of a guest that nobody protects, while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vlockstep.errors import UsageError
from vlockstep.files.atomicfile import AtomicFile
from vlockstep.host.attach import tell_progress
from vlockstep.host.devices import Disk
from vlockstep.machine.machine import Machine
from vlockstep.replay.snapshot import DiskState, Snapshot
from vlockstep.supervise import snapshotfiles
from vlockstep.supervise.control import Answer
from vlockstep.supervise.origin import LiveGuest
from vlockstep.supervise.snapshotfiles import Facts, SnapshotFiles, Teller
from vlockstep.supervise.visits import Visit


class SnapshotCommand:
    """Takes a snapshot to a `path`, one at a time. With `suspend` the guest is held until the file
    is safe; then it ends, or it goes on if there is none."""

    def __init__(self, live: LiveGuest, end: Callable[[str], None]) -> None:
        self._live = live
        self._subject = _Unprotected(live)
        self._end = end
        self._files = SnapshotFiles()

    def __call__(self, request: Mapping[str, Any], answer: Answer) -> None:
        try:
            path = snapshotfiles.path_of(request)
        except UsageError as error:
            answer({"error": str(error)})
            return
        files = self._subject.files
        if request.get("suspend"):
            made = partial(self._suspended, path, answer)
            self._files.make(path, files, self._suspend, answer, made)
        else:
            self._files.make(path, files, self._take, answer)

    @property
    def busy(self) -> bool:
        return self._files.busy

    def finish(self) -> None:
        """As `SnapshotFiles.finish`."""
        self._files.finish()

    def _take(self, file: AtomicFile, tell: Teller) -> Facts:
        snapshotfiles.refuse_large(self._subject.disks, "suspend it instead, and copy their files")
        return snapshotfiles.take(self._subject, file, tell)

    def _suspend(self, file: AtomicFile, tell: Teller) -> Facts:
        """It is held from then on, so that its RAM can be written as it is."""
        with self._subject.visit() as visit:
            snapshot = replace(visit.result(), disks=self._digests(tell))
            snapshotfiles.write(file, snapshot, self._subject.machine.memory, {}, tell)
            visit.stay()
        return snapshotfiles.facts(snapshot, file, visit)

    def _suspended(self, path: Path, answer: Answer, told: Facts) -> None:
        self._live.close()
        answer(told)
        self._end(f"suspended to {path}")

    def _digests(self, tell: Callable[[str], None]) -> dict[str, DiskState]:
        """Of disks that stay outside; the guest is held."""
        found = {}
        for name, disk in self._subject.disks.items():
            disk.sync()
            digest = disk.digest(partial(tell_progress, name, disk, tell))
            found[name] = DiskState(disk.path.absolute(), digest)
        return found


class _Unprotected:
    """A `Subject` that nobody protects."""

    def __init__(self, live: LiveGuest) -> None:
        self._live = live
        self.machine: Machine = live.machine
        self.files = live.files
        self.disks: Mapping[str, Disk] = live.guest.devices.by_name

    def visit(self) -> Visit[Snapshot]:
        return Visit(self.machine, self._live.world.wake, self._look)

    def check(self) -> None:
        pass

    def _look(self) -> Snapshot:
        """In the guest's thread."""
        live, machine, world = self._live, self.machine, self._live.world
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
            snapshotfiles.states(self.disks),
        )

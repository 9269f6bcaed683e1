"""Taking snapshots of a guest that is protected: at a secondary, so that its primary and all who
speak to it notice nothing.

The guest is held here for a moment, as one that nobody protects; its execution is a little later
meanwhile, and the primary waits for it as for any secondary, not before its limits say so.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from vlockstep.errors import HostError, UsageError, VlockstepError
from vlockstep.files.atomicfile import AtomicFile
from vlockstep.ft.events import Diverged, Event, Finished, Left, Live, Stopped
from vlockstep.ft.guest import Guest
from vlockstep.ft.replica import Replica
from vlockstep.host.attach import Devices
from vlockstep.host.devices import Disk
from vlockstep.machine.state import MachineState, Where
from vlockstep.protocol.primary import Primary
from vlockstep.replay.snapshot import Snapshot
from vlockstep.supervise import snapshotfiles
from vlockstep.supervise.control import Answer
from vlockstep.supervise.snapshotfiles import Facts, SnapshotFiles, Teller
from vlockstep.supervise.visits import Visit


class FollowedSnapshots:
    """Takes snapshots of the guest of a replica that this process calls `name`. What it is read
    from and writes to are `files` and `devices`. Everything happens in a turn of the replica."""

    def __init__(self, name: str, files: tuple[Path, ...], devices: Devices) -> None:
        self._name = name
        self._paths = files
        self._devices = devices
        self._files = SnapshotFiles()
        self._subject: _Followed | None = None

    def take(self, replica: Replica, request: Mapping[str, Any], answer: Answer) -> None:
        try:
            path = snapshotfiles.path_of(request)
            guest = self._guest_of(replica, bool(request.get("suspend")))
        except UsageError as error:
            answer({"error": str(error)})
            return
        if self._files.busy:
            answer({"error": "a snapshot of it is being taken already"})
            return
        generation = replica.role.generation
        subject = _Followed(self._name, guest, generation, self._paths, self._devices.by_name)
        self._subject = subject
        self._files.make(path, self._paths, partial(_fill, subject), answer)

    def observe(self, event: Event) -> None:
        """What becomes of the replica, as of which no state of its guest can be taken any more."""
        subject = self._subject
        if subject is None:
            return
        match event:
            case Diverged():
                subject.distrust("the guest has diverged from its primary's here")
            case Live():
                subject.lose("the guest has become the primary's here meanwhile")
            case Finished():
                subject.lose("the guest has ended meanwhile")
            case Stopped(reason) | Left(reason):
                subject.lose(f"the replica has gone meanwhile: {reason}")

    def finish(self) -> None:
        """The replica has gone: wait for the file of a snapshot that was taken before."""
        if self._subject is not None:
            self._subject.lose("the replica has gone meanwhile")
        self._files.finish()

    def _guest_of(self, replica: Replica, suspend: bool) -> Guest:
        """Of which one can be taken. Raises `UsageError` if there is none."""
        if suspend:
            raise UsageError(
                "a guest with replicas is not suspended: take a snapshot at a secondary, and end it"
            )
        if isinstance(replica.role, Primary):
            raise UsageError(
                "snapshots of a guest with replicas are taken at a secondary, where nobody waits "
                "for it, and this is its primary: ask a secondary, or let one join first"
            )
        guest = replica.following
        if guest is None:
            raise UsageError(
                f"no snapshot while the replica is: {replica.role.state.value}; try it later"
            )
        for name in self._devices.shared:
            raise UsageError(
                f"the disk {name!r} is one file for all replicas, and the primary may have written "
                "to it what the guest here has not come to: snapshots are of guests whose replicas "
                "have a copy each of the disk, or no disk"
            )
        return guest


def _fill(subject: _Followed, file: AtomicFile, tell: Teller) -> Facts:
    instead = "end the guest, and copy its disks"
    snapshotfiles.refuse_large(subject.disks, instead)
    told = snapshotfiles.take(subject, file, tell)
    return {**told, "entry": subject.entry}


class _Followed:
    """A `Subject` that follows a primary of this generation."""

    def __init__(
        self,
        name: str,
        guest: Guest,
        generation: int,
        files: tuple[Path, ...],
        disks: Mapping[str, Disk],
    ) -> None:
        self.machine = guest.machine
        self.files = files
        self.disks = disks
        self._name = name
        self._guest = guest
        self._generation = generation
        self._lock = threading.Lock()
        self._visit: Visit[Snapshot] | None = None
        self._lost: VlockstepError | None = None
        self._distrusted = False
        self.entry = 0
        """Of the log, before which the state that was taken stands."""

    def visit(self) -> Visit[Snapshot]:
        with self._lock:
            if self._lost is not None:
                raise self._lost
            self._visit = Visit(self.machine, self._guest.wake, self._look)
            return self._visit

    def check(self) -> None:
        if self._distrusted:
            assert self._lost is not None
            raise self._lost

    def lose(self, reason: str) -> None:
        """No state can be taken from now on. One that was taken is as good as it was."""
        with self._lock:
            if self._lost is None:
                self._lost = HostError(f"no snapshot: {reason}")
            visit = self._visit
        if visit is not None:
            visit.give_up(self._lost)

    def distrust(self, reason: str) -> None:
        """Nor was any that was taken a short while ago."""
        self.lose(reason)
        self._distrusted = True

    def _look(self) -> Snapshot:
        """In the guest's thread."""
        guest = self._guest
        if not guest.follows:
            raise HostError("no snapshot: the guest has become the primary's here meanwhile")
        state, waited = guest.capture_following()
        machine = MachineState.unpack(state.machine)
        self.entry = state.next
        return Snapshot(
            self._name,
            self.machine.config,
            self.machine.image.path,
            machine,
            state.clock,
            waited if machine.where is Where.EXIT else 0,
            state.console,
            self._generation,
            snapshotfiles.states(self.disks),
        )

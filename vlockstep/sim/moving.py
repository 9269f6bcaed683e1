"""A disk that the simulated replicas share, on its way to another file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vlockstep.host.mirror import MirroredDisk
from vlockstep.protocol.primary import Primary
from vlockstep.sim.sinks import SharedDisk, WatchedDisk

if TYPE_CHECKING:
    from vlockstep.sim.host import SimulatedHost


class SimulatedMove:
    """What `supervise.diskmoves` does in a thread of the primary's, in the background of `host`, to
    the disk `name`. A `DiskMover`."""

    def __init__(self, host: SimulatedHost, name: str, disk: MirroredDisk) -> None:
        self._host = host
        self._name = name
        self._disk = disk
        self._since = host.replica.role
        self._do = host.background(f"move of {name}").submit
        files = host.simulation.files
        self._path = f"file {len(files)}"
        self._file = files[self._path] = SharedDisk(disk.capacity)
        points = (partial(host.point, what) for what in ("copy", "half of a copy"))
        target = WatchedDisk(self._file, *points)
        self._mirror = disk.mirror(target)
        self._do(self._copy)

    def _copy(self) -> None:
        if not self._mirror.over:
            self._mirror.step()
            self._do(self._copy)
        else:
            self._host.replica.move_disk(self._since, self._name, self._path, 0, self)

    # The replica tells

    def agreed(self) -> None:
        self._do(self._decide)

    def moved(self) -> None:
        self._do(self._switch)

    def kept(self, reason: str) -> None:
        self._do(self._end)

    def undecided(self, reason: str) -> None: ...

    def _end(self) -> None:
        self._disk.end(self._mirror)
        self._host.moving = False

    def _decide(self) -> None:
        self._disk.bind(self._mirror)
        self._host.replica.decide_disk()

    def _switch(self) -> None:
        self._disk.switch(self._mirror, self._host.simulation.opened(self._host, self._file))
        self._host.replica.disk_moved()
        self._host.moving = False


def begin(host: SimulatedHost) -> None:
    """Move the guest's first disk, if it has one that all share, this is its primary, and it does
    not move already."""
    role, disks = host.replica.role, host.disks
    if isinstance(role, Primary) and not role.idle and disks and not host.moving:
        host.moving = True
        SimulatedMove(host, *next(iter(disks.items())))

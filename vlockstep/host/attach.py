"""From files to open disks and their part of a guest's configuration."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vlockstep.errors import HostError, UsageError
from vlockstep.files.locks import FileLock
from vlockstep.host.devices import Disk, DiskCounters, DiskFile
from vlockstep.host.diskformats import RAW, recognise
from vlockstep.machine.config import BLOCK_SIZE, BlockConfig, check_block_size
from vlockstep.machine.image import Device, DeviceKind, Image


@dataclass(frozen=True)
class DiskSpec:
    """The file of a block device. `local`: every replica has its own identical copy. `block_size`
    is in bytes; a secondary's guest has that of the primary's."""

    name: str
    path: Path
    local: bool = False
    block_size: int = BLOCK_SIZE

    def __post_init__(self) -> None:
        check_block_size(self.block_size, ("disk", self.name, "block_size"))


@dataclass(frozen=True)
class Devices:
    """The open disks, by handle; what the guest's configuration says of them, by name; and the
    handles of those that are local."""

    disks: dict[int, Disk] = field(default_factory=dict)
    blocks: dict[str, BlockConfig] = field(default_factory=dict)
    local: frozenset[int] = frozenset()

    @property
    def shared(self) -> dict[str, FileLock]:
        """The locks of those that are not, by name."""
        disks = zip(self.blocks, self.disks.items(), strict=True)
        return {name: disk.lock for name, (handle, disk) in disks if handle not in self.local}

    @property
    def by_name(self) -> dict[str, Disk]:
        return dict(zip(self.blocks, self.disks.values(), strict=True))

    def open_copy(self, name: str, path: Path, token: int) -> DiskFile:
        """The file at `path`, which may take the place of a shared disk's. Raises `VlockstepError`
        if it is not the one that another replica of the guest has locked with this `token`."""
        disk = self.by_name.get(name)
        if disk is None:
            raise UsageError(f"there is no disk {name!r} here")
        if not path.exists():
            raise HostError(f"{path} is not there: name a file as all replicas reach it")
        file = DiskFile(path, disk.group)
        try:
            if file.capacity != disk.capacity:
                raise UsageError(f"{path} has {file.capacity} bytes, the disk {disk.capacity}")
            if not file.lock.sees(token):
                raise HostError(f"{path} is not seen to be the primary's here")
        except BaseException:
            file.close()
            raise
        return file

    @property
    def counters(self) -> dict[str, DiskCounters]:
        """By name."""
        return {name: disk.counters for name, disk in self.by_name.items()}

    def close(self) -> None:
        for disk in self.disks.values():
            disk.close()


def attach(
    image: Image,
    specs: Iterable[DiskSpec],
    guest: str = "",
    tell: Callable[[str], None] = lambda text: None,
    *,
    compared: bool = True,
) -> Devices:
    """Open the disks that `specs` name. Every error names the device.

    Replicas of a `guest` can share those that are not local, and nobody else can use them. Whether
    all devices of `image` are attached is for `Machine` to check. A local disk that is to be
    `compared` with others' is read once from start to end, for its digest, and `tell` is told how
    far that is.
    """
    disks: dict[int, Disk] = {}
    blocks: dict[str, BlockConfig] = {}
    local: set[int] = set()
    files: dict[tuple[int, ...] | Path, str] = {}
    try:
        for spec in specs:
            device = _block_device(image, spec.name)
            if spec.name in blocks:
                raise UsageError(
                    f"the device {spec.name!r} is given twice: drop one", key=("disk", spec.name)
                )
            other = files.setdefault(_identity(spec.path), spec.name)
            if other != spec.name:
                raise UsageError(
                    f"the devices {other!r} and {spec.name!r} are the same file {spec.path}: "
                    "give each its own",
                    key=("disk", spec.name),
                )
            disk = disks[device.handle] = _open(spec, guest)
            content = ""
            if spec.local and compared:
                content = disk.digest(partial(tell_progress, spec.name, disk, tell))
            blocks[spec.name] = BlockConfig(disk.capacity, spec.local, content, spec.block_size)
            if spec.local:
                local.add(device.handle)
    except BaseException:
        Devices(disks).close()
        raise
    return Devices(disks, blocks, frozenset(local))


def tell_progress(name: str, disk: Disk, tell: Callable[[str], None], offset: int) -> None:
    """How far a disk is read for its digest."""
    percent = offset * 100 // disk.capacity
    tell(f"device {name!r}: {percent} % of {disk.path} read for its digest")


def _block_device(image: Image, name: str) -> Device:
    device = image.device(name)
    if device is None or device.kind is not DeviceKind.BLOCK:
        declared = [d.name for d in image.devices if d.kind is DeviceKind.BLOCK]
        what = "block device" if device is None else "block device (it is another kind of device)"
        raise UsageError(
            f"{image.name} declares no {what} {name!r} (declared: {', '.join(declared) or 'none'})",
            key=("disk", name),
        )
    return device


def _open(spec: DiskSpec, guest: str) -> Disk:
    group = f"{guest} disk {spec.name}" if guest and not spec.local else ""
    try:
        _expect_raw(spec.path)
        return Disk(spec.path, group, spec.block_size)
    except (HostError, UsageError) as error:
        raise error.about(f"device {spec.name!r}", "disk", spec.name) from error


def _expect_raw(path: Path) -> None:
    """A guest would take the format for its disk's content, and write over it."""
    try:
        found = recognise(path) if path.is_file() else RAW
    except OSError:
        return  # who opens it will tell
    if found is not RAW:
        raise UsageError(f"{path} is a disk of the format {found.name}: convert it to raw")


def _identity(path: Path) -> tuple[int, ...] | Path:
    """Equal for paths of the same file or of the same host device."""
    try:
        status = path.stat()
    except OSError:
        return path
    if stat.S_ISBLK(status.st_mode):
        return (status.st_rdev,)
    return status.st_dev, status.st_ino

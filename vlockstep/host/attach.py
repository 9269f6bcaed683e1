"""From `--block NAME=PATH[,local]` to open disks and their part of a guest's configuration."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vlockstep.errors import HostError, UsageError
from vlockstep.files.locks import FileLock
from vlockstep.host.devices import Disk
from vlockstep.machine.config import BlockConfig
from vlockstep.machine.image import Device, DeviceKind, Image

_LOCAL = ",local"


@dataclass(frozen=True)
class BlockOption:
    """A file for a block device. `local`: every replica has its own identical copy."""

    name: str
    path: Path
    local: bool = False

    @classmethod
    def parse(cls, text: str) -> BlockOption:
        """Read `NAME=PATH[,local]`."""
        name, _, rest = text.partition("=")
        path = rest.removesuffix(_LOCAL)
        if not name or not path:
            raise UsageError(f"{text!r} names no disk: write --block NAME=PATH[,local]")
        return cls(name, Path(path), rest.endswith(_LOCAL))


@dataclass(frozen=True)
class Devices:
    """The open disks, by handle; what the guest's configuration says of them, by name; the
    handles of those that are local; and the locks of the others, by name."""

    disks: dict[int, Disk] = field(default_factory=dict)
    blocks: dict[str, BlockConfig] = field(default_factory=dict)
    local: frozenset[int] = frozenset()
    shared: dict[str, FileLock] = field(default_factory=dict)

    def close(self) -> None:
        for disk in self.disks.values():
            disk.close()


def attach(
    image: Image,
    options: Iterable[BlockOption],
    guest: str = "",
    tell: Callable[[str], None] = lambda text: None,
) -> Devices:
    """Open the disks that `options` name. Every error names the device.

    Replicas of a `guest` can share those that are not local, and nobody else can use them. Whether
    all devices of `image` are attached is for `Machine` to check. A local disk is read once from
    start to end, for its digest, and `tell` is told how far that is.
    """
    disks: dict[int, Disk] = {}
    blocks: dict[str, BlockConfig] = {}
    local: set[int] = set()
    shared: dict[str, FileLock] = {}
    files: dict[tuple[int, ...] | Path, str] = {}
    try:
        for option in options:
            device = _block_device(image, option.name)
            if option.name in blocks:
                raise UsageError(f"the device {option.name!r} is given twice: drop one --block")
            other = files.setdefault(_identity(option.path), option.name)
            if other != option.name:
                raise UsageError(
                    f"the devices {other!r} and {option.name!r} are the same file {option.path}: "
                    "give each its own"
                )
            disk = disks[device.handle] = _open(option, guest)
            content = (
                disk.digest(partial(_tell_progress, option, disk, tell)) if option.local else ""
            )
            blocks[option.name] = BlockConfig(disk.capacity, option.local, content)
            if option.local:
                local.add(device.handle)
            else:
                shared[option.name] = disk.lock
    except BaseException:
        Devices(disks).close()
        raise
    return Devices(disks, blocks, frozenset(local), shared)


def _tell_progress(
    option: BlockOption, disk: Disk, tell: Callable[[str], None], offset: int
) -> None:
    percent = offset * 100 // disk.capacity
    tell(f"device {option.name!r}: {percent} % of {option.path} read for its digest")


def _block_device(image: Image, name: str) -> Device:
    device = image.device(name)
    if device is None or device.kind is not DeviceKind.BLOCK:
        declared = [d.name for d in image.devices if d.kind is DeviceKind.BLOCK]
        what = "block device" if device is None else "block device (it is another kind of device)"
        raise UsageError(
            f"{image.name} declares no {what} {name!r} (declared: {', '.join(declared) or 'none'})"
        )
    return device


def _open(option: BlockOption, guest: str) -> Disk:
    group = f"{guest} disk {option.name}" if guest and not option.local else ""
    try:
        return Disk(option.path, group)
    except (HostError, UsageError) as error:
        raise type(error)(f"device {option.name!r}: {error}") from error


def _identity(path: Path) -> tuple[int, ...] | Path:
    """Equal for paths of the same file or of the same host device."""
    try:
        status = path.stat()
    except OSError:
        return path
    if stat.S_ISBLK(status.st_mode):
        return (status.st_rdev,)
    return status.st_dev, status.st_ino

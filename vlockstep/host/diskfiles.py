"""Disks in files, at rest: made, looked at, converted, resized. No guest has them meanwhile."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlockstep.errors import HostError, UsageError
from vlockstep.files.appearing import appearing
from vlockstep.files.locks import FileLock, InUse, user_of
from vlockstep.host.diskformats import (
    RAW,
    DiskFormat,
    check_header,
    format_of_name,
    recognise,
)
from vlockstep.host.qemuimg import QemuImg
from vlockstep.machine.config import BLOCK_SIZE

MAX_SIZE = 1 << 60
_INTACT = (0, 3)
"""Exit statuses of a check; after 3 it has only room that nobody uses."""


@dataclass(frozen=True)
class DiskInfo:
    """A disk in a file: `size` is what a guest sees of it, `allocated` what it takes here, both in
    bytes; `user` who has it open, as far as that is seen."""

    path: Path
    format: DiskFormat
    size: int
    allocated: int
    user: str | None

    @property
    def thick(self) -> bool:
        """Whether there is room for all of it."""
        return self.allocated >= self.size

    @property
    def obstacle(self) -> str:
        """Why no guest can run from it; "" if one can."""
        if self.format is not RAW:
            return f"it is {self.format.name}: convert it to raw"
        if self.size == 0:
            return "it is empty"
        if self.size % BLOCK_SIZE:
            return f"its {self.size} bytes are no multiple of {BLOCK_SIZE}"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "file": str(self.path),
            "format": self.format.name,
            "size": self.size,
            "allocated": self.allocated,
            "thick": self.thick,
            "runnable": not self.obstacle,
            "obstacle": self.obstacle,
            "user": self.user,
        }


def inspect(path: Path, qemu: QemuImg, taken_for: DiskFormat | None = None) -> DiskInfo:
    """What a disk is; `taken_for` if that is known better than its content tells. Raises
    `HostError`."""
    name = f"the disk file {path}"
    with _opened(path, name) as fd:
        try:
            found = taken_for or recognise(path)
            check_header(path, found)
        except OSError as error:
            raise HostError(f"cannot read {name}: {error.strerror}") from error
        expected = format_of_name(path)
        if taken_for is None and found is RAW and expected not in (None, RAW):
            raise HostError(
                f"{name} is not {expected.name}, as its name says: is it whole? If it is a raw "
                "disk, say so",
                key=("disk_format",),
            )
        sure = ("-f", found.called) if found is not RAW or taken_for else ()
        facts = _facts(name, qemu, *sure, os.path.abspath(path))  # noqa: PTH100 - links stay
        if facts["format"] != found.called:
            raise HostError(f"{name} is {facts['format']}: no format that can be read here")
        size, allocated = facts["virtual-size"], facts["actual-size"]
        status = os.fstat(fd)
        if found is RAW:  # which QEMU rounds up
            size = os.lseek(fd, 0, os.SEEK_END)
        if stat.S_ISBLK(status.st_mode):
            allocated = size
        return DiskInfo(path, found, size, allocated, user_of(fd))


def create(
    path: Path,
    size: int,
    disk_format: DiskFormat,
    qemu: QemuImg,
    *,
    thick: bool = False,
    may_replace: bool = False,
) -> DiskInfo:
    """A new disk of `size` bytes, full of zeros. Where it is `thick`, all of it has its room."""
    check_size(size)
    options = _options(disk_format, thick)
    name = f"the disk file {path}"
    with appearing(path, name, may_replace) as draft:
        arguments = ("create", "-q", "-f", disk_format.called, *options, str(draft), str(size))
        qemu.work(name, f"making {path}", *arguments)
        if thick:
            _allocate(draft)
        made = inspect(draft, qemu, disk_format)
    return replace(made, path=path)


def convert(
    source: DiskInfo,
    path: Path,
    disk_format: DiskFormat,
    qemu: QemuImg,
    *,
    thick: bool = False,
    may_replace: bool = False,
    verify: bool = False,
) -> DiskInfo:
    """A copy in another format, or in the same. `verify`: read both and compare, before it has its
    name."""
    check_size(source.size)
    options = _options(disk_format, thick)
    name, made = f"the disk file {source.path}", f"the disk file {path}"
    if path.exists() and path.samefile(source.path):
        raise UsageError(f"{path} is the disk that is read: name another file")
    original = os.path.abspath(source.path)  # noqa: PTH100 - links stay
    with _locked(source), appearing(path, made, may_replace) as draft:
        if source.format.checks:
            check = ("check", "-q", "-f", source.format.called, original)
            status, error = qemu.ask(name, f"checking {source.path}", *check)
            if status not in _INTACT:
                first = error.partition("; ")[0] or f"a check ends with {status}"
                raise HostError(f"{name} is damaged or cut off, take another copy: {first}")
        formats = ("-f", source.format.called, "-O", disk_format.called)
        arguments = ("convert", "-p", *formats, *options, original, str(draft))
        qemu.work(f"{name} to {path}", f"converting {source.path}", *arguments)
        if thick:
            _allocate(draft)
        copy = inspect(draft, qemu, disk_format)
        if copy.size != source.size:
            raise HostError(f"{made} would have {copy.size} bytes in place of {source.size}")
        if verify:
            formats = ("-f", source.format.called, "-F", disk_format.called)
            compare = ("compare", "-p", *formats, original, str(draft))
            status, error = qemu.ask(name, f"comparing {path}", *compare)
            if status:
                what = "is another disk" if status == 1 else f"cannot be compared with it: {error}"
                raise HostError(f"{name}: its copy {what}; is the storage sound?")
    return replace(copy, path=path)


def resize(disk: DiskInfo, size: int, qemu: QemuImg, *, shrink: bool = False) -> DiskInfo:
    """Change its size in place; a thick one stays thick. What is beyond a smaller size is lost."""
    check_size(size)
    name = f"the disk file {disk.path}"
    if not disk.format.resizes:
        raise UsageError(
            f"{name} is {disk.format.name}, whose size cannot be changed: convert it to raw first"
        )
    if size < disk.size and not shrink:
        raise UsageError(
            f"{name} has {disk.size} bytes; of {size} the last {disk.size - size} would be lost: "
            "say that they may be",
            key=("shrink",),
        )
    options = ["--shrink"] if size < disk.size else []
    if size > disk.size and disk.thick:
        options += ["--preallocation", "falloc"]
    original = os.path.abspath(disk.path)  # noqa: PTH100 - links stay
    with _locked(disk) as fd:
        arguments = ("resize", "-q", "-f", disk.format.called, *options, original, str(size))
        qemu.work(name, f"resizing {disk.path}", *arguments)
        os.fsync(fd)
    return inspect(disk.path, qemu, disk.format)


def check_size(size: int) -> None:
    """Raises `UsageError` if no disk has so many bytes."""
    if not 0 < size <= MAX_SIZE:
        raise UsageError(f"a disk of {size} bytes: it must be from {BLOCK_SIZE} to {MAX_SIZE}")
    if size % BLOCK_SIZE:
        up = size + -size % BLOCK_SIZE
        raise UsageError(
            f"a disk of {size} bytes: it must be a multiple of {BLOCK_SIZE}, such as {up}"
        )


def _options(disk_format: DiskFormat, thick: bool) -> list[str]:
    options = disk_format.options
    if thick:
        if disk_format.thick is None:
            raise UsageError(
                f"a thick disk of format {disk_format.name} would be two files: make it thin, or "
                "of another format"
            )
        options = (*options, *disk_format.thick)
    return ["-o", ",".join(options)] if options else []


def _allocate(path: Path) -> None:
    if sys.platform == "darwin":
        raise HostError("macOS takes no room beforehand: make the disk thin")
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)


def _facts(name: str, qemu: QemuImg, *arguments: str) -> dict[str, Any]:
    """What qemu-img knows of a disk, whoever uses it."""
    printed = qemu.look(name, "info", "-U", "--output", "json", *arguments)
    try:
        facts = json.loads(printed.decode(errors="replace"))
        return {
            "format": str(facts["format"]),
            "virtual-size": int(facts["virtual-size"]),
            "actual-size": int(facts["actual-size"]),
        }
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(f"{name}: qemu-img's answer is not understood ({error})") from error


@contextmanager
def _opened(path: Path, name: str) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise HostError(f"cannot open {name}: {error.strerror}") from error
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise HostError(f"{name} is neither a file nor a block device")
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _locked(disk: DiskInfo) -> Iterator[int]:
    """Nobody uses it meanwhile: neither a guest, which our lock keeps away, nor QEMU, which
    qemu-img's own do."""
    name = f"the disk file {disk.path}"
    with _opened(disk.path, name) as fd:
        user = user_of(fd)
        if user is not None:
            raise InUse(f"{name} is in use by {user}: end that first")
        FileLock(fd, name)
        yield fd

"""Formats of disks in files, and what a file's own header says of it.

A header may name other files: what the disk is a delta on, or where its data is. Whoever made the
file would so have any file of this host read, or any address asked. Such disks are refused, before
any other program opens them; but a VMDK's data may lie in files of its own folder.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from vlockstep.errors import HostError, UsageError

_HEAD = 1 << 16
_DESCRIPTOR = 1 << 20
"""Bytes of a VMDK's text that QEMU reads; it has some hundred."""
_SECTOR = 512
_QCOW2 = b"QFI\xfb"
_VHD_TYPES = (2, 3)
"""Fixed and dynamic; another one is a delta."""
_QCOW2_ELSEWHERE = 1 << 2
_ASSIGNED = re.compile(rb"[ \t]*[\w.]+[ \t]*=")
_FLAT = re.compile(rb'[ \t]*RW\s+(\d{1,18})\s+(?:FLAT|VMFS)\s+"([^"\0]+)"(?:\s+(\d{1,18}))?')
_QUOTED = re.compile(rb'"([^"\0]*)"')
_FAR = 1 << 50
_PARENT = re.compile(rb"^[ \t]*parentCID[ \t]*=[ \t]*([0-9a-fA-F]+)", re.M)


@dataclass(frozen=True)
class DiskFormat:
    """`called` is what qemu-img calls it, `options` what it needs to make one. A `thick` one has
    these besides; None if there are no thick ones in one file. `checks` says whether qemu-img can
    find out that a part is missing, `resizes` whether it can change the size."""

    name: str
    called: str
    suffixes: tuple[str, ...]
    options: tuple[str, ...] = ()
    thick: tuple[str, ...] | None = ()
    checks: bool = True
    resizes: bool = False


RAW = DiskFormat("raw", "raw", (".raw", ".img"), thick=("preallocation=falloc",), checks=False,
                 resizes=True)  # fmt: skip
"""The one that guests run from."""
QCOW2 = DiskFormat("qcow2", "qcow2", (".qcow2",), thick=("preallocation=falloc",), resizes=True)
VMDK = DiskFormat("vmdk", "vmdk", (".vmdk",), thick=None)
VHD = DiskFormat("vhd", "vpc", (".vhd", ".vpc"), ("force_size=on",), ("subformat=fixed",), False)
VHDX = DiskFormat("vhdx", "vhdx", (".vhdx",), thick=("subformat=fixed",))
FORMATS = {each.name: each for each in (RAW, QCOW2, VMDK, VHD, VHDX)}


def format_called(name: str) -> DiskFormat:
    """By its name, or by qemu-img's. Raises `UsageError`."""
    for each in FORMATS.values():
        if name in (each.name, each.called):
            return each
    raise UsageError(f"{name!r} is no format of disks; there are {', '.join(FORMATS)}")


def format_of_name(path: Path) -> DiskFormat | None:
    """What the end of its name says."""
    suffix = path.suffix.lower()
    return next((each for each in FORMATS.values() if suffix in each.suffixes), None)


def recognise(path: Path) -> DiskFormat:
    """What the content says; raw if nothing else. Raises `OSError`."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if head[:4] == _QCOW2:
            return QCOW2
        if head[:8] == b"vhdxfile":
            return VHDX
        if head[:4] in (b"KDMV", b"COWD") or _is_descriptor(head):
            return VMDK
        if _vhd_footer(file.fileno()) is not None:
            return VHD
    return RAW


def check_header(path: Path, disk_format: DiskFormat) -> None:
    """Raises `HostError` if the disk is not all there, or not all in this file or its folder;
    `OSError` if that cannot be read."""
    if disk_format is VMDK:
        _check_vmdk(path)
        return
    with path.open("rb") as file:
        if disk_format is QCOW2:
            _check_qcow2(path, file.read(_HEAD))
        footer = _vhd_footer(file.fileno()) if disk_format is VHD else None
        if footer is not None and struct.unpack_from(">I", footer, 60)[0] not in _VHD_TYPES:
            raise _delta(path)


def _delta(path: Path, on: bytes = b"") -> HostError:
    what = f" on {on.decode(errors='replace')!r}" if on else ""
    return HostError(
        f"the disk {path} is a delta{what}, and other files are not opened because a disk says "
        "so: merge the two where it was made, and take the result"
    )


def _check_qcow2(path: Path, head: bytes) -> None:
    if head[:4] != _QCOW2:
        raise HostError(f"the disk {path} is not qcow2")
    if len(head) < 72:
        raise HostError(f"the disk {path} is cut off: it ends within its header")
    version, at, size = struct.unpack_from(">IQI", head, 4)
    if at:
        raise _delta(path, head[at : at + min(size, 1023)])
    if version >= 3 and struct.unpack_from(">Q", head.ljust(80, b"\0"), 72)[0] & _QCOW2_ELSEWHERE:
        raise HostError(
            f"the disk {path} has its data in another file, and none is opened because a disk says "
            "so: convert it where it was made, and take the result"
        )


def _check_vmdk(path: Path) -> None:
    """And each file of its folder that it names, which may be another one."""
    left, seen = [path], set[Path]()
    while left:
        file = left.pop()
        seen.add(file)
        text, names = _vmdk_text(file)
        parent = _PARENT.search(text)
        if b"parentFileNameHint" in text or (parent and int(parent[1], 16) != 0xFFFFFFFF):
            raise _delta(path)
        for line in text.split(b"\n") if names else ():
            if b'"' not in line or _ASSIGNED.match(line):
                continue
            if any(mark in line for mark in (b"/", b":", b"\\")):
                raise HostError(
                    f"the disk {path} has its data in {line.decode(errors='replace').strip()}, and "
                    "only files of its own folder are opened because a disk says so"
                )
            if flat := _FLAT.match(line):
                _check_length(path.parent / os.fsdecode(flat[2]), int(flat[3] or 0) + int(flat[1]))
            extents = (path.parent / os.fsdecode(name) for name in _QUOTED.findall(line))
            left += [each for each in extents if each.is_file() and each not in seen]


def _check_length(path: Path, sectors: int) -> None:
    """QEMU reads zeros where a part is missing."""
    if path.is_file() and path.stat().st_size < sectors * _SECTOR:
        raise HostError(
            f"{path}, in which a disk has its data, is cut off: it has {path.stat().st_size} bytes "
            f"in place of {sectors * _SECTOR}"
        )


def _vmdk_text(path: Path) -> tuple[bytes, bool]:
    """Its descriptor, if it is a VMDK, and whether QEMU opens the files that this names."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if _is_descriptor(head):
            return os.pread(file.fileno(), _DESCRIPTOR, 0), True
        if head[:4] != b"KDMV" or len(head) < 44:
            return b"", False
        capacity, _, at, _ = struct.unpack_from("<4Q", head, 12)
        if at >= _FAR:
            return head, False
        return head + b"\n" + os.pread(file.fileno(), _DESCRIPTOR, at * _SECTOR), capacity == 0


def _is_descriptor(head: bytes) -> bool:
    """As QEMU sees it: comments, and then a version."""
    for line in head.splitlines():
        if line.strip(b" \t") and not line.startswith(b"#"):
            return bool(re.fullmatch(rb"version=[1-3][ \t]*", line))
    return False


def _vhd_footer(fd: int) -> bytes | None:
    """A dynamic disk has it at both ends, a fixed one only at the last."""
    size = os.lseek(fd, 0, os.SEEK_END)
    for at in (0, size - _SECTOR):
        footer = os.pread(fd, _SECTOR, at) if at >= 0 else b""
        if len(footer) == _SECTOR and footer[:8] == b"conectix":
            return footer
    return None

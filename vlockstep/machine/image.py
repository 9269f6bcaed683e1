"""Solo5 hvt images: ELF segments, the ABI and manifest notes, symbols."""

from __future__ import annotations

import difflib
import hashlib
import io
import stat
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.common.utils import struct_parse
from elftools.elf.elffile import ELFFile

from vlockstep.errors import ImageError, UsageError
from vlockstep.machine import symbols
from vlockstep.machine.position import shown
from vlockstep.machine.symbols import Symbol

LOAD_FLOOR = 0x100000
_NOTE_ABI, _NOTE_MANIFEST = 0x31494241, 0x3154464D
_HVT, _HVT_VERSION = 1, 2
_MANIFEST_VERSION, _MAX_ENTRIES = 1, 64
_ENTRY = struct.Struct("<68sI16s8sB7x")
_PF_X, _PF_W = 1, 2
_MAX_IMAGE = 1 << 30
_MAX_HEADERS = 64
_ELF = b"\x7fELF"
_SHOWN = 16


class DeviceKind(IntEnum):
    RESERVED = 0x40000000
    BLOCK = 1
    NET = 2


@dataclass(frozen=True)
class Device:
    """An entry of the manifest; its index there is its handle."""

    handle: int
    name: str
    kind: DeviceKind


@dataclass(frozen=True)
class Segment:
    address: int
    data: bytes
    size: int
    writable: bool
    executable: bool

    @property
    def end(self) -> int:
        return self.address + self.size


@dataclass(frozen=True)
class Image:
    """A checked image. `digest` is the SHA-256 of the whole file, in hex; `path` is where that
    lies, None for a bundled guest. With an `executable_heap` code may lie in all memory behind the
    last segment, which a PT_GNU_STACK asks for."""

    name: str
    content: bytes
    entry: int
    segments: tuple[Segment, ...]
    devices: tuple[Device, ...]
    digest: str
    executable_heap: bool = False
    path: Path | None = field(default=None, compare=False)

    @property
    def end(self) -> int:
        """The page-aligned end of the last segment."""
        return -(-max(s.end for s in self.segments) // 0x1000) * 0x1000

    def device(self, name: str) -> Device | None:
        return next((d for d in self.devices if d.name == name), None)

    @cached_property
    def symbols(self) -> list[tuple[int, str]]:
        """Addresses and names of functions, sorted by address; none if the table is damaged."""
        return [(each.address, each.name) for each in self._named if each.function]

    @cached_property
    def _named(self) -> list[Symbol]:
        return sorted(symbols.named(self.content))

    def find(self, name: str) -> Symbol:
        """The function or variable of that name. Raises `UsageError` if there is none, or more than
        one."""
        found = {each.address: each for each in self._named if each.name == name}
        if len(found) == 1:
            return next(iter(found.values()))
        if found:
            places = ", ".join(f"{address:#x}" for address in islice(found, _SHOWN))
            raise UsageError(f"{self.name} has more than one {shown(name)}: at {places}")
        close = difflib.get_close_matches(name, {each.name for each in self._named})
        guess = f": did you mean {' or '.join(close)}?" if close else ""
        raise UsageError(f"{self.name} has no function or variable {shown(name)}{guess}")

    def symbol(self, address: int) -> tuple[int, str] | None:
        """Start and name of the function that holds `address`."""
        index = bisect_right(self.symbols, (address, "\U0010ffff")) - 1
        return self.symbols[index] if index >= 0 and address < self.end else None


def load(path: Path) -> Image:
    """Read and check the image at `path`."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"cannot read image {path}: it is no regular file")
        if status.st_size > _MAX_IMAGE:
            raise ImageError(f"{path}: larger than 1 GiB; is this a Solo5 hvt image?")
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read image {path}: {error.strerror}") from error
    return replace(parse(str(path), content), name=path.name, path=path.absolute())


def parse(name: str, content: bytes) -> Image:
    """Check `content` and take it apart. Raises `ImageError` for whatever is wrong with it."""
    if not content.startswith(_ELF):
        what = f"begins with {content[:_SHOWN]!r}" if content else "is empty"
        raise ImageError(f"{name}: no Solo5 image, since it is no ELF file: it {what}")
    try:
        elf = ELFFile(io.BytesIO(content))
        header = elf.header
        if elf.elfclass != 64 or header["e_machine"] != "EM_X86_64":
            raise ImageError(f"{name}: not an x86-64 ELF file")
        if header["e_type"] != "ET_EXEC":
            raise ImageError(
                f"{name}: ELF type {header['e_type']}; hvt images of ABI 2 are static ET_EXEC"
            )
        notes: dict[int, bytes] = {}
        segments = []
        executable_heap = False
        unread = len(content)
        for row in _program_headers(name, elf):
            data = content[row["p_offset"] : row["p_offset"] + row["p_filesz"]]
            if row["p_type"] == "PT_NOTE":
                notes.update(_solo5_notes(data))
            elif row["p_type"] == "PT_GNU_STACK":
                executable_heap |= bool(row["p_flags"] & _PF_X)
            elif row["p_type"] == "PT_LOAD" and row["p_memsz"]:
                segments.append(_segment(name, row, data))
                unread -= len(data)
                if unread < 0:
                    raise ImageError(f"{name}: the segments hold more than the file")
    except ImageError:
        raise
    except (ELFError, ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise ImageError(f"{name}: not a valid ELF file ({error})") from error
    except Exception as error:  # pyelftools has further ways to fail on hostile input
        raise ImageError(f"{name}: malformed ELF file ({type(error).__name__})") from error
    _check_abi(name, notes)
    if not segments:
        raise ImageError(f"{name}: nothing to load (no PT_LOAD segment)")
    segments.sort(key=lambda s: s.address)
    for low, high in pairwise(segments):
        if low.end > high.address:
            raise ImageError(f"{name}: segments at {low.address:#x} and {high.address:#x} overlap")
    entry = int(header["e_entry"])
    if not any(s.executable and s.address <= entry < s.end for s in segments):
        raise ImageError(f"{name}: the entry point {entry:#x} is not in an executable segment")
    digest = hashlib.sha256(content).hexdigest()
    devices = _devices(name, notes)
    return Image(name, content, entry, tuple(segments), devices, digest, executable_heap)


def _program_headers(name: str, elf: ELFFile) -> Iterator[dict[str, Any]]:
    """Only these: pyelftools' own segments look at sections too, without a limit."""
    count, size, start = (elf.header[n] for n in ("e_phnum", "e_phentsize", "e_phoff"))
    if count > _MAX_HEADERS:
        raise ImageError(f"{name}: {count} program headers; the limit is {_MAX_HEADERS}")
    for index in range(count):
        yield struct_parse(elf.structs.Elf_Phdr, elf.stream, start + index * size)


def _segment(name: str, header: dict[str, Any], data: bytes) -> Segment:
    address, size, flags = header["p_vaddr"], header["p_memsz"], header["p_flags"]
    if address < LOAD_FLOOR:
        raise ImageError(f"{name}: segment at {address:#x} lies below {LOAD_FLOOR:#x}")
    if len(data) != header["p_filesz"]:
        raise ImageError(f"{name}: the file ends within the segment at {address:#x}")
    if len(data) > size:
        raise ImageError(f"{name}: segment at {address:#x} has more data than memory")
    if flags & _PF_W and flags & _PF_X:
        raise ImageError(f"{name}: segment at {address:#x} is writable and executable")
    return Segment(address, data, size, bool(flags & _PF_W), bool(flags & _PF_X))


def _solo5_notes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """`(type, descriptor)` of every note whose owner is Solo5."""
    offset = 0
    while offset + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("<III", data, offset)
        start = offset + 12 + -(-name_size // 4) * 4
        if data[offset + 12 : offset + 12 + name_size] == b"Solo5\0":
            yield kind, data[start : start + size]
        offset = start + -(-size // 4) * 4


def _check_abi(name: str, notes: dict[int, bytes]) -> None:
    if _NOTE_ABI not in notes or len(notes[_NOTE_ABI]) < 8:
        raise ImageError(f"{name}: no Solo5 ABI note; is this a Solo5 unikernel?")
    target, version = struct.unpack_from("<II", notes[_NOTE_ABI])
    if (target, version) != (_HVT, _HVT_VERSION):
        raise ImageError(
            f"{name}: built for Solo5 target {target} version {version}; "
            f"this tender runs target {_HVT} (hvt) version {_HVT_VERSION}"
        )


def _devices(name: str, notes: dict[int, bytes]) -> tuple[Device, ...]:
    manifest = notes.get(_NOTE_MANIFEST, b"")[4:]
    if len(manifest) < 8:
        raise ImageError(f"{name}: no Solo5 manifest note")
    version, count = struct.unpack_from("<II", manifest)
    if version != _MANIFEST_VERSION:
        raise ImageError(f"{name}: manifest version {version}; this tender knows version 1")
    if not 1 <= count <= _MAX_ENTRIES or len(manifest) < 8 + count * _ENTRY.size:
        raise ImageError(f"{name}: malformed manifest ({count} entries)")
    devices: list[Device] = []
    for handle in range(count):
        raw, kind = _ENTRY.unpack_from(manifest, 8 + handle * _ENTRY.size)[:2]
        label = raw.split(b"\0")[0]
        reserved = handle == 0
        try:
            device = Device(handle, label.decode("ascii"), DeviceKind(kind))
        except ValueError as error:
            raise ImageError(f"{name}: malformed manifest entry {handle}") from error
        if reserved != (device.kind is DeviceKind.RESERVED) or (
            device.name != "" if reserved else not (device.name.isalnum() and len(label) < 68)
        ):
            raise ImageError(f"{name}: malformed manifest entry {handle}")
        if any(d.name == device.name for d in devices):
            raise ImageError(f"{name}: the manifest declares device {device.name!r} twice")
        devices.append(device)
    return tuple(devices)

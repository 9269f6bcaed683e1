"""Snapshots, `*.vsnap`: the complete state of a guest at a position, in a file.

The file is the magic and frames (see `frames`). The first holds a msgpack map, the header: all but
what RAM and disks hold. Then follow frames with `[device, group]`: pieces (see `pieces`) of RAM,
whose `device` is nil, and of each disk that is in the snapshot, whose `device` is its name. The
last frame is `[digest]`, the BLAKE2b of all frames' contents before.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgpack

from vlockstep.errors import LogError, SnapshotError, StateError
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.position import Position
from vlockstep.machine.state import ENGINE, MachineState, guest_digest
from vlockstep.replay.frames import FrameReader, frame
from vlockstep.replay.keyframe import counts
from vlockstep.replay.pieces import Piece, Unpacker, pack

MAGIC = b"VLOCKSNP"
VERSION = 1
_DIGEST = 32
_MAX_FRAME = 4 << 20
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException)


@dataclass(frozen=True)
class DiskState:
    """A guest's disk: where its file lay, and the `digest` of what it held, in hex. Without one the
    snapshot holds that itself."""

    path: Path
    digest: str = ""


@dataclass(frozen=True)
class Snapshot:
    """A guest, `name`d so and of this configuration, as it stood when its clocks showed `clock`
    (cycles, ns since the epoch). `image` is where its image lay; None if it is bundled. RAM is no
    part of `machine`.

    So many ns it had `waited` if it was in a hypercall that waits, so many bytes of `console` text
    it had written, and `generation` is what it was told of who rules.
    """

    name: str
    config: GuestConfig
    image: Path | None
    machine: MachineState
    clock: tuple[int, int]
    waited: int
    console: int
    generation: int
    disks: Mapping[str, DiskState]

    @property
    def position(self) -> Position:
        return self.machine.position


def encode(
    snapshot: Snapshot, memory: Iterable[Piece], disks: Mapping[str, Iterable[Piece]]
) -> Iterator[bytes]:
    """The file in parts. `memory` is what RAM holds, `disks` what those disks do that are in it."""
    digest = hashlib.blake2b(digest_size=_DIGEST)
    yield MAGIC

    def framed(content: bytes) -> bytes:
        digest.update(content)
        return frame(content)

    yield framed(_header(snapshot))
    for device, pieces in ((None, memory), *disks.items()):
        for group in pack(pieces):
            yield framed(msgpack.packb((device, group)))
    yield frame(msgpack.packb((digest.digest(),)))


def _header(snapshot: Snapshot) -> bytes:
    fields = {
        "version": VERSION,
        "unicorn": ENGINE,
        "name": snapshot.name,
        "config": snapshot.config.to_dict(),
        "image": b"" if snapshot.image is None else os.fsencode(snapshot.image),
        "machine": snapshot.machine.pack(),
        "clock": snapshot.clock,
        "waited": snapshot.waited,
        "console": snapshot.console,
        "generation": snapshot.generation,
        "disks": {
            name: (os.fsencode(disk.path), disk.digest) for name, disk in snapshot.disks.items()
        },
    }
    header: bytes = msgpack.packb(fields)
    return header


class SnapshotReader:
    """Reads the file of a snapshot. `snapshot` is what it holds but for RAM; `pieces` gives that,
    and raises in the end if anything is not as it was written: nothing may be made of it before.

    Raises `SnapshotError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._frames = FrameReader(path, MAGIC, "snapshot", "piece", SnapshotError, _MAX_FRAME)
        self._digest = hashlib.blake2b(digest_size=_DIGEST)
        try:
            self.snapshot = self._header(self._next())
        except (*_MALFORMED, LogError) as error:
            self.close()
            raise SnapshotError(f"{path}: malformed header ({error})") from error
        except SnapshotError:
            self.close()
            raise

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._frames.size

    @property
    def done(self) -> int:
        """Bytes that have been read."""
        return self._frames.offset

    def pieces(self) -> Iterator[tuple[str | None, list[Piece]]]:
        """What RAM (None) and the disks by name hold; all else is zeros."""
        config, disks = self.snapshot.config, self.snapshot.disks
        unpackers: dict[str | None, Unpacker] = {None: Unpacker(config.memory)}
        for name, disk in disks.items():
            if not disk.digest:
                unpackers[name] = Unpacker(config.blocks[name].capacity)
        for device, group in self._groups():
            try:
                pieces = unpackers[device].unpack(group)
            except _MALFORMED as error:
                raise SnapshotError(f"{self.path}: malformed ({error})") from error
            yield device, pieces

    def verify(self) -> Iterator[None]:
        """Read to the end, step by step: that all is as it was written."""
        for _ in self._groups():
            yield

    def close(self) -> None:
        self._frames.close()

    def _groups(self) -> Iterator[tuple[str | None, bytes]]:
        while True:
            expected = self._digest.digest()
            content = self._next()
            try:
                *device, last = msgpack.unpackb(content, use_list=False)
                if not device:
                    break
                (name,) = device
            except _MALFORMED as error:
                raise SnapshotError(f"{self.path}: malformed ({error})") from error
            yield name, last
        if last != expected or self.done != self.size:
            raise SnapshotError(f"{self.path}: damaged (checksum of all)")

    def _next(self) -> bytes:
        content = self._frames.next()
        if content is None:
            raise SnapshotError(
                f"{self.path} is cut off: it ends after {self.size} bytes, before its end"
            )
        self._digest.update(content)
        return content

    def _header(self, content: bytes) -> Snapshot:
        fields = msgpack.unpackb(content, use_list=False)
        version, unicorn = fields["version"], fields["unicorn"]
        if version != VERSION:
            raise SnapshotError(
                f"{self.path} is of snapshot version {version!r:.20}, and this vlockstep reads "
                f"{VERSION}"
            )
        if unicorn != ENGINE:
            raise SnapshotError(
                f"{self.path} was taken with Unicorn {unicorn!r:.20}, and here is {ENGINE}: "
                "install the same"
            )
        try:
            machine = MachineState.unpack(fields["machine"])
        except StateError as error:
            raise SnapshotError(f"{self.path}: {error}") from error
        config = GuestConfig.from_dict(fields["config"])
        if machine.guest != guest_digest(config):
            raise ValueError("a state of another guest than is configured")
        if machine.memory:
            raise ValueError("RAM in the header")
        cycles, walltime = counts(2, *fields["clock"])
        waited, console, generation = counts(
            3, fields["waited"], fields["console"], fields["generation"]
        )
        image = _path(fields["image"])
        disks = {_text(name): _disk(*disk) for name, disk in fields["disks"].items()}
        if set(disks) != set(config.blocks):
            raise ValueError("other disks than are configured")
        return Snapshot(
            _text(fields["name"]), config, image, machine, (cycles, walltime), waited, console,
            generation, disks,
        )  # fmt: skip


def _disk(path: object, digest: object) -> DiskState:
    found = _path(path)
    if found is None:
        raise ValueError("a disk without a file")
    return DiskState(found, _text(digest))


def _path(value: object) -> Path | None:
    if type(value) is not bytes or b"\0" in value:
        raise ValueError("a path that is none")
    return Path(os.fsdecode(value)) if value else None


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("a text that is none")
    return value

"""Snapshots: as they are, and with checksums that fit, so that what they hold is looked at too.

What is read must be what could have been written.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgpack
from fuzz.log import seal
from support import MIB, config_for, disk_config, machine_of, sample

from vlockstep.errors import SnapshotError
from vlockstep.replay.frames import frame
from vlockstep.replay.pieces import Piece
from vlockstep.replay.snapshot import MAGIC, DiskState, Snapshot, SnapshotReader, encode

_CAPACITY = 1 << 16


def check(data: bytes) -> None:
    for content in (data, seal(data), _sum(seal(data))):
        _check_file(content)


def seeds() -> list[bytes]:
    """With a disk, with one that stays outside, and without RAM."""
    image = sample("abi")
    config = config_for(image, memory=2 * MIB, blocks=disk_config(_CAPACITY))
    with machine_of(image, config) as machine:
        state = machine.capture(memory=False)
    memory = ((0x1000, b"memory"), (0x20000, b"more" * 99))
    disk = DiskState(Path("disk.img"))
    snapshot = Snapshot("abi", config, None, state, (1, 2), 3, 4, 5, {"disk": disk})
    outside = replace(snapshot, image=Path("abi.hvt"), disks={"disk": replace(disk, digest="d")})
    return [
        b"".join(encode(snapshot, memory, {"disk": [(512, b"block")]})),
        b"".join(encode(outside, memory, {})),
        b"".join(encode(outside, (), {})),
    ]


def _sum(data: bytes) -> bytes:
    """With the checksum of all that its last frame should have."""
    digest = hashlib.blake2b(digest_size=32)
    contents = list(_contents(data))
    for content in contents[:-1]:
        digest.update(content)
    frames = map(frame, [*contents[:-1], msgpack.packb((digest.digest(),))])
    return data[: len(MAGIC)] + b"".join(frames)


def _contents(data: bytes) -> Iterator[bytes]:
    at = len(MAGIC)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<I", data, at)
        yield data[at + 12 : at + 12 + length]
        at += 12 + length


def _check_file(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "fuzz.vsnap")
        path.write_bytes(data)
        try:
            reader = SnapshotReader(path)
        except SnapshotError:
            return
        contents: dict[str | None, list[Piece]] = {None: []}
        with closing(reader):
            try:
                for device, pieces in reader.pieces():
                    contents.setdefault(device, []).extend(pieces)
            except SnapshotError:
                return
        memory = contents.pop(None)
        disks = {str(name): pieces for name, pieces in contents.items()}
        path.write_bytes(b"".join(encode(reader.snapshot, memory, disks)))
        with closing(SnapshotReader(path)) as again:
            assert again.snapshot == reader.snapshot
            assert sum(len(pieces) for _, pieces in again.pieces()) == len(memory) + sum(
                map(len, contents.values())
            )

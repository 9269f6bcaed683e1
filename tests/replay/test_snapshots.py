"""The file of a snapshot: what was written is read, and anything else is refused by name."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MIB, Console, config_for, disk_config, machine_of, sample

from vlockstep.errors import SnapshotError
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.state import MachineState
from vlockstep.replay import pieces
from vlockstep.replay.frames import frame
from vlockstep.replay.snapshot import MAGIC, DiskState, Snapshot, SnapshotReader, encode

ABI = sample("abi")
CONFIG = config_for(ABI, memory=16 * MIB, blocks=disk_config(1 << 20))
DISK = ((0, b"first"), (1 << 19, b"middle"), ((1 << 20) - 4, b"last"))


def state_of(exits: int = 5) -> MachineState:
    seen: list[MachineState] = []
    with machine_of(ABI, CONFIG) as machine:
        machine.break_at(Position(exits), lambda: (seen.append(machine.capture()), machine.stop()))
        machine.run(SimulatedWorld(1, Console()))
    return seen[0]


TAKEN = state_of()
RAM, STATE = TAKEN.memory, replace(TAKEN, memory=())


INSIDE = DiskState(Path("/disks/abi.img"))


def snapshot(disk: DiskState = INSIDE) -> Snapshot:
    return Snapshot(
        "abi-1", CONFIG, Path("/images/abi.hvt"), STATE, (1 << 40, 1 << 60), 12, 34, 56,
        {"disk": disk},
    )  # fmt: skip


def content() -> bytes:
    return b"".join(encode(snapshot(), RAM, {"disk": DISK}))


CONTENT = content()


def read(path: Path) -> tuple[Snapshot, dict[str | None, list[pieces.Piece]]]:
    """What is in it; RAM is None's."""
    with closing(SnapshotReader(path)) as reader:
        found: dict[str | None, list[pieces.Piece]] = {}
        for device, group in reader.pieces():
            found.setdefault(device, []).extend(group)
        return reader.snapshot, found


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.vsnap"
    path.write_bytes(CONTENT)
    found, contents = read(path)
    assert found == snapshot()
    assert contents == {None: list(RAM), "disk": list(DISK)}
    assert found.position == Position(5)
    assert b"".join(encode(found, contents[None], {"disk": contents["disk"]})) == CONTENT
    with closing(SnapshotReader(path)) as reader:
        assert len([*reader.verify()]) == 2 and reader.done == reader.size == len(CONTENT)


def test_a_disk_that_stays_outside(tmp_path: Path) -> None:
    path = tmp_path / "a.vsnap"
    outside = snapshot(DiskState(Path("/disks/abi.img"), "digest"))
    path.write_bytes(b"".join(encode(outside, RAM, {})))
    found, contents = read(path)
    assert found.disks == outside.disks and [*contents] == [None]
    path.write_bytes(b"".join(encode(outside, RAM, {"disk": DISK})))
    with pytest.raises(SnapshotError, match="malformed"):
        read(path)


@given(st.integers(0, len(CONTENT) * 8 - 1))
def test_no_bit_can_flip(tmp_path_factory: pytest.TempPathFactory, bit: int) -> None:
    path = tmp_path_factory.mktemp("flip") / "a.vsnap"
    damaged = bytearray(CONTENT)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    with pytest.raises(SnapshotError, match=r"a\.vsnap.*(damaged|is not a vlockstep snapshot)"):
        read(path)


@given(st.integers(0, len(CONTENT) - 1))
def test_nothing_can_be_missing(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.vsnap"
    path.write_bytes(CONTENT[:size])
    with pytest.raises(SnapshotError, match=r"a\.vsnap is (cut off|not a vlockstep snapshot)"):
        read(path)


def test_what_does_not_belong_there(tmp_path: Path) -> None:
    path = tmp_path / "a.vsnap"
    frames = [*encode(snapshot(), RAM, {"disk": DISK})]
    for wrong in (
        [*frames, b"more"],
        [*frames, frames[2]],
        frames[:2] + frames[3:],
        [*frames[:2], frames[3], frames[2], *frames[4:]],
    ):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(SnapshotError, match=r"a\.vsnap: damaged"):
            read(path)
    with pytest.raises(SnapshotError, match="it must be a regular file"):
        SnapshotReader(tmp_path)
    with pytest.raises(SnapshotError, match="No such file"):
        SnapshotReader(tmp_path / "none")


def altered(**fields: object) -> bytes:
    """The file with another header."""
    header = msgpack.unpackb(b"".join([*encode(snapshot(), RAM, {})][1:2])[12:])
    return MAGIC + frame(msgpack.packb({**header, **fields}))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"version": 2}, "is of snapshot version 2, and this vlockstep reads 1"),
        ({"version": "new"}, "is of snapshot version 'new'"),
        ({"unicorn": "2.0.0"}, r"was taken with Unicorn '2\.0\.0', and here is .*: install"),
        ({"config": {**CONFIG.to_dict(), "cpu": "qemu64"}}, "another guest than is configured"),
        ({"config": {**CONFIG.to_dict(), "memory": 3}}, "the guest configuration is malformed"),
        ({"config": None}, "malformed header"),
        ({"machine": b""}, "state is malformed"),
        ({"machine": TAKEN.pack()}, "RAM in the header"),
        ({"clock": (1,)}, "malformed header"),
        ({"waited": -1}, "malformed header"),
        ({"generation": 2.5}, "malformed header"),
        ({"disks": {}}, "other disks than are configured"),
        ({"disks": []}, "malformed header"),
        ({"disks": {"disk": (b"", "")}}, "a disk without a file"),
        ({"disks": {"disk": (b"x", b"")}}, "a text that is none"),
        ({"image": b"\0"}, "a path that is none"),
        ({"name": b"x"}, "a text that is none"),
    ],
)  # fmt: skip
def test_a_header_that_is_not_ours(tmp_path: Path, fields: dict[str, object], problem: str) -> None:
    path = tmp_path / "a.vsnap"
    path.write_bytes(altered(**fields))
    with pytest.raises(SnapshotError, match=rf"a\.vsnap.*({problem})"):
        SnapshotReader(path)


def bomb() -> bytes:
    return next(pieces.pack([(0, bytes(1 << 24))]))


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        (lambda: b"", "that is none"),
        (lambda: b"x" * 20, "that is none"),
        (lambda: next(pieces.pack([(0, b"x")]))[:-1], "that is none"),
        (lambda: next(pieces.pack([(0, b"x")])) + b"x", "that is none"),
        (bomb, "too large"),
        (lambda: next(pieces.pack([(5, b"x"), (5, b"x")])), "overlap"),
        (lambda: next(pieces.pack([(0, b"")])), "too large"),
        (lambda: next(pieces.pack([(CONFIG.memory, b"x")])), "lies outside"),
        (lambda: next(pieces.pack([(-1, b"x")])), "overlap"),
    ],
)
def test_pieces_that_are_none(tmp_path: Path, group: Callable[[], bytes], problem: str) -> None:
    path = tmp_path / "a.vsnap"
    header = b"".join([*encode(snapshot(), RAM, {})][:2])
    path.write_bytes(header + frame(msgpack.packb((None, group()))))
    with pytest.raises(SnapshotError, match=rf"a\.vsnap: malformed \(.*{problem}"):
        read(path)


def test_a_frame_of_any_length_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.vsnap"
    path.write_bytes(MAGIC + frame(bytes(5 << 20)))
    with pytest.raises(SnapshotError, match="damaged at offset 8"):
        SnapshotReader(path)


def test_writing_and_reading_take_no_memory_to_speak_of(tmp_path: Path) -> None:
    """Besides what RAM is when it is taken: a group or two."""
    path = tmp_path / "a.vsnap"
    size = 64 * MIB

    def ram() -> Iterator[pieces.Piece]:
        for address in range(0, size, pieces.PIECE):
            yield address, struct.pack("<Q", address) * (pieces.PIECE // 8)

    config = replace(CONFIG, memory=size, blocks=disk_config(size))
    with machine_of(ABI, config) as machine:
        state = replace(machine.capture(), memory=())
    taken = replace(snapshot(), config=config, machine=state)
    tracemalloc.start()
    try:
        with path.open("wb") as file:
            for part in encode(taken, ram(), {"disk": ram()}):
                file.write(part)
        with closing(SnapshotReader(path)) as reader:
            total = sum(len(found) for _, found in reader.pieces())
        assert total == 2 * size // pieces.PIECE
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_a_guest_goes_on_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.vsnap"
    path.write_bytes(CONTENT)
    found, contents = read(path)
    state = replace(found.machine, memory=tuple(contents[None]))
    with closing(Machine.restore(ABI, found.config, state)) as machine:
        assert machine.position == Position(5)
        assert replace(machine.capture(), cpu=STATE.cpu) == TAKEN  # whose flags are lazy

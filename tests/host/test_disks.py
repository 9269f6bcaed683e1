"""Disks: data in the log, or an identical copy on each side whose reads are only verified."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import (
    DATA,
    Console,
    ScriptedWorld,
    config_for,
    disk_config,
    halt,
    hypercall,
    machine_of,
    make_image,
    net_config,
    record,
    replay,
    sample,
)

from vlockstep.errors import HostError, UsageError
from vlockstep.host.devices import ConsoleFile, Disk
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.image import DeviceKind
from vlockstep.machine.position import BOOT
from vlockstep.machine.world import Cause, Stop
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.replayer import Divergence

LEDGER = sample("ledger")
CAPACITY = 64 * 512
CONFIG = config_for(LEDGER, "--lines=40", "--work=5", blocks=disk_config(CAPACITY, local=True))
LOCAL = frozenset({1})


def new_disk(path: Path, content: bytes = bytes(CAPACITY)) -> Disk:
    path.write_bytes(content)
    return Disk(path)


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[list[Entry], bytes]:
    disk = new_disk(tmp_path / "primary")
    entries = record(LEDGER, CONFIG, SimulatedWorld(1, Console(), {1: disk}), LOCAL).entries
    return entries, disk.path.read_bytes()


def test_reads_of_local_disks_are_logged_as_digests(recorded: tuple[list[Entry], bytes]) -> None:
    reads = [e[3] for e in recorded[0] if e[0] == Kind.BLOCK_READ]
    assert reads and all(isinstance(r, bytes) and len(r) == 8 for r in reads)


def test_an_identical_copy_ends_identical(
    recorded: tuple[list[Entry], bytes], tmp_path: Path
) -> None:
    entries, content = recorded
    disk = new_disk(tmp_path / "copy")
    assert replay(LEDGER, CONFIG, entries, local={1: disk}).status == 0
    assert disk.path.read_bytes() == content


class Lying(Disk):
    """A disk on which one block rots after it was written."""

    def write(self, offset: int, data: bytes) -> None:
        super().write(offset, data)
        super().write(offset + 100, bytes([data[100] ^ 1]))


class Broken(Disk):
    def read(self, offset: int, length: int) -> bytes | None:
        return None


@pytest.mark.parametrize("kind", [Lying, Broken])
def test_a_differing_copy_is_found_at_the_read(
    recorded: tuple[list[Entry], bytes], tmp_path: Path, kind: type[Disk]
) -> None:
    path = tmp_path / "copy"
    path.write_bytes(bytes(CAPACITY))
    with pytest.raises(Divergence, match=r"the local disk differs at offset \d+") as error:
        replay(LEDGER, CONFIG, recorded[0], local={1: kind(path)})
    first = next(i for i, e in enumerate(recorded[0]) if e[0] == Kind.BLOCK_READ)
    assert error.value.position.exits == recorded[0][first][1]


def test_shared_disks_are_not_touched_by_a_replay(tmp_path: Path) -> None:
    config = config_for(LEDGER, "--lines=40", "--work=5", blocks=disk_config(CAPACITY))
    disk = new_disk(tmp_path / "shared")
    entries = record(LEDGER, config, SimulatedWorld(1, Console(), {1: disk})).entries
    before = disk.path.read_bytes()
    suppressed: list[tuple[int, int, bytes]] = []

    def note(sequence: int, kind: Kind, handle: int, offset: int, data: bytes) -> None:
        assert entries[sequence][0] == kind
        if kind is Kind.BLOCK_WRITE:
            suppressed.append((handle, offset, data))

    replay(LEDGER, config, entries, suppressed=note)
    assert disk.path.read_bytes() == before
    copy = bytearray(CAPACITY)
    for handle, offset, data in suppressed:
        assert handle == 1
        copy[offset : offset + len(data)] = data
    assert copy == before


REQUEST = DATA + 0x40
READS = make_image(
    hypercall(5, REQUEST) + halt(),
    {REQUEST: b"".join(n.to_bytes(8, "little") for n in (1, 512, DATA + 0x1000, 512, 9))},
    [(b"disk", DeviceKind.BLOCK)],
)


@pytest.mark.parametrize("local", [True, False])
def test_an_error_of_the_host_is_replayed_even_where_the_copy_is_fine(
    local: bool, tmp_path: Path
) -> None:
    config = config_for(READS, blocks=disk_config(4096, local))
    handles = LOCAL if local else frozenset()
    recording = record(READS, config, ScriptedWorld(block_read=[None]), handles)
    disks = {1: new_disk(tmp_path / "fine", bytes(4096))} if local else {}
    assert replay(READS, config, recording.entries, local=disks) == recording.outcome
    assert recording.entries[0][:4] == (Kind.BLOCK_READ, 0, 0, None)


def test_logged_data_of_another_length_is_a_divergence() -> None:
    config = config_for(READS, blocks=disk_config(4096))
    entries = record(READS, config, ScriptedWorld()).entries
    for data in (b"", bytes(511), bytes(513)):
        wrong = [(int(Kind.BLOCK_READ), 0, 0, data, b""), *entries[1:]]
        with pytest.raises(Divergence, match=f"{len(data)} bytes for a block read of 512"):
            replay(READS, config, wrong)


def test_a_frame_longer_than_the_buffer_is_a_divergence() -> None:
    request = b"".join(n.to_bytes(8, "little") for n in (1, DATA + 0x1000, 60, 9))
    image = make_image(
        hypercall(7, REQUEST) + halt(), {REQUEST: request}, [(b"net", DeviceKind.NET)]
    )
    config = config_for(image, nets=net_config("net"))
    good = record(image, config, ScriptedWorld(net_read=[b"x" * 60]))
    assert good.entries[0][3] == (1, b"x" * 60)
    assert replay(image, config, good.entries) == good.outcome
    with pytest.raises(Divergence, match="a frame of 61 bytes for a read of 60"):
        replay(image, config, [(int(Kind.NET_READ), 0, 0, (1, b"x" * 61), b"")])
    assert replay(image, config, []) == Stop(BOOT, Cause.NO_ANSWER)


# The devices themselves


def test_disks_are_whole_blocks_and_exist(tmp_path: Path) -> None:
    for size in (0, 511, 1000):
        (tmp_path / "odd").write_bytes(bytes(size))
        with pytest.raises(UsageError, match=rf"odd is {size} bytes; .*multiple of 512.*truncate"):
            Disk(tmp_path / "odd")
    with pytest.raises(HostError, match="cannot open the disk"):
        Disk(tmp_path / "none")


def test_disk_reads_what_was_written_and_none_behind_its_end(tmp_path: Path) -> None:
    disk = new_disk(tmp_path / "disk", bytes(2048))
    disk.write(512, b"x" * 512)
    assert disk.read(0, 1024) == bytes(512) + b"x" * 512
    assert disk.read(2048, 512) is None and disk.read(1536, 1024) is None
    disk.close()
    disk.close()


def test_disk_digests_ignore_holes_and_see_every_byte(tmp_path: Path) -> None:
    size = 3 << 20
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(size)
    full, sparse_disk = new_disk(tmp_path / "full", bytes(size)), Disk(sparse)
    assert full.digest() == sparse_disk.digest()
    for offset in (0, 1 << 20, size - 1):
        before = full.digest()
        full.write(offset, b"\1")
        assert full.digest() not in (before, sparse_disk.digest())
        sparse_disk.write(offset, b"\1")
        assert full.digest() == sparse_disk.digest()


def test_a_write_the_host_refuses_is_a_host_error(tmp_path: Path) -> None:
    disk = new_disk(tmp_path / "disk", bytes(512))
    read_only = os.open(disk.path, os.O_RDONLY)
    disk.storage._fd, fd = read_only, disk.storage._fd
    with pytest.raises(HostError, match="cannot write to the disk"):
        disk.write(0, bytes(512))
    os.close(fd)
    disk.close()


def test_console_text_appears_once_whoever_writes_it(tmp_path: Path) -> None:
    text = b"".join(b"line %d\n" % i for i in range(50))
    path = tmp_path / "console"
    for cut in range(0, len(text), 13):
        path.unlink(missing_ok=True)
        first = ConsoleFile(path)
        first.write(0, text[:cut])
        first.close()
        second = ConsoleFile(path)
        start = max(0, cut - 30)
        for at in range(start, len(text), 7):
            second.write(at, text[at : at + 7])
        second.close()
        assert path.read_bytes() == text


def test_a_guest_stops_when_its_disk_cannot_be_written(tmp_path: Path) -> None:
    disk = new_disk(tmp_path / "disk")
    disk.close()
    with machine_of(LEDGER, CONFIG) as machine, pytest.raises(HostError, match="cannot write"):
        machine.run(SimulatedWorld(1, Console(), {1: disk}))


def test_what_a_disk_holds_is_read_in_pieces(tmp_path: Path) -> None:
    """Holes are passed over, and so are zeros that were written."""
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(1 << 24)
        for offset, data in ((0, b"first"), (5 << 20, bytes(1 << 17)), ((1 << 24) - 4, b"last")):
            file.seek(offset)
            file.write(data)
    disk = Disk(path)
    pieces = dict(disk.pieces())
    assert len(pieces) == 2 and sum(map(len, pieces.values())) <= 1 << 17
    assert pieces[0].rstrip(b"\0") == b"first" and [*pieces.values()][-1].endswith(b"last")
    assert sum(end - start for start, end in disk.extents()) <= 1 << 20
    content = bytearray(disk.capacity)
    for offset, data in pieces.items():
        content[offset : offset + len(data)] = data
    assert content == path.read_bytes()
    disk.sync()
    disk.close()


def test_a_disk_of_which_the_host_cannot_tell_the_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read from start to end."""
    disk = new_disk(tmp_path / "disk", b"x" * 512 + bytes(CAPACITY - 512))
    monkeypatch.setattr(os, "SEEK_HOLE", 99)
    assert [*disk.extents()] == [(0, CAPACITY)]
    assert [*disk.pieces()] == [(0, disk.path.read_bytes())]
    disk.close()

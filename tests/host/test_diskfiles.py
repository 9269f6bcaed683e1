"""Disks of all formats, with the real qemu-img: made, converted, resized, whole or not at all."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlockstep.errors import HostError, UsageError, VlockstepError
from vlockstep.files.locks import InUse, user_of
from vlockstep.host import diskfiles, qemuimg
from vlockstep.host.devices import Disk
from vlockstep.host.diskfiles import DiskInfo, convert, create, inspect, resize
from vlockstep.host.diskformats import FORMATS, QCOW2, RAW, VHD, VHDX, VMDK, DiskFormat
from vlockstep.host.qemuimg import QemuImg

pytestmark = pytest.mark.external("qemu-img")
QEMU = QemuImg()
MIB = 1 << 20
CONTENT = os.urandom(MIB) + bytes(MIB) + b"end".ljust(MIB - 512, b"\0")
"""No whole number of MiB."""
THICK = [each for each in FORMATS.values() if each.thick is not None]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.img"
    path.write_bytes(CONTENT)
    return path


def qemu_img(*arguments: object) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True)


def made(source: Path, kind: DiskFormat, **options: bool) -> DiskInfo:
    """A disk with the same content."""
    path = source.with_name(f"made{kind.suffixes[0]}")
    return convert(inspect(source, QEMU), path, kind, QEMU, **options)


def named(error: pytest.ExceptionInfo[VlockstepError], *texts: object) -> None:
    for text in texts:
        assert str(text) in str(error.value)


@contextmanager
def nothing_new(directory: Path) -> Iterator[None]:
    def state() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in directory.iterdir()}

    before = state()
    yield
    assert state() == before


# Made, and converted


@pytest.mark.parametrize("kind", FORMATS.values(), ids=list(FORMATS))
def test_a_new_disk_is_thin_and_of_the_size(tmp_path: Path, kind: DiskFormat) -> None:
    disk = create(tmp_path / f"disk{kind.suffixes[0]}", 16 * MIB + 512, kind, QEMU)
    assert disk == inspect(disk.path, QEMU)
    assert (disk.format, disk.size, disk.thick, disk.user) == (kind, 16 * MIB + 512, False, None)
    assert bool(disk.obstacle) == (kind is not RAW)
    assert [*tmp_path.iterdir()] == [disk.path]


@pytest.mark.parametrize("kind", THICK, ids=lambda kind: kind.name)
def test_a_thick_disk_has_all_its_room(tmp_path: Path, source: Path, kind: DiskFormat) -> None:
    disk = create(tmp_path / "new", 8 * MIB, kind, QEMU, thick=True)
    assert disk.thick and disk.size == 8 * MIB
    status = disk.path.stat()
    assert status.st_blocks * 512 >= status.st_size >= 8 * MIB
    copy = made(source, kind, thick=True, verify=True)
    assert copy.thick and copy.size == len(CONTENT)
    assert copy.path.stat().st_blocks * 512 >= len(CONTENT)


@pytest.mark.parametrize("kind", FORMATS.values(), ids=list(FORMATS))
def test_there_and_back(tmp_path: Path, source: Path, kind: DiskFormat) -> None:
    there = made(source, kind, verify=True)
    assert (there.format, there.size) == (kind, len(CONTENT))
    back = convert(there, tmp_path / "back.img", RAW, QEMU)
    assert back.path.read_bytes() == CONTENT == source.read_bytes()
    assert back.allocated < len(CONTENT) and not back.obstacle


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (VMDK, "subformat=streamOptimized"),
        (VMDK, "subformat=monolithicFlat"),
        (VMDK, "subformat=twoGbMaxExtentSparse"),
        (VHD, "subformat=fixed,force_size=on"),
        (VHDX, "subformat=fixed"),
        (QCOW2, "compat=0.10"),
    ],
)
def test_what_others_make_is_read(
    tmp_path: Path, source: Path, kind: DiskFormat, options: str
) -> None:
    path = tmp_path / f"theirs{kind.suffixes[0]}"
    qemu_img("convert", "-f", "raw", "-O", kind.called, "-o", options, source, path)
    copy = convert(inspect(path, QEMU), tmp_path / "copy.img", RAW, QEMU, verify=True)
    assert copy.path.read_bytes() == CONTENT


def test_sizes_that_no_disk_has(tmp_path: Path) -> None:
    odd = tmp_path / "odd.img"
    odd.write_bytes(bytes(1000))
    with nothing_new(tmp_path):
        for size in (0, -512, 1000, 1 << 61):
            with pytest.raises(UsageError, match=f"a disk of {size} bytes"):
                create(tmp_path / "x", size, RAW, QEMU)
        with pytest.raises(UsageError, match="it must be a multiple of 512, such as 1024"):
            made(odd, QCOW2)
    assert "no multiple of 512" in inspect(odd, QEMU).obstacle


def test_a_thick_vmdk_would_be_two_files(tmp_path: Path, source: Path) -> None:
    with nothing_new(tmp_path), pytest.raises(UsageError, match="vmdk would be two files"):
        made(source, VMDK, thick=True)


# What is there


def test_nothing_is_overwritten_unless_it_may_be(tmp_path: Path, source: Path) -> None:
    path = tmp_path / "there"
    path.write_text("precious")
    link = tmp_path / "link"
    link.symlink_to(path)
    for name in (path, link):
        with nothing_new(tmp_path), pytest.raises(UsageError, match="is there already") as refused:
            create(name, MIB, RAW, QEMU)
        assert refused.value.key == ("force",)
    assert create(link, MIB, RAW, QEMU, may_replace=True).size == path.stat().st_size == MIB
    assert link.is_symlink()
    with nothing_new(tmp_path), pytest.raises(UsageError, match="is the disk that is read"):
        convert(inspect(source, QEMU), source, RAW, QEMU, may_replace=True)


def test_what_comes_meanwhile_is_not_overwritten(tmp_path: Path, source: Path) -> None:
    path = tmp_path / "copy.img"

    def somebody_else() -> None:
        path.write_text("precious")

    with pytest.raises(UsageError, match="is there already"):
        convert(inspect(source, QEMU), path, RAW, QemuImg(stop=somebody_else))
    assert path.read_text() == "precious"
    assert {*tmp_path.iterdir()} == {source, path}


@pytest.mark.parametrize("target", ["/dev/null", "fifo", ".", "none/x"])
def test_places_for_no_disk(tmp_path: Path, target: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(VlockstepError):
        create(tmp_path / target, MIB, RAW, QEMU, may_replace=True)
    assert [each.name for each in tmp_path.iterdir()] == ["fifo"]
    with pytest.raises(HostError):
        inspect(tmp_path / target, QEMU)


def test_a_name_is_a_name(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is an address, an option, or JSON for QEMU."""
    monkeypatch.chdir(tmp_path)
    for name in ("nbd:localhost:1", "-f", "json:{}", "a,b=c", "caf\udce9"):
        copy = convert(inspect(source, QEMU), Path(name), RAW, QEMU, verify=True)
        assert inspect(copy.path, QEMU).size == len(CONTENT)


# Damaged


@pytest.mark.parametrize("kind", [QCOW2, VMDK, VHD, VHDX], ids=lambda kind: kind.name)
def test_what_is_cut_off_is_not_taken_for_zeros(
    tmp_path: Path, source: Path, kind: DiskFormat
) -> None:
    path = made(source, kind).path
    whole = path.stat().st_size
    for size in (whole // 2, 4096, 100):
        os.truncate(path, size)
        with nothing_new(tmp_path), pytest.raises(HostError) as refused:
            convert(inspect(path, QEMU), tmp_path / "copy.img", RAW, QEMU)
        named(refused, path)


def test_random_bytes(tmp_path: Path) -> None:
    path = tmp_path / "noise.qcow2"
    path.write_bytes(os.urandom(MIB))
    with pytest.raises(HostError, match="is not qcow2, as its name says") as refused:
        inspect(path, QEMU)
    assert refused.value.key == ("disk_format",)
    assert not inspect(path, QEMU, RAW).obstacle
    for kind in (QCOW2, VMDK, VHD, VHDX):
        with pytest.raises(HostError):
            inspect(path, QEMU, kind)


def test_a_header_that_a_guest_has_written(tmp_path: Path, source: Path) -> None:
    """On a raw disk it is content, if one says that it is raw."""
    qemu_img("create", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", tmp_path / "x", "1M")
    header = (tmp_path / "x").read_bytes()
    source.write_bytes(header + CONTENT[len(header) :])
    with pytest.raises(HostError, match="is a delta on '/etc/passwd'"):
        inspect(source, QEMU)
    copy = convert(inspect(source, QEMU, RAW), tmp_path / "copy.img", RAW, QEMU, verify=True)
    assert copy.path.read_bytes() == source.read_bytes()


def test_other_formats_are_named(tmp_path: Path) -> None:
    qemu_img("create", "-f", "vdi", tmp_path / "x", "1M")
    with pytest.raises(HostError, match="is vdi: no format that can be read here"):
        inspect(tmp_path / "x", QEMU)


def test_a_copy_that_differs_gets_no_name(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flip(path: Path, *rest: object) -> DiskInfo:
        if path.suffix == ".part":
            with path.open("r+b") as file:
                file.write(bytes([CONTENT[0] ^ 1]))
        return inspect(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(diskfiles, "inspect", flip)
    with nothing_new(tmp_path), pytest.raises(HostError, match="its copy is another disk"):
        convert(inspect(source, QEMU), tmp_path / "copy.img", RAW, QEMU, verify=True)


# In use


def test_a_guests_disk_is_only_looked_at(tmp_path: Path, source: Path) -> None:
    with closing(Disk(source)), nothing_new(tmp_path):
        disk = inspect(source, QEMU)
        assert disk.user == "this very process"
        with pytest.raises(InUse, match="is in use by this very process"):
            convert(disk, tmp_path / "copy.img", RAW, QEMU)
        with pytest.raises(InUse, match="is in use by this very process"):
            resize(disk, 8 * MIB, QEMU)
        with pytest.raises(InUse, match="is in use by this very process"):
            create(source, MIB, RAW, QEMU, may_replace=True)


def test_no_guest_starts_from_a_disk_that_is_converted(tmp_path: Path, source: Path) -> None:
    refusals = []

    def start() -> None:
        with pytest.raises(InUse) as refused:
            Disk(source)
        refusals.append(refused.value)

    disk = inspect(source, QEMU)
    convert(disk, tmp_path / "copy.img", RAW, QemuImg(stop=start))
    assert refusals
    Disk(source).close()


@pytest.mark.external("qemu-io")
def test_qemu_is_refused_and_refuses(tmp_path: Path, source: Path) -> None:
    with subprocess.Popen(
        ["qemu-io", "-f", "raw", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("length\n")
        process.stdin.flush()
        process.stdout.readline()
        disk = inspect(source, QEMU)
        assert disk.user is not None and f"process {process.pid} " in disk.user
        with pytest.raises(InUse, match=f"is in use by process {process.pid} "):
            convert(disk, tmp_path / "copy.img", RAW, QEMU)
        process.communicate("quit\n")
    with source.open("rb") as file:
        assert user_of(file.fileno()) is None


def test_a_part_in_use_is_noticed_by_qemu(tmp_path: Path, source: Path) -> None:
    """A flat VMDK has its data in a file that a guest could run from."""
    path = tmp_path / "flat.vmdk"
    options = ("-O", "vmdk", "-o", "subformat=monolithicFlat")
    qemu_img("convert", "-f", "raw", *options, source, path)
    with closing(Disk(tmp_path / "flat-flat.vmdk")), nothing_new(tmp_path):
        disk = inspect(path, QEMU)
        with pytest.raises(InUse, match="is in use by QEMU or a guest: end that first"):
            convert(disk, tmp_path / "copy.img", RAW, QEMU)


# Resized


@pytest.mark.parametrize("kind", [RAW, QCOW2], ids=lambda kind: kind.name)
@pytest.mark.parametrize("thick", [False, True])
def test_a_disk_grows_and_shrinks(
    tmp_path: Path, source: Path, kind: DiskFormat, thick: bool
) -> None:
    disk = made(source, kind, thick=thick)
    grown = resize(disk, 4 * MIB, QEMU)
    assert (grown.size, grown.thick) == (4 * MIB, thick)
    with pytest.raises(UsageError, match="the last 3145728 would be lost") as refused:
        resize(grown, MIB, QEMU)
    assert refused.value.key == ("shrink",)
    assert resize(grown, MIB, QEMU, shrink=True).size == MIB
    back = convert(inspect(disk.path, QEMU), tmp_path / "back.img", RAW, QEMU)
    assert back.path.read_bytes() == CONTENT[:MIB]


@pytest.mark.parametrize("kind", [VMDK, VHD, VHDX], ids=lambda kind: kind.name)
def test_formats_that_keep_their_size(source: Path, kind: DiskFormat) -> None:
    disk = made(source, kind)
    with pytest.raises(UsageError, match="whose size cannot be changed: convert it to raw first"):
        resize(disk, 8 * MIB, QEMU)


# What may happen


class Cancelled(Exception):
    pass


def cancel() -> None:
    raise Cancelled


def test_who_is_cancelled_leaves_nothing(tmp_path: Path, source: Path) -> None:
    disk = inspect(source, QEMU)
    with nothing_new(tmp_path), pytest.raises(Cancelled):
        convert(disk, tmp_path / "copy.img", RAW, QemuImg(stop=cancel))
    with nothing_new(tmp_path), pytest.raises(Cancelled):
        create(tmp_path / "new", MIB, RAW, QemuImg(stop=cancel))
    Disk(source).close()


Stand = Callable[[str], None]


@pytest.fixture
def instead(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """A script in place of qemu-img."""

    def install(script: str) -> None:
        folder = tmp_path_factory.mktemp("bin")
        program = folder / "qemu-img"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return install


def test_one_that_does_nothing_is_ended(
    tmp_path: Path, source: Path, instead: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = inspect(source, QEMU)
    instead(f"echo $$ >> {tmp_path}/pids; exec sleep 1000")
    monkeypatch.setattr(qemuimg, "PATIENCE", 0.1)
    monkeypatch.setattr(qemuimg, "LOOK", 0.1)
    for call in (
        lambda: inspect(source, QEMU),
        lambda: convert(disk, tmp_path / "copy.img", RAW, QEMU),
    ):
        with pytest.raises(HostError, match=r"qemu-img has done nothing for 0 s") as refused:
            call()
        named(refused, source)
    with suppress(FileNotFoundError):  # if it was killed before it could write
        for pid in (tmp_path / "pids").read_text().split():
            with pytest.raises(ProcessLookupError):
                os.kill(int(pid), 0)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -9 $$", "qemu-img failed: it was killed: Killed"),
        ("exit 7", "qemu-img failed: its exit status is 7"),
        ("echo 'qemu-img: no room' >&2; exit 1", "qemu-img failed: no room"),
        ("yes error | head -c 100000 >&2; exit 1", "error; error"),
        ("echo '{'", "qemu-img's answer is not understood"),
        ("echo '[]'", "qemu-img's answer is not understood"),
        ("yes | head -c 9000000", "qemu-img's answer is not understood"),
    ],
)
def test_whatever_it_says_is_one_error(
    source: Path, instead: Stand, script: str, message: str
) -> None:
    instead(script)
    with pytest.raises(HostError) as refused:
        inspect(source, QEMU)
    named(refused, source, message)
    assert len(str(refused.value)) < 1000 and "\n" not in str(refused.value)


def test_without_it_one_is_told_where_to_get_it(
    source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match=r"no program qemu-img here.* apt install qemu-utils"):
        inspect(source, QEMU)


def test_how_far_it_is(tmp_path: Path, source: Path) -> None:
    told: list[str] = []
    qemu = QemuImg(tell=told.append)
    convert(inspect(source, qemu), tmp_path / "copy.img", RAW, qemu, verify=True)
    steps = [f"converting {source}: 100 %", f"comparing {tmp_path}/copy.img: 100 %"]
    assert list(dict.fromkeys(text for text in told if text.endswith(" 100 %"))) == steps


# Hostile


@cache
def theirs(kind: DiskFormat) -> bytes:
    """A small disk of that format."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "disk"
        qemu_img("create", "-f", kind.called, path, "1M")
        return path.read_bytes()


@pytest.mark.parametrize("kind", [QCOW2, VMDK, VHD, VHDX], ids=lambda kind: kind.name)
@settings(max_examples=20)
@given(data=st.data())
def test_any_change_to_a_disk_makes_a_disk_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, kind: DiskFormat, data: st.DataObject
) -> None:
    content = bytearray(theirs(kind))
    meaning = [at for at in range(0, len(content), 8) if any(content[at : at + 8])]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.sampled_from(meaning))
        content[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    folder = tmp_path_factory.mktemp("hostile")
    path = folder / "disk"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    copy = folder / "copy.img"
    try:
        disk = inspect(path, QEMU, kind)
        if disk.size <= 64 * MIB:
            convert(disk, copy, RAW, QEMU, verify=True)
            copy.unlink()
    except VlockstepError as error:
        assert "\n" not in str(error)
    assert [*folder.iterdir()] == [path]

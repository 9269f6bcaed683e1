"""The commands for disks, with the real qemu-img."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from cli_command import Command, argv, environment, run_process, shell

from vlockstep.cli.disk import parse_size
from vlockstep.errors import UsageError
from vlockstep.host.devices import Disk
from vlockstep.program import progress

QEMU_IMG = pytest.mark.external("qemu-img")
MIB = 1 << 20


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512),
        ("64K", 64 << 10),
        ("64k", 64 << 10),
        ("1M", MIB),
        ("1MiB", MIB),
        ("1MB", MIB),
        ("3G", 3 << 30),
        ("2T", 2 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "is no size") for text in ("", "x", "-1", "+1G", "1.5G", "1 G", "1E", "\u0661M")),
        ("0", "a disk of 0 bytes: it must be from 512"),
        ("1000", "it must be a multiple of 512, such as 1024"),
        ("9999999T", "it must be from 512 to"),
        ("9" * 20, "is no size"),
    ],
)
def test_no_sizes(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_size(text)


@QEMU_IMG
def test_a_disk_of_its_name(vlockstep: Command) -> None:
    made = vlockstep("disk", "create", "a.img", "1M")
    assert (made.status, made.err) == (0, "")
    assert "\nformat      raw\nsize        1048576 bytes\n" in made.out
    assert "\nguests      can run from it\nin use by   nobody that is seen from here\n" in made.out
    assert vlockstep("disk", "info", "a.img").out == made.out
    facts = json.loads(vlockstep("disk", "create", "b.vhd", "2M", "--thick", "--json").out)
    assert facts.pop("allocated") >= 2 * MIB
    assert facts == {
        "file": "b.vhd",
        "format": "vhd",
        "size": 2 * MIB,
        "thick": True,
        "runnable": False,
        "obstacle": "it is vhd: convert it to raw",
        "user": None,
    }
    assert json.loads(vlockstep("disk", "info", "b.vhd", "--json").out)["format"] == "vhd"
    made = vlockstep("disk", "create", "a.img", "1M", "--format", "qcow2", "--force")
    assert "\nformat      qcow2\n" in made.out


@QEMU_IMG
def test_what_is_refused_names_the_option(vlockstep: Command) -> None:
    vlockstep("disk", "create", "a.img", "1M")
    again = vlockstep("disk", "create", "a.img", "2M")
    assert (again.status, again.out) == (2, "")
    assert "a.img is there already: name another, " in again.err and "(--force)" in again.err
    smaller = vlockstep("disk", "resize", "a.img", "64K")
    assert (smaller.status, "would be lost" in smaller.err, "(--shrink)" in smaller.err) == (
        2, True, True,
    )  # fmt: skip
    assert vlockstep("disk", "resize", "a.img", "64K", "--shrink").status == 0
    assert vlockstep("disk", "resize", "a.img", "2M", "--json").status == 0
    assert Path("a.img").stat().st_size == 2 * MIB
    Path("noise.qcow2").write_bytes(os.urandom(MIB))
    noise = vlockstep("disk", "info", "noise.qcow2")
    assert (noise.status, "(--from raw)" in noise.err) == (1, True)
    assert vlockstep("disk", "info", "noise.qcow2", "--from", "raw").status == 0
    for words in (["--from", "vdi"], ["--format", "vdi"]):
        other = vlockstep("disk", "convert", "a.img", "b.img", *words)
        assert (other.status, "'vdi' is no format of disks" in other.err) == (2, True)


@QEMU_IMG
def test_a_disk_in_use(vlockstep: Command) -> None:
    vlockstep("disk", "create", "a.img", "1M")
    with closing(Disk(Path("a.img"))):
        shown = run_process("disk", "info", "a.img", cwd=Path.cwd())
        assert f"\nin use by   process {os.getpid()} (" in shown.out
        for words in (["convert", "a.img", "b.img"], ["resize", "a.img", "2M"]):
            refused = run_process("disk", *words, cwd=Path.cwd())
            assert (refused.status, refused.out) == (1, "")
            assert f"a.img is in use by process {os.getpid()} (" in refused.err
    assert names(Path()) == ["a.img"]


@QEMU_IMG
def test_a_guest_runs_from_what_was_converted(vlockstep: Command) -> None:
    """And what it has written there survives the way through another format."""
    vlockstep("disk", "create", "first.vmdk", "1M")
    assert vlockstep("disk", "convert", "first.vmdk", "first.img").status == 0
    ledger = ["--mem", 8, "--", "--lines=20", "--work=10", "--pause=0"]

    def run(disk: str) -> int:
        words = ["run", "ledger", "--block", f"disk={disk}", *ledger]
        return run_process(*words, cwd=Path.cwd()).status

    assert run("first.img") == 0
    written = Path("first.img").read_bytes()
    assert written.count(b"VLEDGER1") == 20
    for step in (["first.img", "a.vhdx"], ["a.vhdx", "b.vmdk"], ["b.vmdk", "last.img"]):
        assert vlockstep("disk", "convert", *step, "--verify").status == 0
    assert Path("last.img").read_bytes() == written
    assert run("last.img") == 0


@QEMU_IMG
def test_how_far_a_conversion_is(vlockstep: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVALS", {True: 0.0, False: 0.0})
    vlockstep("disk", "create", "a.img", "1M")
    done = vlockstep("disk", "convert", "a.img", "b.qcow2", "--json")
    lines = done.err.splitlines()
    assert "converting a.img: 100 %" in lines
    assert all(re.fullmatch(r"\w+ a.img(: \d+ %)?", line) for line in lines)
    assert json.loads(done.out)["file"] == "b.qcow2"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@QEMU_IMG
def test_who_is_interrupted_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Here when all is written but not yet said to be."""
    work, bin_ = tmp_path / "work", tmp_path / "bin"
    work.mkdir()
    bin_.mkdir()
    (work / "a.img").write_bytes(os.urandom(MIB))
    before = (work / "a.img").read_bytes()
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    real = shlex.quote(str(shutil.which("qemu-img")))
    (bin_ / "qemu-img").write_text(
        f'#!/bin/sh\n[ "$1" = convert ] || exec {real} "$@"\n'
        f'{real} "$@"; echo $$ > {shlex.quote(str(ready))}; exec sleep 1000\n'
    )
    (bin_ / "qemu-img").chmod(0o755)
    with subprocess.Popen(
        argv("disk", "convert", "a.img", "b.qcow2"),
        cwd=work,
        env=environment() | {"PATH": f"{bin_}:{os.environ['PATH']}"},
        stderr=subprocess.PIPE,
    ) as process:
        child = int(ready.read_text())
        assert len(names(work)) == 2
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert b"Traceback" not in told
    assert names(work) == ["a.img"] and (work / "a.img").read_bytes() == before
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.external("qemu-img", "unshare", "mount")
@pytest.mark.parametrize("options", ["", "--thick", "--format qcow2"])
def test_without_room_nothing_is_left(tmp_path: Path, options: str) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        (pytest.fail if "CI" in os.environ else pytest.skip)("needs a mount namespace")
    source, small = tmp_path / "a.img", tmp_path / "small"
    small.mkdir()
    source.write_bytes(os.urandom(4 * MIB))
    script = 'mount -t tmpfs -o size=2M none "$0" && cd "$0" && "$@"; ls -A; df --output=used .'
    words = argv("disk", "convert", source, "b.img", *options.split())
    done = subprocess.run(
        ["unshare", "-rm", "/bin/sh", "-c", script, small, *words],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert "No space left on device" in done.stderr
    assert done.stderr.startswith("vlockstep: the disk file ") and done.stderr.count("\n") == 1
    assert done.stdout.split() == ["Used", "0"]


def test_without_qemu_img(vlockstep: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path.cwd()))
    for words in (["create", "a.img", "1M"], ["info", __file__, "--from", "raw"]):
        missing = vlockstep("disk", *words)
        assert (missing.status, missing.out) == (1, "")
        assert "there is no program qemu-img here" in missing.err
        assert "apt install qemu-utils" in missing.err
    assert names(Path()) == []


@QEMU_IMG
def test_a_closed_output_is_no_lost_disk(tmp_path: Path) -> None:
    done = shell(
        'cd "$0"; "$@" >/dev/full'.replace("$0", str(tmp_path)),
        argv("disk", "create", "a.img", "1M"),
    )
    assert done.returncode == 1 and "cannot write the output" in done.stderr
    assert (tmp_path / "a.img").stat().st_size == MIB

"""`vlockstep record` with `vlockstep replay`: equality, interruption, positions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from cli_command import Command, argv, environment

from vlockstep import LogReader, LogWriter, UsageError
from vlockstep.machine import bundled
from vlockstep.machine.image import load
from vlockstep.testing import replay

GUESTS = [
    ["hello", "--", "--status=5"],
    ["clock", "--", "--reads=3000", "--walltime=50", "--puts=20"],
    ["preempt", "--", "--work=100000", "--period=50000"],
    ["fault", "--", "--kind=noidt"],
    ["fault", "--", "--kind=resume"],
]


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: f"{guest[0]} {guest[2]}")
def test_replay_ends_as_the_recording_did(
    vlockstep: Command, tmp_path: Path, guest: list[str]
) -> None:
    log, console = tmp_path / "x.vlog", tmp_path / "replayed.txt"
    recorded = vlockstep("record", "-o", log, "--json", *guest)
    replayed = vlockstep("replay", log, "--json", "--console", console)
    before, after = json.loads(recorded.err), json.loads(replayed.out)
    assert (replayed.status, replayed.err) == (0, "")
    for key in ("end", "status", "reason", "position", "entries", "registers", "memory_digest"):
        assert after[key] == before[key], key
    assert console.read_text() == recorded.out
    assert log.stat().st_size == before["bytes"]


def test_summary_for_people(vlockstep: Command, tmp_path: Path) -> None:
    log = tmp_path / "x.vlog"
    result = vlockstep("record", "hello", "-o", log)
    assert result.out == "Hello from vlockstep\n"
    assert f"{log}: 2 entries in {log.stat().st_size} bytes" in result.err
    assert "the guest halted with status 0, at exits:1" in result.err
    plain = vlockstep("replay", log)
    assert plain.err == ""
    assert "2 replayed and verified" in plain.out
    assert "rip 0" in plain.out
    aloud = vlockstep("replay", log, "--console", "-")
    assert (aloud.out, aloud.err) == ("Hello from vlockstep\n", plain.out)


def test_disks(vlockstep: Command, tmp_path: Path, disk: Path) -> None:
    shared = ["--", "--lines=40", "--pause=0", "--work=10"]
    log = tmp_path / "shared.vlog"
    assert vlockstep("record", "ledger", "-o", log, "--block", f"disk={disk}", *shared).status == 0
    disk.unlink()
    assert vlockstep("replay", log).status == 0, "the log holds what was read from the disk"


def test_local_disks(vlockstep: Command, tmp_path: Path, disk: Path) -> None:
    log, copy = tmp_path / "local.vlog", tmp_path / "copy.img"
    shutil.copy(disk, copy)
    arguments = ["--", "--lines=40", "--pause=0", "--work=10"]
    record = ["record", "ledger", "-o", log, "--block", f"disk={disk},local"]
    assert vlockstep(*record, *arguments).status == 0

    for options, message in (
        ([], "does not hold the content of the local device 'disk'"),
        (["--block", f"disk={copy}"], "was local: write disk="),
        (["--block", f"disk={disk},local"], "is not as device 'disk' was when the recording"),
        (["--block", f"other={copy},local"], "of the local device 'disk'"),
        (["--block", f"disk={tmp_path / 'none'},local"], "device 'disk': cannot open"),
    ):
        refused = vlockstep("replay", log, *options)
        assert refused.status in (1, 2)
        assert message in refused.err
    assert copy.read_bytes() == bytes(64 << 10)
    assert vlockstep("replay", log, "--block", f"disk={copy},local").status == 0
    assert copy.read_bytes() == disk.read_bytes()


def test_block_that_the_log_does_not_need(vlockstep: Command, tmp_path: Path, disk: Path) -> None:
    log = tmp_path / "x.vlog"
    vlockstep("record", "ledger", "-o", log, "--block", f"disk={disk}", "--", "--lines=2")
    result = vlockstep("replay", log, "--block", f"disk={disk},local")
    assert result.status == 2
    assert "drop its --block" in result.err


def test_log_over_a_disk_or_the_console(vlockstep: Command, disk: Path) -> None:
    result = vlockstep("record", "ledger", "-o", "disk.img", "--block", f"disk={disk}")
    assert (result.status, "is used otherwise" in result.err) == (2, True)
    assert disk.read_bytes() == bytes(64 << 10)
    result = vlockstep("record", "hello", "-o", "new", "--console", "./new")
    assert (result.status, "is used otherwise" in result.err) == (2, True)


def test_log_that_cannot_be_written(vlockstep: Command) -> None:
    assert "cannot write the log none/x" in vlockstep("record", "hello", "-o", "none/x").err
    full = vlockstep("record", "hello", "-o", "/dev/full")
    assert full.status == 1
    assert "cannot write the log /dev/full: No space left" in full.err


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_interrupted_recording_can_be_replayed(
    vlockstep: Command, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    log, console = tmp_path / "x.vlog", tmp_path / "console.txt"
    command = argv("record", "clock", "-o", log, "--console", console, "--mem", 16)
    process = subprocess.Popen(
        [*command, "--", "--reads=1000000000000"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    _wait_for(lambda: log.exists() and log.stat().st_size > 100_000)  # several batches
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == status
    if number != signal.SIGKILL:
        assert "the guest had not ended" in err
        assert "Traceback" not in err
    result = vlockstep("replay", log, "--json")
    assert result.status == 0
    cut_off = number == signal.SIGKILL and "is incomplete; replayed as far as it goes" in result.err
    assert cut_off or not result.err
    end = json.loads(result.out)
    assert end["end"] == "log"
    assert end["entries"] > 1000


def test_interrupted_while_it_computes(vlockstep: Command, tmp_path: Path) -> None:
    """A guest without exits, in an engine that never looks at signals."""
    log = tmp_path / "x.vlog"
    command = argv("record", "sort", "-o", log, "--", "--rounds=100000")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    _wait_for(lambda: len(list(Path(f"/proc/{process.pid}/task").iterdir())) > 1)  # the guest's
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f"{log}: 0 entries" in err


def _wait_for(condition: object, limit: float = 20) -> None:
    deadline = time.monotonic() + limit
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


POSITIONS = [
    "entry:0",
    "entry:7",
    "exits:0",
    "exits:5",
    "exits:5+1",
    "exits:0+40",
]


@pytest.mark.parametrize("until", POSITIONS)
def test_until_is_exact(vlockstep: Command, tmp_path: Path, until: str) -> None:
    log = tmp_path / "x.vlog"
    vlockstep("record", "clock", "-o", log, "--", "--reads=100")
    first, second = (
        json.loads(vlockstep("replay", log, "--until", until, "--json").out) for _ in range(2)
    )
    assert first == second
    assert first["end"] == "until"
    if not until.startswith("entry"):
        assert first["position"] == until
    assert any(line.startswith("=>") for line in first["code"])
    plain = vlockstep("replay", log, "--until", until).out
    assert f"{int(first['registers']['rip'], 16):016x}" in plain
    assert first["memory_digest"] in plain
    assert "=> " in plain


def test_until_an_interrupt(vlockstep: Command, tmp_path: Path) -> None:
    log = tmp_path / "x.vlog"
    vlockstep("record", "preempt", "-o", log, "--", "--work=100000", "--period=50000")
    lines = vlockstep("log", "show", log, "--json").out.splitlines()[1:]
    entry = next(e for e in map(json.loads, lines) if e["kind"] == "interrupt")
    at_entry = json.loads(
        vlockstep("replay", log, "--until", f"entry:{entry['sequence']}", "--json").out
    )
    at_position = json.loads(vlockstep("replay", log, "--until", entry["position"], "--json").out)
    assert at_entry["position"] == entry["position"] == at_position["position"]
    assert at_entry["registers"] == at_position["registers"]
    assert at_entry["memory_digest"] == at_position["memory_digest"]


def test_until_writes_a_core(vlockstep: Command, hello_log: Path, tmp_path: Path) -> None:
    result = vlockstep("replay", hello_log, "--until", "exits:1", "--dumpcore", tmp_path / "cores")
    (core,) = (tmp_path / "cores").iterdir()
    assert str(core) in result.out


@pytest.mark.parametrize(
    ("until", "message"),
    [
        ("entry:3", "entry:3 is not in"),
        ("exits:99", "exits:99 is not in"),
        ("exits:1+99999", "exits:1+99999 does not exist"),
        ("entry:", "names no entry"),
        ("entry:-1", "names no entry"),
        ("entry:²", "names no entry"),
        ("exits:x", "is not a position"),
        ("12", "is not a position"),
        ("", "The value of --until is empty"),
    ],
)
def test_until_where_the_guest_never_is(
    vlockstep: Command, hello_log: Path, until: str, message: str
) -> None:
    result = vlockstep("replay", hello_log, "--until", until)
    assert (result.status, result.out) == (2, "")
    assert message in result.err


@pytest.fixture
def own(vlockstep: Command, tmp_path: Path) -> tuple[Path, Path]:
    """An image that is no bundled guest, and a log of it, recorded under a relative path."""
    image, log = tmp_path / "own.hvt", tmp_path / "own.vlog"
    image.write_bytes(bundled.open_bundled("hello").content + b"\0")
    assert vlockstep("record", image.name, "-o", log).status == 0
    return image, log


def test_an_image_is_found_where_it_was_recorded(
    vlockstep: Command, own: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, log = own
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = vlockstep("replay", log)
    assert (result.status, result.err) == (0, "")
    assert "own.hvt" in result.out
    assert f"own.hvt, recorded from {image} (" in vlockstep("log", "show", log).out
    assert replay(log).status == 0


def test_an_image_that_is_not_found(vlockstep: Command, own: tuple[Path, Path]) -> None:
    """What was tried is said; named, it is used."""
    image, log = own
    moved = image.rename(image.with_name("moved.hvt"))
    gone = vlockstep("replay", log)
    assert gone.status == 2
    assert f"cannot read image {image}: No such file or directory: name the image" in gone.err
    assert gone.err.endswith("(--image IMAGE)\n")
    with pytest.raises(UsageError, match=r"no bundled guest .* cannot read image .*own.hvt"):
        replay(log)
    image.write_bytes(bundled.open_bundled("sort").content)
    changed = vlockstep("replay", log)
    assert changed.status == 2
    assert f"and {image} has another content by now" in changed.err
    assert vlockstep("replay", log, "--image", moved).status == 0
    assert replay(log, image=load(moved)).status == 0
    wrong = vlockstep("replay", log, "--image", "hello")
    assert wrong.status == 2
    assert "hello.hvt is not the image the configuration names" in wrong.err
    assert vlockstep("replay", log, "--image", "none.hvt").status == 1


def test_a_log_that_does_not_tell_of_its_image(vlockstep: Command, own: tuple[Path, Path]) -> None:
    image, log = own
    with closing(LogReader(log)) as reader, LogWriter(log.with_name("old"), reader.config) as old:
        old.extend(list(reader.entries()))
    result = vlockstep("replay", "old")
    assert result.status == 2
    assert "and it does not tell where that lay: name the image (--image IMAGE)" in result.err
    assert vlockstep("replay", "old", "--image", image).status == 0


def test_the_path_of_an_image_may_be_any(vlockstep: Command, tmp_path: Path) -> None:
    image = Path(os.fsdecode(b"caf\xe9.hvt"))
    image.write_bytes(bundled.open_bundled("hello").content + b"\0")
    assert vlockstep("record", image, "-o", "own.vlog").status == 0
    with closing(LogReader(Path("own.vlog"))) as reader:
        assert reader.image == tmp_path / image
    assert vlockstep("replay", "own.vlog").status == 0
    assert vlockstep("log", "show", "own.vlog").status == 0
    assert vlockstep("log", "show", "own.vlog", "--json").status == 0


def test_a_local_disk_of_larger_blocks(vlockstep: Command, disk: Path) -> None:
    """A replay has them from the log; the guest is refused its blocks of 512 bytes again."""
    copy = disk.with_name("copy.img")
    copy.write_bytes(disk.read_bytes())
    words = ["--block", f"disk={disk},local", "--block-sector-size", "disk=4096"]
    done = vlockstep("record", "ledger", "-o", "a.vlog", *words, "--", "--lines=2", "--pause=0")
    assert done.status == 1
    result = vlockstep("replay", "a.vlog", "--block", f"disk={copy},local")
    assert (result.status, result.err) == (0, "")
    assert "the guest halted with status 1" in result.out

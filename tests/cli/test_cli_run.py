"""`vlockstep run`, `guests`, and what goes for every command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_command import Command, argv, environment, run_process, shell
from support import crash, make_image

import vlockstep as api
from vlockstep.machine import bundled

COMMANDS = [
    *(["run"], ["record"], ["replay"], ["log", "show"], ["guests"], ["demo"], ["keys", "new"]),
    *(["cpu", "list"], ["cpu", "show"], ["cpu", "check"], ["disk", "create"], ["disk", "info"]),
    *(["disk", "convert"], ["disk", "resize"]),
    *(["primary"], ["secondary"], ["switchover"], ["switch"]),
]


def test_the_guest_has_stdout_and_its_status_is_the_exit_status() -> None:
    result = run_process("run", "hello", "--", "--status=7", "two", "words")
    assert (result.status, result.err) == (7, "")
    assert result.out == "Hello from vlockstep\n--status=7 two words\n"


def test_console_file_replaces_what_was_there(vlockstep: Command, tmp_path: Path) -> None:
    console = tmp_path / "console.txt"
    console.write_text("old text that is longer than what the guest says" * 3)
    assert vlockstep("run", "hello", "--console", console).out == ""
    assert console.read_text() == "Hello from vlockstep\n"


def test_json_goes_to_stderr(vlockstep: Command) -> None:
    result = vlockstep("run", "hello", "--json")
    end = json.loads(result.err)
    assert result.out == "Hello from vlockstep\n"
    assert (end["end"], end["status"], end["position"]) == ("halt", 0, "exits:1")


def test_guest_error_is_reported(vlockstep: Command) -> None:
    result = vlockstep("run", "fault", "--", "--kind=noidt")
    assert result.status == 1
    assert result.err.startswith("vlockstep: guest error: invalid opcode (#6)")
    assert "rip 0" in result.err and "=> " in result.err and "ud2" in result.err


def test_guest_error_as_json(vlockstep: Command) -> None:
    result = vlockstep("run", "fault", "--json", "--", "--kind=noidt")
    end = json.loads(result.err)
    assert (result.status, end["end"], end["status"]) == (1, "error", 1)
    assert any(line.startswith("=>") for line in end["code"])


def test_disk_is_written(vlockstep: Command, disk: Path) -> None:
    result = vlockstep("run", "ledger", "--block", f"disk={disk}", "--", "--lines=5", "--pause=0")
    assert result.status == 0
    assert disk.read_bytes().startswith(b"VLEDGER1")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nosuch"], 1, "neither a file nor a bundled guest (abi, clock"),
        (["./hello"], 1, "cannot read image hello: No such file"),
        (["/"], 1, "cannot read image"),
        (["junk"], 1, "junk: no Solo5 image"),
        (["hello", "--mem", "3"], 2, "guest memory of 3 MiB: give a multiple of 2"),
        (["hello", "--mem", "0"], 2, "guest memory of 0 MiB"),
        (["hello", "--mem", "99999999"], 2, "guest memory of"),
        (["hello", "--mem", "much"], 2, "--mem"),
        (["hello", "--cpu", "phenom", "--cpu-limit", "westmere"], 2, "has abm, sse4a, mmxext, "),
        (["hello", "--cpu", "i486"], 2, "no CPU model 'i486'; there are qemu64"),
        (["hello", "--bogus"], 2, "--bogus"),
        (["hello", "--status=3"], 2, "--status"),
        ([], 2, "IMAGE"),
        (["hello", "--block", "disk=disk.img"], 2, "no block device 'disk' (declared: none)"),
        (["ledger"], 2, "needs the device 'disk': give it a disk of that name (--block disk=PATH)"),
        (["ledger", "--block", "disc=disk.img"], 2, "'disc' (declared: disk)"),
        (["ledger", "--block", "disk"], 2, "'disk' names no disk: write --block NAME=PATH"),
        (["ledger", "--block", "=x"], 2, "names no disk"),
        (["ledger", "--block", "disk=,local"], 2, "names no disk"),
        (["ledger", "--block", "disk=none.img"], 1, "make one with: truncate -s 1M FILE"),
        (["ledger", "--block", "disk=/"], 1, "device 'disk': cannot open the disk /"),
        (["ledger", "--block", "disk=empty"], 2, "device 'disk': the disk empty is 0 bytes"),
        (["ledger", "--block", "disk=junk"], 2, "device 'disk': the disk junk is 5 bytes"),
        (
            ["ledger", "--block", "disk=disk.img", "--block", "disk=disk.img,local"],
            2,
            "the device 'disk' is given twice",
        ),
        (["hello", "--", "x" * 8192], 2, "command line is 8192 bytes long; the limit is 8191"),
        (["hello", "--console", "none/x"], 1, "cannot open the console file none/x"),
        (
            ["ledger", "--block", "disk=disk.img", "--console", "./disk.img"],
            2,
            "the console file disk.img is used otherwise",
        ),
    ],
)
def test_what_cannot_be_run(
    vlockstep: Command, disk: Path, arguments: list[str], status: int, message: str
) -> None:
    Path("junk").write_text("junk\n")
    Path("empty").touch()
    result = vlockstep("run", *arguments)
    assert result.status == status
    assert message in result.err
    assert result.out == ""
    assert disk.read_bytes() == bytes(64 << 10)


def test_longest_command_line_fits(vlockstep: Command) -> None:
    result = vlockstep("run", "hello", "--", "x" * 8191)
    assert (result.status, len(result.out.splitlines()[1])) == (0, 8191)


def test_argument_that_is_not_utf8() -> None:
    result = run_process("run", "hello", "--", b"caf\xe9".decode(errors="surrogateescape"))
    assert (result.status, result.err) == (
        2,
        "vlockstep: the guest's command line is not valid UTF-8\n",
    )


def test_a_bundled_guest_goes_before_a_file(vlockstep: Command) -> None:
    """Which is named by its path, and does not become the guest's otherwise."""
    file = Path("hello")
    file.write_bytes(bundled.open_bundled("sort").content)
    assert vlockstep("run", "hello").out == "Hello from vlockstep\n"
    for named in ("./hello", file.absolute()):
        assert "sort" in vlockstep("run", named, "--", "--n=1000", "--rounds=1").out
    assert vlockstep("run", "hello", "--console", file).status == 0
    assert file.read_text() == "Hello from vlockstep\n"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (b"#!/bin/sh\nexit 0\n", r"it begins with b'#!/bin/sh\nexit 0'"),
        (b"\x7fELF" + bytes(9), "not a valid ELF file"),
    ],
)
def test_a_file_that_is_no_image(vlockstep: Command, content: bytes, what: str) -> None:
    Path("hello").write_bytes(content)
    result = vlockstep("run", "./hello")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("vlockstep: hello")
    assert what in result.err


def test_guests(vlockstep: Command) -> None:
    plain = vlockstep("guests")
    names = [line.split()[0] for line in plain.out.splitlines()[1:]]
    assert names == bundled.names()
    rows = json.loads(vlockstep("guests", "--json").out)
    assert [row["name"] for row in rows] == names
    assert all(row["description"] for row in rows), "every bundled guest has a description"
    assert {row["name"]: row["devices"] for row in rows}["ledger"] == {"disk": "block"}
    assert max(map(len, plain.out.splitlines())) > 80, "data is not wrapped"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_shows_an_example(vlockstep: Command, command: list[str]) -> None:
    result = vlockstep(*command, "--help")
    assert (result.status, result.err) == (0, "")
    assert f"Example: vlockstep {' '.join(command)}" in result.out


def test_help_imports_no_cpu() -> None:
    code = "import sys; sys.argv = ['vlockstep', 'run', '--help']\n"
    code += "import atexit; from vlockstep.cli import main\n"
    code += "heavy = {'unicorn', 'capstone', 'elftools', 'msgpack', 'zmq'}\n"
    code += "atexit.register(lambda: print('heavy', sorted(heavy & set(sys.modules))))\n"
    code += "main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment()
    )
    assert done.stdout.endswith("heavy []\n")


def test_version(vlockstep: Command) -> None:
    assert vlockstep("--version").out == f"vlockstep {api.__version__}\n"


def test_public_names() -> None:
    for name in api.__all__:
        assert getattr(api, name).__name__ == name or name in ("Entry",)
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = api.nosuch  # type: ignore[attr-defined]


def test_reader_that_goes_away() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        argv("guests"), stdout=write, stderr=subprocess.PIPE, text=True, env=environment()
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_full_output_device() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            argv("guests"), stdout=full, stderr=subprocess.PIPE, text=True, env=environment()
        )
    assert done.returncode == 1
    assert done.stderr == "vlockstep: cannot write the output: No space left on device\n"


def test_closed_stdout(disk: Path) -> None:
    """The disk must not become standard output."""
    ledger = ["run", "ledger", "--block", f"disk={disk}"]
    words = ["--", "--lines=2", "--pause=0"]
    unheard = shell('exec "$@" >&-', argv(*ledger, *words))
    reason = "cannot write to the console: Bad file descriptor"
    assert (unheard.returncode, unheard.stderr) == (1, f"vlockstep: {reason}\n")
    assert disk.read_bytes() == bytes(64 << 10)
    heard = shell('exec "$@" >&-', argv(*ledger, "--console", disk.with_suffix(".txt"), *words))
    assert (heard.returncode, heard.stderr) == (0, "")
    assert disk.read_bytes()[0:1024:512] == b"VV"
    lost = shell('exec "$@" >&-', argv("guests"))
    reason = "cannot write the output: Bad file descriptor"
    assert (lost.returncode, lost.stderr) == (1, f"vlockstep: {reason}\n")
    assert shell('exec "$@" 2>&-', argv("run", "nosuch")).returncode == 1


@pytest.mark.parametrize(("kind", "status"), [("pointer", 1), ("ud", 255)])
def test_a_core_that_cannot_be_written(
    vlockstep: Command, tmp_path: Path, kind: str, status: int
) -> None:
    file = tmp_path / "file"
    file.touch()
    plain = vlockstep("run", "fault", "--", f"--kind={kind}")
    told = vlockstep("run", "fault", "--json", "--dumpcore", file, "--", f"--kind={kind}").err
    assert json.loads(told)["core_problem"].startswith("cannot write the core file")
    result = vlockstep("run", "fault", "--dumpcore", file, "--", f"--kind={kind}")
    assert (result.status, result.out) == (plain.status, plain.out) and plain.status == status
    problem = f"cannot write the core file {file}/core.fault.hvt."
    assert result.err.startswith(plain.err.rstrip()) and result.err.count(problem) == 1
    log = tmp_path / "fault.vlog"
    vlockstep("record", "fault", "-o", log, "--", f"--kind={kind}")
    result = vlockstep("replay", log, "--dumpcore", file)
    assert result.status == 0 and (result.out + result.err).count(problem) == 1
    told = vlockstep(
        "record", "fault", "-o", log, "--json", "--dumpcore", file, "--", f"--kind={kind}"
    )
    assert json.loads(told.err)["core_problem"].startswith("cannot write the core file")
    told = vlockstep("replay", log, "--json", "--dumpcore", file)
    assert (told.err, bool(json.loads(told.out)["core_problem"])) == ("", True)


def test_a_core_is_private(vlockstep: Command, tmp_path: Path) -> None:
    vlockstep("run", "fault", "--dumpcore", tmp_path, "--", "--kind=pointer")
    (core,) = tmp_path.iterdir()
    assert core.stat().st_mode & 0o777 == 0o600


@pytest.mark.external("gdb")
@pytest.mark.parametrize(
    ("kind", "function"),
    [("noidt", "raise_noidt"), ("ud", "trap_dispatch")],
    ids=["guest error", "guest aborts"],
)
def test_gdb_opens_the_core(vlockstep: Command, tmp_path: Path, kind: str, function: str) -> None:
    image = tmp_path / "fault.hvt"
    image.write_bytes(bundled.open_bundled("fault").content)
    cores = tmp_path / "cores"
    result = vlockstep("run", image, "--mem", 16, "--dumpcore", cores, "--", f"--kind={kind}")
    (core,) = cores.iterdir()
    assert f"core written to {core}" in result.err
    commands = ["-ex", "info registers rip", "-ex", "bt"]
    done = subprocess.run(
        ["gdb", "-nx", "-batch", *commands, str(image), str(core)], capture_output=True, text=True
    )
    assert re.search(rf"rip +0x\w+ +0x\w+ <{function}\+\d+>", done.stdout)
    assert re.search(rf"#0  0x\w+ in {function} \(\)", done.stdout)


def test_a_guest_that_crashes_the_engine(vlockstep: Command, tmp_path: Path) -> None:
    image, cores = tmp_path / "crashing.hvt", tmp_path / "cores"
    image.write_bytes(make_image(crash()).content)
    result = vlockstep("run", image, "--dumpcore", cores)
    assert result.status == 1
    assert "guest error: the CPU engine crashed (SIGABRT) at exits:0\n" in result.err
    assert "lcall 0x2b, 0" in result.err and "core written to" in result.err
    log = tmp_path / "a.vlog"
    assert vlockstep("record", image, "-o", log).status == 1
    replayed = vlockstep("replay", log)
    assert replayed.status == 0 and "the CPU engine crashed (SIGABRT)" in replayed.out

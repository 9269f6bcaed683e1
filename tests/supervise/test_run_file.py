"""Guests that are started from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import run_command

from vlockstep.wire import keys as key_files


def write(directory: Path, text: str) -> Path:
    path = directory / "guest.toml"
    path.write_text(text)
    return path


def test_run(tmp_path: Path) -> None:
    path = write(tmp_path, 'image = "hello"\narguments = ["--status=3", "x"]\nmemory = 16\n')
    done = run_command("run", path)
    assert (done.returncode, done.stdout) == (3, "Hello from vlockstep\n--status=3 x\n")


def test_an_option_wins(tmp_path: Path) -> None:
    path = write(tmp_path, 'image = "hello"\nconsole = "console.txt"\narguments = ["x"]\n')
    done = run_command("run", path, "--console", "-", "--", "--status=0")
    assert (done.returncode, done.stdout) == (0, "Hello from vlockstep\n--status=0\n")
    assert run_command("run", path).stdout == ""
    assert (tmp_path / "console.txt").read_text() == "Hello from vlockstep\nx\n"


def test_record(tmp_path: Path) -> None:
    path = write(tmp_path, 'image = "hello"\nmemory = 16\n')
    log = tmp_path / "hello.vlog"
    assert run_command("record", path, "-o", log).returncode == 0
    assert run_command("replay", log).returncode == 0


@pytest.mark.parametrize("command", ["run", "primary"])
def test_a_replica(tmp_path: Path, command: str) -> None:
    """The secondary never comes."""
    role = 'role = "primary"\n' if command == "run" else ""
    text = f'image = "hello"\n{role}arbiter = "arbiter"\nendpoint = "tcp://127.0.0.1:0"\n'
    path = write(tmp_path, f"{text}[timing]\nwait = 0\n")
    done = run_command(command, path)
    assert done.returncode == 1
    assert "waiting for a secondary at tcp://127.0.0.1:" in done.stderr
    assert (tmp_path / "arbiter").is_dir()
    refused = run_command("secondary", path)
    if command == "run":
        assert f"{path}: role: the file says 'primary'" in refused.stderr
        assert refused.returncode == 2


@pytest.mark.parametrize(
    ("command", "text", "message", "status"),
    [
        ("run", 'image = "ledger"', "disk.disk: ledger.hvt needs the device 'disk'", 2),
        ("run", 'image = "hello"\nmemory = 3', "memory: guest memory of 3 MiB", 2),
        ("run", 'image = "hello"\nlog = "x"', "log: a guest that only runs keeps no log", 2),
        ("run", 'image = "ledger"\ndisk.disk.path = "none"', "disk.disk: device 'disk': cannot", 1),
        ("run", 'image = "hello"\n[disk.x]\npath = "x"', "disk.x: hello.hvt declares no block", 2),
        ("run", 'image = "hello"\ncpu = "z80"', "cpu: no CPU model 'z80'; there are qemu64", 2),
        (
            "run",
            'image = "hello"\ncpu = "phenom"\ncpu_limit = "westmere"',
            "cpu: the guest's CPU model phenom has abm, ",
            2,
        ),
        ("run", 'image = "hello"\ncpu_limit = "z80"', "cpu_limit: no CPU model 'z80'; there", 2),
        ("primary", 'image = "hello"', "arbiter: a primary needs an arbiter", 2),
        (
            "primary",
            'image = "hello"\narbiter = "a"\ntest.crash = "x"',
            "test.crash: 'x' is no place: write entry:N",
            2,
        ),
        (
            "primary",
            'image = "hello"\narbiter = "a"\ntest.stop = ["time:5"]',
            "test.stop: a guest stops at entry:N or exits:N, not at time:5",
            2,
        ),
        (
            "primary",
            'image = "hello"\narbiter = "a"\nendpoint = "x"',
            "endpoint: 'x' is no addr",
            2,
        ),
        ("primary", 'image = "hello"\narbiter = "a"\nkeys = "k"', "keys: ", 2),
        (
            "record",
            'image = "hello"\nrole = "primary"\narbiter = "a"',
            "role: a recording is of",
            2,
        ),
    ],
)
def test_what_is_wrong_names_file_and_key(
    tmp_path: Path, command: str, text: str, message: str, status: int
) -> None:
    path = write(tmp_path, text)
    log = ["-o", tmp_path / "log"] if command == "record" else []
    done = run_command(command, path, *log)
    assert (done.returncode, done.stdout) == (status, "")
    assert f"{path}: {message}" in done.stderr
    assert "--" not in done.stderr, "nobody gave an option"
    assert "Traceback" not in done.stderr


def test_every_address_is_none_at_which_others_reach_a_secondary(tmp_path: Path) -> None:
    key_files.create(tmp_path / "keys")
    options = ["--arbiter", tmp_path / "arbiter", "--keys", tmp_path / "keys"]
    for everywhere in ("tcp://0.0.0.0:0", "tcp://*:7701", "tcp://[::]:0"):
        refused = run_command("secondary", "hello", *options, "--listen", everywhere)
        assert refused.returncode == 2
        assert f"{everywhere} is every address of this host" in refused.stderr
        assert "(--listen ENDPOINT)" in refused.stderr


def test_what_is_wrong_in_an_option_names_it(tmp_path: Path) -> None:
    path = write(tmp_path, 'image = "ledger"\nmemory = 3\n[disk.disk]\npath = "none"\n')
    refused = run_command("run", path, "--block", "disk=nothing").stderr
    assert refused.startswith("vlockstep: device 'disk': ") and "(--block disk=PATH)" in refused
    disk = tmp_path / "none"
    disk.write_bytes(bytes(512))
    assert f"{path}: memory: " in run_command("run", path).stderr
    assert "(--mem MB)" in run_command("run", path, "--mem", 5).stderr
    assert "(--arbiter DIR)" in run_command("primary", "hello").stderr
    refused = run_command("run", "hello", "--block", "x=y")
    assert "declares no block device 'x' (declared: none) (--block x=PATH)" in refused.stderr

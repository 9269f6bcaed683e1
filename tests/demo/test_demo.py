"""`vlockstep demo` as a newcomer runs it, and what is left when it is interrupted."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import run_command
from demo_command import judged

from vlockstep.testing.process import command, environment

CHECKS = ["failover", "console", "disk", "end state"]
CONTROL = re.compile(r"[^\n -~“”…]")


def processes_naming(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_kill_before_an_entry_is_sent() -> None:
    done = run_command("demo", "--lines", 40, "--kill", "at=entry:60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert judged(done.stdout) == dict.fromkeys(CHECKS, "ok")
    order = ["A is to be killed (SIGKILL) at entry:60", "A is process", "A runs the guest"]
    order += ["!! A is killed at entry:60", "connection to the primary was lost", ">> B is live"]
    assert sorted(order, key=done.stdout.index) == order
    assert re.search(r"B is live as generation 2, \d+ ms later", done.stdout)
    assert re.search(r"^log: \d+ bytes, [\d.]+ KiB/s; B was at most", done.stdout, re.M)
    assert done.stderr == ""
    assert CONTROL.findall(done.stdout) == []


def test_pause_and_come_back_too_late() -> None:
    done = run_command("demo", "--lines", 40, "--pause", "--seed", 5)
    assert done.returncode == 0, done.stdout + done.stderr
    assert judged(done.stdout) == dict.fromkeys([*CHECKS, "old primary"], "ok")
    assert done.stdout.splitlines()[1].endswith("(seed 5).")
    assert "A stops: generation 2 belongs to another replica" in done.stdout


def test_json_is_one_object_of_facts(tmp_path: Path) -> None:
    done = run_command("demo", "--lines", 30, "--seed", 9, "--json", "--keep", tmp_path / "kept")
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert facts["ok"] and facts["struck"] and facts["seed"] == 9
    assert facts["arguments"] == ["--lines=30"]
    assert facts["failover_ms"] > 0 and facts["generation"] == 2 and facts["status"] == 0
    assert [check["name"] for check in facts["checks"] if check["ok"]] == CHECKS
    assert facts["directory"] == str(tmp_path / "kept")
    assert (tmp_path / "kept" / "console.txt").read_bytes().count(b"\n") == 31
    assert facts["log_bytes"] == (tmp_path / "kept" / "secondary.vlog").stat().st_size


def test_another_guest_with_arguments_of_its_own() -> None:
    done = run_command("demo", "--guest", "hello", "--", "--status=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert judged(done.stdout) == dict.fromkeys(["failover", "console", "end state"], "ok")
    assert "B: the guest ended with status 3" in done.stdout


def test_a_guest_that_refuses_its_arguments_is_quoted(tmp_path: Path) -> None:
    done = run_command("demo", "--", "figure1", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "vlockstep: the guest ended with status 2 before A could be killed; "
        "it said: unknown option: figure1\n"
    )
    assert judged(done.stdout) == {}
    assert list(tmp_path.iterdir()) == []


def test_in_ascii() -> None:
    done = run_command("demo", "--guest", "hello", "--kill", "write:0", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert 'A is killed at write:0, after "Hello from"\n' in done.stdout and done.stdout.isascii()


def test_a_fault_that_never_strikes_proves_nothing(tmp_path: Path) -> None:
    done = run_command("demo", "--lines", 10, "--kill", "write:9999", TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert judged(done.stdout) == dict.fromkeys(CHECKS, "ok") | {"failover": "FAILED"}
    (kept,) = tmp_path.iterdir()
    assert f"1 of 4 checks FAILED; the files are in {kept}\n" in done.stdout


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A demonstration in the middle, its primary stopped."""
    options = ("--lines", 9999, "--pause", "--kill", "write:20", "--keep", tmp_path / "kept")
    with subprocess.Popen(
        command("demo", *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"B is live" in line:
                break
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_no_replica_is_left_behind(
    running: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    assert len(processes_naming(str(tmp_path))) == 3
    running.send_signal(number)
    assert running.wait(10) == status
    deadline = time.monotonic() + 5
    while processes_naming(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_naming(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kill", "nowhere"), "'nowhere' is no place"),
        (("--", "--lines=5"), "not to its guest (--lines N)"),
        (("--keep", "."), ". is not empty"),
        (("--lines", "9999999"), "9999999 is not in the range"),
        (("--mem", "0"), "guest memory of 0 MiB: give a multiple of 2"),
    ],
)
def test_refusals(
    options: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    done = run_command("demo", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

"""What goes for every program: its streams, Ctrl-C, and errors that are not its output's."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from cli_command import Command, argv, environment, shell

from vlockstep.demo.guard import Guard
from vlockstep.errors import HostError

TOOLS = ["vlockstep.sim", "vlockstep.testing.faults", "vlockstep.testing.soak", "benchmarks"]
IGNORE_SIGINT = "trap '' INT; "


def program(body: str) -> list[str]:
    """One of ours that does this."""
    code = f"import os, sys; from vlockstep import program; sys.exit(program.run(lambda: {body}))"
    return [sys.executable, "-c", code]


def test_closed_stdin() -> None:
    done = shell('exec "$@" <&-', program("print(repr(sys.stdin.readline()))"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "''\n", "")


@pytest.mark.parametrize(("before", "status"), [("", -signal.SIGINT), (IGNORE_SIGINT, 7)])
def test_ctrl_c_while_the_command_is_imported(tmp_path: Path, before: str, status: int) -> None:
    interrupt = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit(7)"
    (tmp_path / "typer.py").write_text(interrupt)
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    done = shell(f'{before} exec "$@"', argv("guests"), PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (status, "")


def test_ctrl_c_later() -> None:
    done = shell('exec "$@"', program("os.kill(os.getpid(), 2)"))
    assert (done.returncode, done.stderr) == (130, "")


def test_a_command_that_cannot_say_a_word(tmp_path: Path) -> None:
    record = argv("record", "hello", "-o", tmp_path / "hello.vlog", "--", "--status=3")
    done = shell('"$@" 2>/dev/full', record)
    assert (done.returncode, done.stdout) == (3, "Hello from vlockstep\n--status=3\n")


@pytest.mark.parametrize("module", TOOLS)
def test_ctrl_c_in_a_tool(module: str) -> None:
    code = "import argparse, os, runpy\n"
    code += "argparse.ArgumentParser.parse_args = lambda *_: os.kill(os.getpid(), 2)\n"
    code += f"runpy.run_module({module!r}, run_name='__main__')"
    done = shell('exec "$@"', [sys.executable, "-c", code])
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("module", TOOLS)
def test_output_of_a_tool(module: str) -> None:
    command = [sys.executable, "-m", module, "--help"]
    full = shell('"$@" >/dev/full', command, PYTHONUNBUFFERED="")
    reason = "cannot write the output: No space left on device"
    assert (full.returncode, full.stderr) == (1, f"vlockstep: {reason}\n")
    read, write = os.pipe()
    os.close(read)
    gone = shell('"$@"', command, write, PYTHONUNBUFFERED="")
    os.close(write)
    assert (gone.returncode, gone.stderr) == (1, "")


def test_log_that_is_a_pipe(hello_log: Path) -> None:
    for command in (["log", "show"], ["replay"]):
        done = shell(f'cat {hello_log} | "$@"', argv(*command, "/dev/stdin"))
        assert (done.returncode, done.stdout, done.stderr) == (
            1,
            "",
            "vlockstep: cannot read the log /dev/stdin: it must be a regular file\n",
        )
    assert shell(f'"$@" <{hello_log}', argv("log", "show", "/dev/stdin")).returncode == 0


def test_huge_numbers_of_entries(vlockstep: Command, hello_log: Path) -> None:
    for option in ("--from", "--count"):
        result = vlockstep("log", "show", hello_log, option, 1 << 64)
        assert (result.status, result.out) == (2, "")
        assert option in result.err and "is not in the range" in result.err
    most = 10**15
    far = vlockstep("log", "show", hello_log, "--from", most, "--count", most)
    assert (far.status, f"there is none from {most} on" in far.err) == (2, True)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_only_what_our_output_meets_is_called_so(unbuffered: str) -> None:
    full = shell('"$@" >/dev/full', program("print(1)"), PYTHONUNBUFFERED=unbuffered)
    reason = "cannot write the output: No space left on device"
    assert (full.returncode, full.stderr) == (1, f"vlockstep: {reason}\n")
    other = shell('"$@"', program("open('/nowhere')"), PYTHONUNBUFFERED=unbuffered)
    assert (other.returncode, other.stderr) == (
        1,
        "vlockstep: /nowhere: No such file or directory\n",
    )


def test_guard_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(HostError, match="cannot start a process for the demo: No such file"):
        Guard().__enter__()


@pytest.fixture(params=["ascii", "utf-8", "latin-1"])
def encoding(request: pytest.FixtureRequest) -> dict[str, str]:
    """A terminal that has not all characters; UTF-8 has none for the bytes of an odd file name."""
    name = request.param
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    return {"PYTHONIOENCODING": name} | (locale if name == "ascii" else {})


def test_a_file_name_that_is_no_text(tmp_path: Path, encoding: dict[str, str]) -> None:
    name = "odd\udce9.vlog"
    log, script = f"{tmp_path}/{name}", 'exec "$@"'
    recorded = shell(script, argv("record", "hello", "-o", log), **encoding)
    assert (recorded.returncode, recorded.stdout) == (0, "Hello from vlockstep\n")
    shown = shell(script, argv("log", "show", log), **encoding)
    assert (shown.returncode, shown.stderr) == (0, "")
    replayed = shell(script, argv("replay", log, "--until", "entry:9"), **encoding)
    assert replayed.returncode == 2
    missing = shell(script, argv("run", name), **encoding)
    assert missing.returncode == 1
    for said in (recorded.stderr, shown.stdout, replayed.stderr, missing.stderr):
        assert "odd\\udce9.vlog" in said and "Traceback" not in said


def test_what_has_no_character_of_its_own() -> None:
    done = shell('"$@"', program("print('“ü” ≤ 3 … ✓')"), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, '"\\xfc" <= 3 ... ok\n', "")


@pytest.mark.parametrize("command", [["guests"], ["nosuch-ü"], ["run", "ü"], ["--help"]])
def test_commands_in_ascii(command: list[str]) -> None:
    done = shell('"$@"', argv(*command), PYTHONIOENCODING="ascii")
    assert done.stdout.isascii() and "Traceback" not in done.stderr

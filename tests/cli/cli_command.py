"""The command as a process."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


Command = Callable[..., Result]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def argv(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "vlockstep", *map(str, arguments)]


def run_process(*arguments: object, **options: object) -> Result:
    done = subprocess.run(
        argv(*arguments), capture_output=True, text=True, env=environment(), timeout=60, **options
    )  # type: ignore[call-overload]
    return Result(done.returncode, done.stdout, done.stderr)


def shell(
    script: str, command: list[str], stdout: int = subprocess.PIPE, **environ: str
) -> subprocess.CompletedProcess[str]:
    """The command as "$@" of a script."""
    return subprocess.run(
        ["/bin/sh", "-c", script, "sh", *command],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        env=environment() | environ,
    )


def in_terminal(*arguments: object, stdout: bool = True, stderr: bool = True) -> Result:
    """The command with a terminal as those of its streams; what both wrote, one after the other."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        argv(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout else subprocess.PIPE,
        stderr=theirs if stderr else subprocess.PIPE,
        env=environment() | {"TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"},
    )
    os.close(theirs)
    seen = b""
    try:
        while data := os.read(ours, 1 << 16):
            seen += data
    except OSError:  # so a terminal ends on Linux
        pass
    os.close(ours)
    piped = [pipe.read() for pipe in (process.stdout, process.stderr) if pipe is not None]
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    text = re.sub(r"\x1b\[[\d;]*m", "", seen.decode())
    return Result(process.wait(), text, b"".join(piped).decode())

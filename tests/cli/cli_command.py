"""The command as a process."""

from __future__ import annotations

import os
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

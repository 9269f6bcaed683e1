"""The command as a process that is waited for."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from vlockstep.testing.process import TIMEOUT, command, environment


def run_command(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env=environment() | environ,
        timeout=60,
    )


def wait_until(holds: Callable[[], object]) -> None:
    """Looks again and again, and leaves the CPUs to those who are waited for."""
    deadline = time.monotonic() + TIMEOUT
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)

"""The command as a process that is waited for."""

from __future__ import annotations

import subprocess

from vlockstep.testing.process import command, environment


def run_command(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env=environment() | environ,
        timeout=60,
    )

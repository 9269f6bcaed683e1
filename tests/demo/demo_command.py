"""The command as a process, and what it says."""

from __future__ import annotations

import re
import subprocess

from vlockstep.testing.process import command, environment


def run(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env=environment() | environ,
        timeout=60,
    )


def judged(out: str) -> dict[str, str]:
    """The verdict on each check, in plain output."""
    return dict(reversed(row) for row in re.findall(r"^(ok|FAILED) +(\w+(?: \w+)?)  ", out, re.M))

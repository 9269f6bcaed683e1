"""`vlockstep top` in a terminal."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cli_command import argv, environment, in_terminal
from commands import wait_until

from vlockstep.supervise.rundir import RunDirectory


def test_a_live_table(disk: Path, tmp_path: Path) -> None:
    os.truncate(disk, 1 << 20)
    directory = ["--run-dir", str(tmp_path / "run")]
    guest = subprocess.Popen(
        argv(
            *("run", "ledger", "--block", f"disk={disk}", "--name", "books", *directory),
            *("--", "--lines=2000", "--pause=50"),
        ),
        stdout=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        names = RunDirectory(tmp_path / "run").names
        wait_until(lambda: guest.poll() is not None or names())
        shown = in_terminal("top", "--interval", 0.2, "--count", 2, *directory)
    finally:
        guest.kill()
        guest.wait()
    assert shown.status == 0
    assert "┃ name" in shown.out and "│ books" in shown.out
    assert shown.out.count("│ books") >= 3, "each look is shown"
    empty = in_terminal("top", "--interval", 0.1, "--count", 1, *directory)
    assert empty.status == 0 and "books" not in empty.out

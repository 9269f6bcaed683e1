"""Who waits for a command in a terminal is told for what."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from cli_command import Command, in_terminal, run_process

from vlockstep.program import progress


def test_a_large_local_disk(
    vlockstep: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(progress, "INTERVALS", {True: 0.0, False: 0.0})
    disk = tmp_path / "disk.img"
    disk.touch()
    os.truncate(disk, 4 << 20)
    command = ["run", "ledger", "--block", f"disk={disk},local", "--", "--lines=1"]
    assert vlockstep(*command).err == "", "nor is there anything beside JSON"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    told = [f"device 'disk': {n} % of {disk} read for its digest" for n in (0, 25, 50, 75)]
    lines = vlockstep(*command).err.split("\r\033[K")
    assert lines == ["", *told, ""], "and then the line is empty again"


def test_a_switchover_that_nobody_answers(tmp_path: Path) -> None:
    nobody = f"ipc://{tmp_path}/nobody"
    seen = in_terminal("switchover", nobody, "--wait", 2)
    assert re.search(rf"connecting to {re.escape(nobody)}, \d s at most", seen.out)
    assert seen.out.rstrip().endswith(f"no answer from {nobody} within 2 s; does a pair run there?")
    piped = run_process("switchover", nobody, "--wait", 1)
    assert piped.err.startswith("vlockstep: no answer") and seen.status == piped.status == 1

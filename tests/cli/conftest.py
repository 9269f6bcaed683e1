"""The command as a function of this process, and what it is called with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from cli_command import Command, Result

from vlockstep.cli import main


@pytest.fixture
def vlockstep(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Calls the command in this process, in `tmp_path`. An escaped exception fails the test."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["vlockstep", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        status = end.value.code
        assert status is None or isinstance(status, int)
        return Result(status or 0, out, err)

    return call


@pytest.fixture
def hello_log(vlockstep: Command, tmp_path: Path) -> Path:
    """Three entries: two console texts, and the end with status 3."""
    path = tmp_path / "hello.vlog"
    assert vlockstep("record", "hello", "-o", path, "--mem", 16, "--", "--status=3").status == 3
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, 64 << 10)
    return path

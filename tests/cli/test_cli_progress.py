"""Long programs say how far they are."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from cli_command import Command, environment

from vlockstep.cli import execution
from vlockstep.program import progress
from vlockstep.sim.__main__ import main as simulate


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who watches wants to hear all there is."""
    monkeypatch.setattr(progress, "INTERVALS", {True: 0.0, False: 0.0})


def test_each_fault_is_told_when_it_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vlockstep.testing.faults", "wrong key"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    told = r"1 of 1: secondary with a wrong key: as it must be, \d+\.\d s\n"
    assert re.fullmatch(told, done.stderr)


@pytest.mark.usefixtures("impatient")
def test_a_simulation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["sim", "--seeds", "3"])
    with pytest.raises(SystemExit):
        simulate()
    told = [f"{n} executions, 0 went wrong" for n in (1, 2, 3)]
    assert capsys.readouterr().err.splitlines() == told


@pytest.mark.usefixtures("impatient")
def test_a_long_replay(vlockstep: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless its console is there, too."""
    monkeypatch.setattr(execution, "_TICK", 0.001)
    vlockstep("record", "sort", "-o", "sort.vlog", "--", "--n=100000", "--rounds=1")
    told = r"\d+ entries replayed and verified"
    assert re.match(told, vlockstep("replay", "sort.vlog").err)
    assert not re.search(told, vlockstep("replay", "sort.vlog", "--console", "-").err)

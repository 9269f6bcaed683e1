"""How far a long program is: a terminal is told in one line, others in lines of their own."""

from __future__ import annotations

import sys

import pytest

from vlockstep.program import progress
from vlockstep.program.progress import Progress


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who watches wants to hear all there is."""
    monkeypatch.setattr(progress, "INTERVALS", {True: 0.0, False: 0.0})


@pytest.mark.usefixtures("impatient")
def test_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    told = Progress()
    told.tell("1 of 2")
    told.tell("2 of 2")
    told.clear()
    assert capfd.readouterr().err == "1 of 2\n2 of 2\n"


@pytest.mark.usefixtures("impatient")
def test_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    told = Progress()
    told.tell("1 of 2")
    told.clear()
    told.clear()
    assert capsys.readouterr().err == "\r\033[K1 of 2\r\033[K"


@pytest.mark.parametrize("terminal", [False, True])
def test_who_is_fast_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    told = Progress()
    told.tell("all of it")
    told.clear()
    assert capsys.readouterr().err == ""

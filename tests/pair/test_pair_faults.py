"""The table of faults, and a soak of a few seconds; see `vlockstep.testing.faults` and `soak`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vlockstep.program import progress
from vlockstep.testing import soak
from vlockstep.testing.faults import FAULTS, Fault, deaths, run
from vlockstep.testing.faults.trial import KILLED, SHORT, Trial


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(
    fault: Fault, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if fault.missing:
        (pytest.fail if "CI" in os.environ else pytest.skip)(fault.missing)
    result = run(fault, tmp_path)
    record_property("fault", result.row())
    if result.error is not None:
        raise result.error


def test_fault_that_does_what_it_must_not(tmp_path: Path) -> None:
    """A table that never says no would prove nothing."""

    def inject(trial: Trial) -> str:
        return trial.ends(trial.pair(SHORT), KILLED, 0)

    result = run(Fault("none", "the primary dies", inject), tmp_path)
    assert result.row()["ok"] is False
    assert "primary=0" in result.did
    assert run(Fault("none", "", inject, needs=("no-such-program",)), tmp_path).ok is None


def test_soak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`python -m vlockstep.testing.soak` does it for 10 minutes, and tells how far it is."""
    monkeypatch.setattr(progress, "INTERVALS", {True: 0.0, False: 0.0})
    _, held = soak.swap_roles(tmp_path / "pair", seconds=2, warm_up=5)
    _, more = soak.inject_faults(tmp_path, seconds=1, faults=deaths.FAULTS[:1])
    told = capfd.readouterr().err
    assert re.search(r"^5 switchovers, \d s to go$", told, re.M)
    assert re.search(r"^1 faults injected, \d s to go$", told, re.M)
    for process in (*held, *more):
        assert process.grown() == []
        process.last = process.first._replace(descriptors=process.first.descriptors + 10)
        assert len(process.grown()) == 1


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "401", "ten"])
def test_soak_for_no_time(
    minutes: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["soak", f"--minutes={minutes}"])
    with pytest.raises(SystemExit) as end:
        soak.main()
    assert end.value.code == 2
    assert "--minutes" in capsys.readouterr().err


def test_soak_explains_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["soak", "--help"])
    with pytest.raises(SystemExit):
        soak.main()
    assert "Example: python -m vlockstep.testing.soak --minutes 2" in capsys.readouterr().out

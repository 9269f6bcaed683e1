"""`python -m vlockstep.cluster.sim`"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCENARIO = Path(__file__).parents[1] / "scenarios" / "guest-ends"


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vlockstep.cluster.sim", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_it_shows_a_scenario() -> None:
    done = call(SCENARIO)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (SCENARIO / "expected.log").read_text()


def test_it_shows_what_is_not_as_expected_and_takes_it_over(tmp_path: Path) -> None:
    folder = tmp_path / "scenario"
    shutil.copytree(SCENARIO, folder)
    expected = folder / "expected.log"
    before = expected.read_text()
    expected.write_text(before.replace("guest-ended", "guest-gone"))
    done = call(folder)
    assert done.returncode == 1
    assert "-5." in done.stdout and "guest-gone g1 a" in done.stdout
    assert call("--update", folder).returncode == 0
    assert expected.read_text() == before


def test_it_executes_random_schedules_and_one_that_is_given() -> None:
    assert "1 execution in" in call("--random", 1, "--seed", 4).stdout
    done = call("--schedule", "4; 1.5 crash a")
    assert done.returncode == 0
    assert "1.500 - crash a" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give folders of scenarios, or --random, or --schedule"),
        (("--random", 0), "--random must be at least 1"),
        (("--schedule", "x"), "a schedule begins with its seed"),
        (("--schedule", "1; 3 explode"), "there are the commands"),
        (("--schedule", "1; 3 crash z"), "there is no host 'z'"),
        (("/nowhere",), "cannot read the scenario /nowhere"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[object, ...], said: str) -> None:
    done = call(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr

"""What tests draw: a seed that is another in each run, and the examples of property tests, the same
in every run or others in each. All can be had again."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SEED = """
def test_seed(any_seed):
    with open("examples", "a") as file:
        print(any_seed, file=file)
    raise ValueError
"""
PROPERTY = """
from pathlib import Path
from hypothesis import given
from hypothesis import strategies as st

@given(st.integers(0, 1 << 64))
def test_property(number):
    with Path("examples").open("a") as file:
        print(number, file=file)
    assert number < 1000
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A property that does not hold, under the settings of these tests."""
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path)
    (tmp_path / "test_property.py").write_text(PROPERTY)
    return tmp_path


def run(project: Path, *options: str) -> tuple[list[str], str]:
    """The examples, and what pytest printed."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--exec",
        "test_property.py",
    ]
    done = subprocess.run([*command, *options], cwd=project, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    examples = (project / "examples").read_text().split()
    (project / "examples").unlink()
    return examples, done.stdout


def test_examples_are_the_same_in_every_run(project: Path) -> None:
    examples, out = run(project)
    assert examples == run(project)[0]
    assert "--hypothesis-seed" not in out


def test_what_was_explored_can_be_had_again_and_is_something_else_each_time(project: Path) -> None:
    """Also what a worker of pytest-xdist explored."""
    examples, out = run(project, "--hypothesis-profile=exploring", "-n", "1")
    (command,) = re.findall(r"for the same again: pytest (.*)", out)
    assert f"drawing with {command}" in out
    assert "@reproduce_failure" in out
    assert run(project, *command.split())[0] == examples
    assert run(project, "--hypothesis-profile=exploring")[0] != examples


def test_a_seed_can_be_had_again_and_is_another_each_time(project: Path) -> None:
    """Also in a worker of pytest-xdist, and where pytest is quiet."""
    (project / "test_property.py").write_text(SEED)
    seeds, out = run(project, "-q", "-n", "1")
    (command,) = re.findall(r"for the same again: pytest (.*)", out)
    assert command == f"--seed={seeds[0]}"
    assert run(project, command)[0] == seeds != run(project)[0]

"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def run(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=directory, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_of_tests_passes(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
    (tmp_path / "test_example.py").write_text(example)
    assert "2 passed" in run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider")


def test_the_place_to_replay_to_exists(tmp_path: Path) -> None:
    record, replay = re.findall(r"^(vlockstep re\w+ .*(?:-o|--until) \S+)", README, re.M)
    run(tmp_path, *record.split())
    assert "stopped, at exits:" in run(tmp_path, *replay.split())


def test_the_tests_end_with_the_closing_line_of_pytest() -> None:
    """By which those who run them judge."""
    (options,) = re.findall(r"-m pytest (.*)$", README, re.M)
    some = "tests/ft/test_messages.py"
    lines = run(ROOT, "pytest", *options.split(), "-p", "no:cacheprovider", some).splitlines()
    assert re.fullmatch(r"=+ \d+ passed in .* =+", lines[-1])

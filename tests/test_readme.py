"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
    some = "tests/ft/test_lead.py"
    lines = run(ROOT, "pytest", *options.split(), "-p", "no:cacheprovider", some).splitlines()
    assert re.fullmatch(r"=+ \d+ passed in .* =+", lines[-1])


@pytest.mark.parametrize("killed", ["primary", "secondary"])
def test_a_pair_by_hand(tmp_path: Path, killed: str) -> None:
    """The log of who survives holds the guest's whole life."""
    (text,) = re.findall(
        r"^(truncate -s .*\n\nvlockstep primary .*\nvlockstep second.*)$", README, re.M
    )
    text = text.replace("/tmp/", f"{tmp_path}/").replace("--lines=1000", "--lines=100")
    text = text.replace("tcp://127.0.0.1:7701", f"ipc://{tmp_path}/joining")
    text = text.replace(" --arbiter", f" --wait 20 {{}} ipc://{tmp_path}/channel --arbiter")
    truncate, _, *lines = text.format("--listen", "--connect").splitlines()
    subprocess.run(truncate.split(), check=True)
    replicas = {
        line.split()[1]: subprocess.Popen([sys.executable, "-m", *line.split()], cwd=tmp_path)
        for line in lines
    }
    try:
        console = tmp_path / "console.txt"
        while not console.exists() or b"ledger 000010" not in console.read_bytes():
            assert all(process.poll() is None for process in replicas.values())
            time.sleep(0.02)
        victim = replicas.pop(killed)
        victim.kill()
        victim.wait()
        ((survivor, process),) = replicas.items()
        assert process.wait(60) == 0
    finally:
        for process in replicas.values():
            process.kill()
    assert console.read_bytes().count(b"\n") == 101
    out = run(tmp_path, "vlockstep", "replay", f"{survivor}.vlog")
    assert "the guest halted with status 0" in out

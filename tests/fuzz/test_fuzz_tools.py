"""What the fuzzing stands on: a crash is seen, memory is guarded, seeds are right, and the command
says what it needs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from fuzz import command, image, log, messages
from fuzz.guest import MEMORY
from fuzz.targets import TARGETS, load
from fuzz.worker import Worker

from vlockstep.machine import image as images

ROOT = Path(__file__).parents[2]
TOUCH = f"""
import ctypes
from fuzz.bounded import GuardedMemory
memory = GuardedMemory({MEMORY})
memory.write(memory.size - 1, bytes([7]))
assert ctypes.c_char.from_address(memory.address + {MEMORY} - 1).value == b"\\7"
ctypes.c_char.from_address(memory.address + OFFSET).value
"""


@pytest.mark.parametrize("offset", [-1, -(1 << 30), MEMORY, MEMORY + (1 << 30) - 1])
def test_who_leaves_the_ram_dies(offset: int) -> None:
    code = TOUCH.replace("OFFSET", str(offset))
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=30)
    assert done.returncode == -signal.SIGSEGV


def test_a_worker_that_dies_is_a_finding_and_is_replaced() -> None:
    with closing(Worker("ports")) as worker:
        worker.check(b"")
        worker._process.kill()
        worker._process.wait()
        with pytest.raises(AssertionError, match="dies with status -9"):
            worker.check(b"")
        worker.check(b"")


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_takes_its_seeds_and_nothing_at_all(name: str) -> None:
    target = load(name)
    seeds = target.seeds()
    assert len(seeds) == len(set(seeds)) > 2
    for seed in [b"", *seeds[:20]]:
        target.check(seed)


def test_seeds_are_right() -> None:
    """Otherwise the mutations of them would be refused for what they were before."""
    for seed in image.seeds():
        images.parse("seed.hvt", seed)
    for target in (log, messages):
        for seed in target.seeds():
            assert target.seal(seed) == seed


def test_the_command_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, status in ((["--help"], 0), ([], 2)):
        with pytest.raises(SystemExit) as end:
            command.main(arguments)
        assert end.value.code == status
    written = capsys.readouterr()
    assert "Example: python -m tests.fuzz log --seconds 600" in written.out
    assert written.err.endswith("error: the following arguments are required: TARGET\n")


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "atheris.py").write_text("raise ImportError")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "ports"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2 and "pip install -e '.[fuzz]'" in done.stderr

"""The sources of the key-value server, natively, under a fuzzer and its sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

GUESTS = Path(__file__).parents[2] / "guests"


@pytest.fixture(scope="module")
def fuzzers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fuzzers")
    build = ["make", "-C", str(GUESTS), "fuzz-kv", f"OUT={directory}"]
    subprocess.run(build, capture_output=True, check=True)
    return directory


@pytest.mark.external("clang", "make")
@pytest.mark.parametrize(
    ("program", "runs", "length"), [("kv-fuzz", 2000, 2000), ("heap-fuzz", 20000, 300)]
)
def test_the_fuzzer_finds_nothing(
    fuzzers: Path, tmp_path: Path, program: str, runs: int, length: int
) -> None:
    command = [
        str(fuzzers / program),
        "-seed=1",
        f"-runs={runs}",
        f"-max_len={length}",
        "-len_control=0",
    ]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]

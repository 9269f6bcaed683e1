"""The sources of the key-value server, natively, under a fuzzer and its sanitizers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
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
    check(command, tmp_path)


def check(command: Sequence[str], directory: Path) -> None:
    result = subprocess.run(command, capture_output=True, text=True, cwd=directory)
    assert result.returncode == 0, result.stderr[-3000:]


def fuzz_input(before: Sequence[str], write: int, last: str) -> bytes:
    """For kv-fuzz: these commands, and one in which the machine dies at a write to the disk."""
    source = (GUESTS / "kv/fuzz/kv_fuzz.c").read_text()
    actions, words = (
        source[source.index(start) :].split("};")[0] for start in ("enum action", "words[] = ")
    )
    peers = 4
    crash = re.findall(r"ACT_\w+", actions).index("ACT_CRASH") * peers
    dictionary = re.findall(r'"([^"]*)"', words)

    def command(text: str) -> bytes:
        arguments = text.split()
        return bytes([len(arguments) - 1, *map(dictionary.index, arguments)])

    return (
        b"".join(b"\0" + command(text) for text in before) + bytes([crash, write]) + command(last)
    )


@pytest.mark.external("clang", "make")
def test_a_crash_leaves_nothing_half_done(fuzzers: Path, tmp_path: Path) -> None:
    """While the log is replaced several times within a transaction, too."""
    large = [f"SETRANGE {key} 200000 key:{n}" for n in (1, 2, 3) for key in "abc"]
    queued = [*large[:3], "MULTI", *large, "DEL d", "APPEND a value", "COPY a d"]
    inputs = []
    for write in range(64):
        inputs.append(tmp_path / f"exec-{write}")
        inputs[-1].write_bytes(fuzz_input(queued, write, "EXEC"))
    for write in range(4):
        inputs.append(tmp_path / f"rename-{write}")
        inputs[-1].write_bytes(fuzz_input([*large[:3], "APPEND d value"], write, "RENAME c d"))
    check([str(fuzzers / "kv-fuzz"), *map(str, inputs)], tmp_path)

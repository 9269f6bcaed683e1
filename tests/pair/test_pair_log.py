"""Logs that go into pipes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commands import run_command
from pair_checks import SHORT, check_output

from vlockstep.testing import replay
from vlockstep.testing.plugin import MakePair


@contextmanager
def piped(directory: Path) -> Iterator[tuple[Path, Path]]:
    """A FIFO, and the file into which somebody copies what comes out of it."""
    fifo, file = directory / "fifo", directory / "file.vlog"
    os.mkfifo(fifo)
    with file.open("wb") as copy:
        reader = subprocess.Popen(["cat", fifo], stdout=copy)
        try:
            yield fifo, file
            assert reader.wait(20) == 0
        finally:
            reader.kill()
            reader.wait()


def test_a_replicas_log_in_a_pipe(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair("ledger", SHORT, start=False, logs=False, stop_at=["entry:50"])
    with piped(tmp_path) as (fifo, file):
        pair.start_primary()
        pair.start_secondary("--log", fifo)
        pair.process("secondary").wait_status(lambda status: status["log_bytes"] > 0)
        pair.go()
        assert pair.wait_finished() == (0, 0)
    check_output(pair)
    replayed = replay(file)
    assert replayed.console == pair.transcript
    assert replayed.registers == pair.registers("secondary")


def test_a_recording_in_a_pipe(tmp_path: Path) -> None:
    with piped(tmp_path) as (fifo, file):
        done = run_command("record", "hello", "-o", fifo)
    assert done.returncode == 0
    assert f"2 entries in {file.stat().st_size} bytes" in done.stderr
    assert replay(file).console.decode() == done.stdout

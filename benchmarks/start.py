"""How long a pair takes to start: from starting both processes to a guest that runs protected."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.contest import Claim, Contestant, Report, interleave
from vlockstep.testing.process import ReplicaProcess

TARGET = 1.0
_numbers = itertools.count()


def measure(directory: Path, rounds: int) -> Report:
    name = "hello, both processes at once"

    def run() -> float:
        with started(directory, "hello") as seconds:
            return seconds

    figures = interleave([Contestant(name, run)], rounds)
    claim = Claim("start of a pair, median", median(figures[name]), TARGET, False, "s")
    return Report("start: from two commands to a guest that runs protected", "s", figures, [claim])


@contextmanager
def started(directory: Path, guest: str) -> Iterator[float]:
    """A pair that runs, and how many seconds it took to get there."""
    where = directory / f"start-{next(_numbers)}"
    where.mkdir()
    common = ["--arbiter", where / "arbiter", "--console", where / "console.txt", "--json"]
    endpoint = f"ipc://{where / 'channel'}"
    start = time.time()
    processes = [
        ReplicaProcess("primary", ["primary", guest, "--listen", endpoint, *common], str),
        ReplicaProcess("secondary", ["secondary", guest, "--connect", endpoint, *common], str),
    ]
    try:
        yield max(float(p.wait_event("started")["time"]) for p in processes) - start
    finally:
        for process in processes:
            process.close()

"""The guest `web` behind a network: what protection costs it and its clients, which keep their
connections; see `network`."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.contest import Claim, Contestant, Report, interleave, ratio
from benchmarks.network import (
    COST_TARGET,
    LATENCY_TARGET,
    check_protected,
    lone,
    server_pair,
)
from vlockstep.sim.sides import SIDES
from vlockstep.testing.network import GUEST
from vlockstep.testing.usage import Usage

_REQUESTS = 5_000
_MANY = ["-c", "16", "-n", str(_REQUESTS)]
_ONE = ["-c", "1", "-n", "2000"]


def cost(directory: Path, rounds: int) -> Report:
    """CPU time for a request, in microseconds, by what the system has accounted to each replica."""

    def alone() -> float:
        with lone("web") as guest:
            return _cpu([guest.pid])[0]

    def together() -> dict[str, float]:
        with server_pair(directory, "web") as pair:
            pids = [pair.process(side).pid for side in SIDES]
            found = dict(zip(SIDES, _cpu(pids), strict=True))
            check_protected(pair)
            return found

    single, both = "web, unprotected", "web, protected"
    figures = interleave([Contestant(single, alone), Contestant(both, together)], rounds)
    more = ratio(figures, f"{both}, {SIDES[0]}", single)
    claim = Claim("CPU for a request: primary / unprotected", more, COST_TARGET, at_least=False)
    return Report("web: CPU for a request (ab -k -c 16)", "µs", figures, [claim])


def latency(directory: Path, rounds: int) -> Report:
    """The median that one client waits, in milliseconds."""

    def alone() -> float:
        with lone("web"):
            return _wait(directory)

    def together() -> float:
        with server_pair(directory, "web") as pair:
            found = _wait(directory)
            check_protected(pair)
            return found

    single, primary = "web, unprotected", "web, primary with a live secondary"
    figures = interleave([Contestant(single, alone), Contestant(primary, together)], rounds)
    added = median(b - a for a, b in zip(figures[single], figures[primary], strict=True))
    claim = Claim("added by protection", added, LATENCY_TARGET, at_least=False, unit="ms")
    return Report("web: latency (ab -k -c 1)", "ms", figures, [claim])


def _cpu(pids: Sequence[int]) -> list[float]:
    """What each process uses for a request, in microseconds."""
    _ab(_MANY)  # so that all of it is translated
    before = [Usage.of(pid).cpu_seconds for pid in pids]
    _ab(_MANY)
    after = [Usage.of(pid).cpu_seconds for pid in pids]
    return [(b - a) * 1e6 / _REQUESTS for a, b in zip(before, after, strict=True)]


def _wait(directory: Path) -> float:
    table = directory / "percentiles.csv"
    _ab([*_ONE, "-e", str(table)])
    with table.open(newline="") as rows:
        waits = {row[0]: row[1] for row in csv.reader(rows)}
    return float(waits["50"])


def _ab(arguments: Sequence[str]) -> None:
    """Ask for the status again and again, over connections that are kept. Its length varies."""
    command = ["ab", "-q", "-k", "-l", *arguments, f"http://{GUEST}/status.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    if "Non-2xx" in done.stdout or "Keep-Alive requests:    0\n" in done.stdout:
        raise RuntimeError(f"not every answer was one:\n{done.stdout}")

"""What it costs to record with keyframes, one a second, against recording without.

`sort` makes no entry but its last, so that it pays for being watched alone; `preempt` has a place
for one at each interrupt, and `kv` at each request.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.contest import Claim, Contestant, Report, interleave, ratio
from benchmarks.network import lone, request_cpu
from benchmarks.programs import text_of
from vlockstep.testing.process import command

TARGET = 1.05
_GUESTS = {"sort": "--rounds=9", "preempt": "--work=16000000"}
"""Each takes about three seconds."""
_WITHOUT, _WITH = "without keyframes", "with keyframes"
_OPTIONS = {_WITHOUT: (), _WITH: ("--keyframes", "1")}


def computing(directory: Path, rounds: int) -> Report:
    """In CPU time of the whole process."""
    runs = {guest: _recording(directory, guest) for guest in _GUESTS}
    return _report("keyframes: recordings of what computes", "s", runs, rounds)


def serving(directory: Path, rounds: int) -> Report:
    """In CPU time for a request, in microseconds."""

    def run(*options: str) -> float:
        log = directory / "kv.vlog"
        with lone("kv", "record", "-o", str(log), *options) as guest:
            return request_cpu([guest.pid])[0]

    return _report("keyframes: recordings of a server", "µs", {"kv": run}, rounds)


def _recording(directory: Path, guest: str) -> Callable[..., float]:
    def run(*options: str) -> float:
        log = directory / f"{guest}.vlog"
        before = _cpu_of_children()
        text_of(command("record", guest, "-o", log, *options, "--", _GUESTS[guest]))
        return _cpu_of_children() - before

    return run


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _report(title: str, unit: str, runs: Mapping[str, Callable[..., float]], rounds: int) -> Report:
    contestants = [
        Contestant(f"{guest}, {how}", lambda run=run, options=options: run(*options))
        for guest, run in runs.items()
        for how, options in _OPTIONS.items()
    ]
    figures = interleave(contestants, rounds)
    claims = [
        Claim(
            f"{guest}, with keyframes / without",
            ratio(figures, f"{guest}, {_WITH}", f"{guest}, {_WITHOUT}"),
            TARGET,
            at_least=False,
        )
        for guest in runs
    ]
    return Report(title, unit, figures, claims)

"""How far the secondary's guest is behind the primary's, in the steady state of a pair.

The lag is the age of the oldest entries that the primary does not know to be executed, as its
status tells ten times a second; so it includes the way back of that knowledge.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.contest import Claim, Figures, Report, percentile, progress
from benchmarks.pairs import next_status, protected

TARGET = 10.0
"""Milliseconds."""
PACED = "ledger, a line each ms"
_PREEMPT = ("preempt", "--work=4000000000", "--period=1000000")
_GUESTS: dict[str, tuple[tuple[str, ...], tuple[object, ...]]] = {
    PACED: (("ledger", "--lines=500000", "--pause=1"), ()),
    "preempt with both cores busy, 1 kHz timer": (_PREEMPT, ()),
    "preempt with --max-lag 10, the same": (_PREEMPT, ("--max-lag", 10)),
}
"""The guest, and options of the primary."""
_WARM_UP, _WATCH = 1.0, 8.0
"""Seconds."""


def measure(directory: Path, rounds: int) -> Report:
    figures: Figures = {name: [] for name in _GUESTS}
    for number in range(rounds):
        for name, (guest, options) in _GUESTS.items():
            progress(f"round {number + 1} of {rounds}: {name}")
            figures[name] += _lags(directory, guest, options)
    progress("")
    claims = [
        Claim(f"{name.partition(',')[0]}, p99", percentile(lags, 99), TARGET, False, "ms")
        for name, lags in figures.items()
    ]
    return Report("lag of the secondary", "ms", figures, claims)


def _lags(directory: Path, guest: tuple[str, ...], options: tuple[object, ...]) -> list[float]:
    with protected(directory, *guest, primary_options=options) as pair:
        time.sleep(_WARM_UP)
        end = time.monotonic() + _WATCH
        lags = []
        while time.monotonic() < end:
            lags.append(float(next_status(pair)["lag_ms"]))
        return lags

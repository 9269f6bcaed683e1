"""A log must be replayed at least as fast as it was recorded, or a secondary falls behind."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contest import Claim, Contestant, Report, interleave, ratio
from benchmarks.guests import SampleGuest

TARGET = 1.0
_LINES = 8000
_BLOCK = 512


def measure(directory: Path, rounds: int) -> Report:
    guests = {
        "clock": SampleGuest(directory / "clock", "clock", "--reads=300000"),
        "ledger": SampleGuest(
            directory / "ledger",
            "ledger",
            f"--lines={_LINES}",
            "--work=100",
            "--pause=0",
            disk_size=_LINES * _BLOCK,
        ),
        "preempt": SampleGuest(directory / "preempt", "preempt"),
    }
    contestants = []
    for name, guest in guests.items():
        contestants.append(Contestant(f"{name}, recorded", guest.record))
        contestants.append(Contestant(f"{name}, replayed", guest.replay))
    figures = interleave(contestants, rounds)
    claims = [
        Claim(f"{name}, recorded / replayed", ratio(figures, *pair), TARGET)
        for name, pair in ((n, (f"{n}, recorded", f"{n}, replayed")) for n in guests)
    ]
    return Report("replay: to a log file and back", "s", figures, claims)

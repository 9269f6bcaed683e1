"""What a replica has in memory besides the RAM that its guest has touched."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.contest import Claim, Contestant, Report, interleave
from benchmarks.pairs import protected
from vlockstep.testing.usage import Usage

TARGET = 60.0
"""MB of a million bytes."""
_GUESTS = {
    "ledger": ("--lines=500000", "--pause=1"),
    "sort": ("--rounds=1000",),
    "preempt": ("--work=4000000000",),
}
_SETTLE = 1.5
"""Seconds."""


def measure(directory: Path, rounds: int) -> Report:
    def contestant(guest: str) -> Contestant:
        return Contestant(guest, lambda: _overheads(directory, guest))

    figures = interleave([contestant(guest) for guest in _GUESTS], rounds)
    claims = [
        Claim(f"{name}, at most", max(sizes), TARGET, False, "MB")
        for name, sizes in figures.items()
    ]
    return Report("memory: resident, less the guest's touched RAM", "MB", figures, claims)


def _overheads(directory: Path, guest: str) -> dict[str, float]:
    with protected(directory, guest, *_GUESTS[guest]) as pair:
        time.sleep(_SETTLE)
        return {
            "primary": Usage.of(pair.process("primary").pid).overhead / 1e6,
            "secondary": Usage.of(pair.process("secondary").pid).overhead / 1e6,
        }

"""How many exits a guest can make in a second, and how many bytes of log each of them takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks.contest import Contestant, Report, interleave
from benchmarks.guests import SampleGuest
from benchmarks.pairs import guest_seconds, protected
from vlockstep import LogReader

_EXITS = 400_000
_CLOCK = (f"--reads={_EXITS}", "--walltime=1")
_LEDGER = ("--lines=8000", "--work=100", "--pause=0")
_BLOCKS = 8000 * 512


def rate(directory: Path, rounds: int) -> Report:
    """Exits per second of a guest that does nothing but read the time-stamp counter."""
    guest = SampleGuest(directory / "clock", "clock", *_CLOCK)

    def pair() -> float:
        with protected(directory, "clock", *_CLOCK) as pair:
            return guest_seconds(pair)

    runs: dict[str, Callable[[], float]] = {
        "unprotected": guest.live,
        "recorded": guest.record,
        "primary with a live secondary": pair,
        "replayed": guest.replay,
    }

    def contestant(name: str, run: Callable[[], float]) -> Contestant:
        return Contestant(f"RDTSC, {name}", lambda: _EXITS / run())

    figures = interleave([contestant(*item) for item in runs.items()], rounds)
    return Report("exits per second", "/s", figures)


def size(directory: Path, rounds: int) -> Report:
    """Bytes of the log file by its entries, digests and checkpoints included."""
    guests = {
        "RDTSC": SampleGuest(directory / "clock", "clock", *_CLOCK),
        "lines of output": SampleGuest(
            directory / "puts", "clock", "--reads=1", "--walltime=1", "--puts=60000"
        ),
        "ledger": SampleGuest(directory / "ledger", "ledger", *_LEDGER, disk_size=_BLOCKS),
        "preempt": SampleGuest(directory / "preempt", "preempt"),
    }

    def contestant(name: str, guest: SampleGuest) -> Contestant:
        return Contestant(name, lambda: bytes_per_entry(guest))

    figures = interleave([contestant(*item) for item in guests.items()], rounds)
    return Report("log: bytes per event", "bytes", figures)


def bytes_per_entry(guest: SampleGuest) -> float:
    guest.record()
    with closing(LogReader(guest.log)) as log:
        entries = sum(1 for _ in log.entries())
    return guest.log.stat().st_size / entries

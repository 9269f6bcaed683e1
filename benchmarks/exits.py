"""What one exit costs: the time of a long run less that of a short one, by the exits between.

It is this process's CPU time, in the guest, the interpreter and the kernel alike: what other
processes do meanwhile should not count. Nothing here waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.contest import Claim, Contestant, Report, interleave
from benchmarks.guests import SampleGuest, timed
from vlockstep import ConsoleFile
from vlockstep.machine import engines

RDTSC_TARGET, PUTS_TARGET = 3.0, 5.0
"""Microseconds."""
_SHORT = 1_000
_RDTSC, _PUTS = 300_000, 60_000
_LINE = b"clock says that it is about now\n"


def measure(directory: Path, rounds: int) -> Report:
    all_of_them = [
        *contestants(directory, "RDTSC", "reads", _RDTSC),
        *contestants(directory, "puts", "puts", _PUTS),
        Contestant("puts, its console file alone", lambda: _console_cost(directory / "alone.txt")),
    ]
    figures = interleave(all_of_them, rounds)
    claims = [
        Claim("a recorded RDTSC", median(figures["RDTSC, recorded"]), RDTSC_TARGET, False, "µs"),
        Claim("a recorded puts", median(figures["puts, recorded"]), PUTS_TARGET, False, "µs"),
    ]
    return Report("exits: what each costs, in CPU time", "µs", figures, claims)


def contestants(
    directory: Path, title: str, option: str, count: int, engine: str = engines.AUTO
) -> list[Contestant]:
    """That make so many exits of the kind of this option of `clock`."""
    other = "--puts=0" if option == "reads" else "--reads=1"

    def guest(exits: int) -> SampleGuest:
        folder = directory / f"{engine}-{option}-{exits}"
        arguments = (f"--{option}={exits}", other, "--walltime=1")
        return SampleGuest(folder, "clock", *arguments, clock=time.process_time, engine=engine)

    short, long = guest(_SHORT), guest(_SHORT + count)

    def cost(run: Callable[[SampleGuest], float]) -> Callable[[], float]:
        return lambda: (run(long) - run(short)) / count * 1e6

    return [
        Contestant(f"{title}, unprotected", cost(SampleGuest.live)),
        Contestant(f"{title}, recorded", cost(SampleGuest.record)),
        Contestant(f"{title}, replayed", cost(SampleGuest.replay)),
    ]


def _console_cost(path: Path) -> float:
    """Of one line, no guest involved: almost all of it is system calls."""
    path.unlink(missing_ok=True)
    console = ConsoleFile(path)

    def write() -> None:
        for offset in range(0, _PUTS * len(_LINE), len(_LINE)):
            console.write(offset, _LINE)

    seconds = timed(write, time.process_time)
    console.close()
    return seconds / _PUTS * 1e6

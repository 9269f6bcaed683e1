"""Pairs for as long as you like, and whether anything leaks.

`python -m vlockstep.testing.soak [--minutes M]` spends half of the time on one pair whose roles
swap all the time, over a connection that drops and is cut, and the other half on injecting faults
into one new pair after another. It prints what the processes held after a warm-up and at the end.
The exit status is 1 if that grew, or if anything was not as it must be.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlockstep import program
from vlockstep.errors import HostError
from vlockstep.program.progress import Progress
from vlockstep.sim.ledger import inspect_unfinished_ledger
from vlockstep.sim.sides import SIDES, Side
from vlockstep.testing.faults import Fault, deaths, run, silences
from vlockstep.testing.faults.trial import MISSES, RECONNECTING_MS
from vlockstep.testing.pair import Pair
from vlockstep.testing.process import TIMEOUT
from vlockstep.testing.usage import Usage

LIMITS = {"descriptors": 4, "threads": 2, "resident": 8 << 20}
"""By how much what a process holds may grow after the warm-up; memory in bytes."""
FAULTS = (*deaths.FAULTS, *silences.FAULTS)
_LINES_PER_SECOND = 80
_SPARE = 10 * TIMEOUT
"""Seconds for which the guest could run on once no more swaps are begun: it is to be stopped then,
not to end by itself."""
_MAX_MINUTES = 400
"""Of a longer time the ledger could not number its lines."""
_DISTURBED_EVERY = 9
_LOST = "the connection to the secondary was lost"
_RECONNECTS = "connection lost"
"""Why a secondary refuses to swap roles that has not noticed yet that it is connected again."""


@dataclass
class Held:
    """What a process held, `first` after the warm-up."""

    name: str
    first: Usage
    last: Usage | None = None

    def grown(self) -> list[str]:
        """What grew beyond its limit."""
        return [
            f"{self.name}: {first} to {last} {what}"
            for what, first, last, limit in self.rows()
            if last > first + limit
        ]

    def rows(self) -> Iterator[tuple[str, int, int, int]]:
        """What it holds, how much of it first and last, and by how much that may grow."""
        for what, limit in LIMITS.items():
            yield what, getattr(self.first, what), getattr(self.last, what), limit


def swap_roles(directory: Path, seconds: float, warm_up: int) -> tuple[int, list[Held]]:
    """Swap the roles of one pair for so many seconds, and stop its guest; how often."""
    lines = int((seconds + _SPARE) * _LINES_PER_SECOND)
    arguments = [f"--lines={lines}", "--pause=10", "--work=500"]
    disks: dict[str, int | Path] = {"disk": lines * 512}
    held: list[Held] = []
    progress = Progress()
    end = time.monotonic() + seconds
    with Pair(
        "ledger",
        arguments,
        directory=directory,
        disks=disks,
        heartbeat_ms=RECONNECTING_MS,
        misses=MISSES,
    ) as pair:
        for swaps in itertools.count(1):
            generation = _swap(pair)
            assert generation == swaps + 1, f"generation {generation} after {swaps} switchovers"
            primary = SIDES[swaps % 2]
            pair.process(primary).wait_event("live", generation=generation)
            disturbances, rest = divmod(swaps, _DISTURBED_EVERY)
            if rest == 0:  # all four: a drop or a cut, while either of the two is primary
                _disturb(pair, primary, drop=disturbances % 4 < 2)
            if swaps == warm_up:
                held = [Held(w, Usage.of(pair.process(w).pid)) for w in SIDES]
            progress.tell(f"{swaps} switchovers, {max(0, end - time.monotonic()):.0f} s to go")
            if time.monotonic() > end and swaps > warm_up:
                break
        progress.clear()
        for which, process in zip(SIDES, held, strict=True):
            process.last = Usage.of(pair.process(which).pid)
        pair.stop(primary)
        statuses = pair.wait_finished()
        assert statuses == (0, 0), f"exit {statuses}"
        report = inspect_unfinished_ledger(pair.transcript, pair.disk())
        assert report.ok, report
    return swaps, held


def _swap(pair: Pair) -> int:
    """The generation, once the secondary is connected again."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return pair.switchover()
        except HostError as error:
            if not str(error).endswith(_RECONNECTS) or time.monotonic() > deadline:
                raise


def _disturb(pair: Pair, primary: Side, drop: bool) -> None:
    """Drop the connection, or cut it for less than counts as death, and wait until it is over."""
    process = pair.process(primary)
    if drop:
        lost = process.count("notice", text=_LOST)
        pair.drop()
        process.wait_count("notice", lost + 1, text=_LOST)
    else:
        pair.cut()
        process.wait_status(lambda status: (status["lag_ms"] or 0) > 50)
        pair.heal()
    now = time.time()
    process.wait_status(lambda status: status["time"] > now and status["state"] == "protected")


def inject_faults(
    directory: Path, seconds: float, faults: Sequence[Fault] = FAULTS
) -> tuple[int, list[Held]]:
    """Inject each of these again and again for so many seconds; how many. The first round is the
    warm-up."""
    end = time.monotonic() + seconds
    held: list[Held] = []
    progress = Progress()
    for count, fault in enumerate(itertools.cycle(faults)):
        if count == len(faults):
            held = [Held("tester", _held_here())]
        if count > len(faults) and time.monotonic() > end:
            break
        progress.tell(f"{count} faults injected, {max(0, end - time.monotonic()):.0f} s to go")
        place = directory / f"fault{count}"
        result = run(fault, place)
        if result.error is not None:
            raise result.error
        shutil.rmtree(place)
    progress.clear()
    held[0].last = _held_here()
    return count, held


def _held_here() -> Usage:
    gc.collect()
    return Usage.of(os.getpid())


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m vlockstep.testing.soak",
        description="Swap the roles of a pair again and again, inject faults into others, and see "
        "whether anything goes wrong or leaks. The exit status is 1 if so.",
        epilog="Example: python -m vlockstep.testing.soak --minutes 2",
    )
    parser.add_argument(
        "--minutes", type=float, default=10, metavar="M", help="how long in all (default: 10)"
    )
    minutes = parser.parse_args().minutes
    if not 0 < minutes <= _MAX_MINUTES:
        parser.error(f"--minutes must be above 0 and at most {_MAX_MINUTES}")
    seconds = minutes * 30
    with tempfile.TemporaryDirectory(prefix="vlockstep-soak-") as directory:
        swaps, held = swap_roles(Path(directory) / "pair", seconds, warm_up=50)
        faults, more = inject_faults(Path(directory), seconds)
    print(f"{swaps} switchovers of one pair, {faults} faults injected into pairs")
    row: Callable[..., str] = "{:<10} {:<12} {:>10} {:>10} {:>10}".format
    print(row("process", "holds", "warmed up", "at the end", "may grow"))
    for process in (*held, *more):
        for values in process.rows():
            print(row(process.name, *values))
    grown = [text for process in (*held, *more) for text in process.grown()]
    print("\n".join(grown) or "nothing has grown beyond that")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(program.run(main))

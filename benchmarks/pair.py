"""A protected guest: what the secondary costs the primary, and how long a failover takes."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks.contest import Claim, Contestant, Report, interleave, ratio
from benchmarks.guests import SampleGuest
from benchmarks.pairs import guest_seconds, protected
from vlockstep.testing import Pair

SORT_TARGET, PREEMPT_TARGET = 0.95, 0.75
KILL_TARGET, STOP_TARGET = 100.0, 350.0
"""Milliseconds; the second is the time until silence counts as death, and 100."""

_numbers = itertools.count()


def protection(directory: Path, rounds: int, guest: str, *arguments: str) -> Report:
    """The same guest alone in a process, and as a primary with a live secondary. Two guests that
    have nothing to do with each other tell what a second busy core alone costs on this machine."""

    def unprotected() -> float:
        where = str(directory / f"alone-{next(_numbers)}")
        script = "import sys; from benchmarks import pair; print(pair.alone(*sys.argv[1:]))"
        command = [sys.executable, "-c", script, where, guest, *arguments]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def seconds() -> float:
        with protected(directory, guest, *arguments) as pair:
            return guest_seconds(pair)

    def two_at_once() -> float:
        with ThreadPoolExecutor() as pool:
            return max(pool.map(lambda _: unprotected(), range(2)))

    single, primary = f"{guest}, unprotected", f"{guest}, primary with a live secondary"
    figures = interleave(
        [
            Contestant(single, unprotected),
            Contestant(primary, seconds),
            Contestant(f"{guest}, two unprotected at once", two_at_once),
        ],
        rounds,
    )
    target = SORT_TARGET if guest == "sort" else PREEMPT_TARGET
    claim = Claim("speed of the primary / unprotected", ratio(figures, single, primary), target)
    return Report(f"protection of {guest}", "s", figures, [claim])


def alone(directory: str, guest: str, *arguments: str) -> float:
    """Seconds of the guest's run in this process."""
    return SampleGuest(Path(directory), guest, *arguments).live()


def sort(directory: Path, rounds: int) -> Report:
    return protection(directory, rounds, "sort")


def preempt(directory: Path, rounds: int) -> Report:
    return protection(directory, rounds, "preempt", "--period=1000000")


def killed(directory: Path, rounds: int) -> Report:
    """From SIGKILL to the event `live`, in the middle of a ledger."""
    return _failover(directory, rounds, signal.SIGKILL, KILL_TARGET)


def stopped(directory: Path, rounds: int) -> Report:
    """The same with SIGSTOP: the connection stands, and only silence tells."""
    return _failover(directory, rounds, signal.SIGSTOP, STOP_TARGET)


def _failover(directory: Path, rounds: int, number: signal.Signals, target: float) -> Report:
    what = f"{number.name} to live"
    figures = interleave([Contestant(what, lambda: gap(directory, number))], rounds)
    gaps = figures[what]
    claims = [Claim(f"{what}, median", median(gaps), target, at_least=False, unit="ms")]
    return Report(f"failover of a ledger: {what}", "ms", figures, claims)


def gap(directory: Path, number: signal.Signals, *options: object) -> float:
    """Milliseconds from the signal to live, of a new pair with these options."""
    with protected(
        directory,
        "ledger",
        "--lines=100000",
        "--pause=1",
        misses=5,
        primary_options=options,
        secondary_options=options,
    ) as pair:
        return strike(pair, number) * 1000


def strike(pair: Pair, number: signal.Signals) -> float:
    """Seconds until the secondary is live, from sending the primary this signal in mid-ledger."""
    while not pair.transcript.count(b"\n") > 20:
        time.sleep(0.001)
    struck = time.time()
    pair.process("primary").signal(number)
    pair.wait_live("secondary")
    live = next(e for e in pair.events("secondary") if e["event"] == "live")
    return float(live["time"] - struck)

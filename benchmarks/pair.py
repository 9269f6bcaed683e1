"""A protected guest: what the secondary costs the primary, and how long a failover takes."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.contest import Claim, Contestant, Report, interleave, ratio
from benchmarks.guests import SampleGuest
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

    def protected() -> float:
        with _pair(directory, guest, *arguments) as pair:
            assert pair.wait_finished() == (0, 0)
            events = {e["event"]: e["time"] for e in pair.events("primary")}
            return float(events["finished"] - events["started"])

    def two_at_once() -> float:
        with ThreadPoolExecutor() as pool:
            return max(pool.map(lambda _: unprotected(), range(2)))

    single, primary = f"{guest}, unprotected", f"{guest}, primary with a live secondary"
    figures = interleave(
        [
            Contestant(single, unprotected),
            Contestant(primary, protected),
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


def failover(directory: Path, rounds: int) -> Report:
    """From the signal to the event `live`, in milliseconds, in the middle of a ledger."""

    def gap(number: signal.Signals) -> float:
        with _pair(directory, "ledger", "--lines=100000", "--pause=1") as pair:
            primary = pair.process("primary")
            while not pair.transcript.count(b"\n") > 20:
                time.sleep(0.001)
            struck = time.time()
            primary.signal(number)
            pair.wait_live("secondary")
            live = next(e for e in pair.events("secondary") if e["event"] == "live")
            return float(live["time"] - struck) * 1000

    kill, stop = "SIGKILL to live", "SIGSTOP to live"
    figures = interleave(
        [
            Contestant(kill, lambda: gap(signal.SIGKILL)),
            Contestant(stop, lambda: gap(signal.SIGSTOP)),
        ],
        rounds,
    )
    claims = [
        Claim(f"{kill}, median", median(figures[kill]), KILL_TARGET, at_least=False, unit="ms"),
        Claim(f"{stop}, median", median(figures[stop]), STOP_TARGET, at_least=False, unit="ms"),
    ]
    return Report("failover", "ms", figures, claims)


@contextmanager
def _pair(directory: Path, guest: str, *arguments: str) -> Iterator[Pair]:
    pair = Pair(
        guest,
        arguments,
        directory=directory / f"pair-{next(_numbers)}",
        disks={"disk": 64 << 20} if guest == "ledger" else {},
        memory=512,
    )
    with connected(pair):
        yield pair


@contextmanager
def connected(pair: Pair) -> Iterator[None]:
    """The pair runs, connected directly, without the relay that breaks the network in tests."""
    try:
        pair.start_primary()
        pair.start_secondary("--connect", pair.endpoint)
        for role in ("primary", "secondary"):
            pair.process(role).wait_event("started")
        yield
    finally:
        pair.close()

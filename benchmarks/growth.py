"""Whether costs grow: with the length of a run, and with RAM that the guest does not touch."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.contest import Claim, Contestant, Figures, Report, interleave, ratio
from benchmarks.pair import strike
from benchmarks.pairs import next_status, protected
from vlockstep.testing import Pair
from vlockstep.testing.usage import Usage

TARGET = 1.1
LONG = 600.0
"""Seconds: ten minutes, the last of which is compared with the first of another pair."""
_SHORT = 20.0
_WARM_UP, _WATCH = 1.0, 2.5
_CLOCK = ("clock", "--reads=100000000000")
_LEDGER = ("ledger", "--lines=500000", "--pause=1")


class Sample(NamedTuple):
    """Both replicas together, at a time in seconds."""

    time: float
    entries: int
    cpu_seconds: float
    resident: int

    @classmethod
    def of(cls, pair: Pair) -> Sample:
        entries = int(next_status(pair)["entries"])
        usages = [Usage.of(pair.process(role).pid) for role in ("primary", "secondary")]
        cpu_seconds = sum(usage.cpu_seconds for usage in usages)
        return cls(time.time(), entries, cpu_seconds, sum(usage.resident for usage in usages))


class Cost(NamedTuple):
    """What is spent between two samples."""

    name: str
    unit: str
    between: Callable[[Sample, Sample], float]


PER_ENTRY = Cost(
    "CPU per entry",
    "µs",
    lambda a, b: (b.cpu_seconds - a.cpu_seconds) / (b.entries - a.entries) * 1e6,
)
PER_SECOND = Cost(
    "CPU per second",
    "ms",
    lambda a, b: (b.cpu_seconds - a.cpu_seconds) / (b.time - a.time) * 1e3,
)


def short(directory: Path, rounds: int) -> Report:
    return over_time(directory, rounds, _SHORT)


def long(directory: Path, rounds: int) -> Report:
    return over_time(directory, rounds, LONG)


def over_time(directory: Path, rounds: int, seconds: float) -> Report:
    """A pair that has run for nine tenths of so many seconds, and a fresh one, side by side in the
    last tenth: the speed of a machine changes within minutes, but for both."""

    def contestant(name: str, guest: tuple[str, ...], cost: Cost) -> Contestant:
        def run() -> dict[str, float]:
            with protected(directory, *guest) as old:
                time.sleep(0.9 * seconds)
                with protected(directory, *guest) as fresh:
                    time.sleep(_WARM_UP)
                    begin = Sample.of(old), Sample.of(fresh)
                    time.sleep(0.1 * seconds)
                    end = Sample.of(old), Sample.of(fresh)
                    return side_by_side(begin, end, cost)

        return Contestant(name, run)

    figures = interleave(
        [contestant("clock", _CLOCK, PER_ENTRY), contestant("ledger", _LEDGER, PER_SECOND)], rounds
    )
    claims = [
        _growth(figures, f"{what}, old / fresh", f"{what}, old", f"{what}, fresh")
        for what in (name.removesuffix(", old") for name in figures if name.endswith(", old"))
    ]
    title = f"growth with time: a pair in the last tenth of {seconds:g} s, and a fresh one"
    return Report(title, "MB", figures, claims, _units(figures))


def side_by_side(
    begin: tuple[Sample, Sample], end: tuple[Sample, Sample], cost: Cost
) -> dict[str, float]:
    """What is spent meanwhile by the old pair and by the fresh one."""
    return {
        f"{name}, {which}": value
        for which, before, after in zip(("old", "fresh"), begin, end, strict=True)
        for name, value in ((cost.name, cost.between(before, after)), ("RSS", after.resident / 1e6))
    }


def over_ram(directory: Path, rounds: int) -> Report:
    """The same guest, which touches little, with little RAM and with much."""

    def contestant(name: str, memory: int) -> Contestant:
        return Contestant(name, lambda: _life(directory, memory))

    small, large = "64 MiB", "4 GiB"
    figures = interleave([contestant(small, 64), contestant(large, 4096)], rounds)
    claims = [
        _growth(figures, f"{what}, {large} / {small}", f"{large}, {what}", f"{small}, {what}")
        for what in (name.removeprefix(f"{small}, ") for name in figures if name.startswith(small))
    ]
    title = "growth with RAM that the guest does not touch"
    return Report(title, "ms", figures, claims, _units(figures))


def _life(directory: Path, memory: int) -> dict[str, float]:
    """Of a pair whose guest has so many MiB."""
    start = time.monotonic()
    with protected(directory, *_LEDGER, memory=memory) as pair:
        started = time.monotonic() - start
        time.sleep(_WARM_UP)
        first = Sample.of(pair)
        time.sleep(_WATCH)
        last = Sample.of(pair)
        return {
            "start": started * 1e3,
            PER_ENTRY.name: PER_ENTRY.between(first, last),
            "RSS": last.resident / 1e6,
            "failover": strike(pair, signal.SIGKILL) * 1e3,
        }


def _growth(figures: Figures, name: str, above: str, below: str) -> Claim:
    return Claim(name, ratio(figures, above, below), TARGET, at_least=False)


def _units(figures: Figures) -> dict[str, str]:
    """By figure, where its name tells."""
    units = {PER_ENTRY.name: PER_ENTRY.unit, PER_SECOND.name: PER_SECOND.unit, "RSS": "MB"}
    return {name: unit for name in figures for what, unit in units.items() if f", {what}" in name}

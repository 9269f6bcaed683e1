"""Whether costs grow: with the length of a run, and with RAM that the guest does not touch."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.contest import Claim, Contestant, Figures, Report, interleave, ratio
from benchmarks.pair import strike
from benchmarks.pairs import Usage, next_status, protected
from vlockstep.testing import Pair

TARGET = 1.1
LONG = 600.0
"""Seconds: ten minutes, of which the first is compared with the last."""
_SHORT = 20.0
_WARM_UP, _WATCH = 1.0, 2.5
_YARDSTICK, _YARDSTICKS = "a loop of Python", 20
_CLOCK = ("clock", "--reads=100000000000")
_LEDGER = ("ledger", "--lines=500000", "--pause=1")
_PATIENT = ("--heartbeat", 400)
"""Milliseconds: that a machine stalls for a moment shall not part a pair that runs so long."""


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


class Tenth(NamedTuple):
    """Of a run: its beginning, its end, and how long a yardstick took meanwhile, in seconds of
    CPU. The machine itself may have another speed ten minutes later."""

    begin: Sample
    end: Sample
    yardstick: float


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
    """The first tenth of a run of so many seconds, against its last tenth."""

    def contestant(name: str, guest: tuple[str, ...], cost: Cost) -> Contestant:
        def run() -> dict[str, float]:
            with protected(
                directory, *guest, primary_options=_PATIENT, secondary_options=_PATIENT
            ) as pair:
                return tenths(*_tenths(pair, seconds), cost)

        return Contestant(name, run)

    figures = interleave(
        [contestant("clock", _CLOCK, PER_ENTRY), contestant("ledger", _LEDGER, PER_SECOND)], rounds
    )
    claims = [*_over_time(figures)]
    title = f"growth with time: a run of {seconds:g} s, its first and its last tenth"
    return Report(title, "MB", figures, claims, _units(figures))


def tenths(first: Tenth, last: Tenth, cost: Cost) -> dict[str, float]:
    """What they tell, by name."""
    return {
        f"{name}, {which}": value
        for which, tenth in (("first", first), ("last", last))
        for name, value in (
            (cost.name, cost.between(tenth.begin, tenth.end)),
            ("RSS", tenth.end.resident / 1e6),
            (_YARDSTICK, tenth.yardstick * 1e3),
        )
    }


def _over_time(figures: Figures) -> Iterator[Claim]:
    """CPU is counted in yardsticks."""
    for first in figures:
        name = first.removesuffix(", first")
        guest, _, what = name.partition(", ")
        if name == first or what == _YARDSTICK:
            continue
        growth = ratio(figures, f"{name}, last", first)
        if what != "RSS":
            yardstick = f"{guest}, {_YARDSTICK}"
            growth /= ratio(figures, f"{yardstick}, last", f"{yardstick}, first")
        yield Claim(f"{name}, last / first", growth, TARGET, at_least=False)


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


def _tenths(pair: Pair, seconds: float) -> tuple[Tenth, Tenth]:
    """The first and the last of so many seconds."""
    time.sleep(_WARM_UP)
    start = time.monotonic()
    first = _tenth(pair, start + 0.1 * seconds)
    time.sleep(max(0.0, start + 0.9 * seconds - time.monotonic()))
    return first, _tenth(pair, start + seconds)


def _tenth(pair: Pair, until: float) -> Tenth:
    begin = Sample.of(pair)
    pause = (until - time.monotonic()) / _YARDSTICKS
    yardsticks = []
    while time.monotonic() < until:
        time.sleep(pause)
        yardsticks.append(_yardstick())
    return Tenth(begin, Sample.of(pair), median(yardsticks))


def _yardstick() -> float:
    start = time.thread_time()
    for _ in range(100_000):
        pass
    return time.thread_time() - start


def _growth(figures: Figures, name: str, above: str, below: str) -> Claim:
    return Claim(name, ratio(figures, above, below), TARGET, at_least=False)


def _units(figures: Figures) -> dict[str, str]:
    """By figure, where its name tells."""
    units = {PER_ENTRY.name: PER_ENTRY.unit, PER_SECOND.name: PER_SECOND.unit, "RSS": "MB"}
    units[_YARDSTICK] = "ms"
    return {name: unit for name in figures for what, unit in units.items() if f", {what}" in name}

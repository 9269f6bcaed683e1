"""What it takes to move a guest that writes without end, with a log of what it does meanwhile and
by precopy, beside QEMU's migration of the same guest.

QEMU stops the guest's time stamp counter while it stops the guest, so only its console shows the
gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks import qemu
from benchmarks.contest import Claim, Contestant, Figures, Report, interleave
from benchmarks.moves import (
    DAMAGED,
    GIVEN_UP,
    PRECOPY,
    UNTHROTTLED,
    Load,
    by_qemu,
    by_vlockstep,
)
from benchmarks.programs import missing

PAUSE_TARGET, GAP_TARGET, TOTAL_TARGET = 5.0, 10.0, 400.0
"""Milliseconds."""
THROUGHPUT_TARGET = 1000.0
"""MB/s."""
PLAIN, CURVE = "plain", "CURVE"
_LIMITS = (10, 300)
"""QEMU's `downtime-limit`, as strict as our target, and its default; in milliseconds."""
_GIGABIT = 125_000_000


def usual(directory: Path, rounds: int) -> Report:
    """64 MiB in use, 8 MiB of it rewritten without end."""
    load = Load()
    figures, notes = _contest(directory, rounds, load, _by_precopy(directory, load))
    claims = [
        _at_most(figures, CURVE, "held at P", PAUSE_TARGET),
        _at_most(figures, CURVE, "gap, as it reports", GAP_TARGET),
        _at_most(figures, CURVE, "in all", TOTAL_TARGET),
    ]
    return _report("migration: 64 MiB in use, 8 MiB rewritten", figures, claims, notes)


def large(directory: Path, rounds: int) -> Report:
    """1 GiB in use."""
    load = Load(memory=1152, touched=1024)
    figures, notes = _contest(directory, rounds, load, _by_precopy(directory, load))
    claims = [
        _at_most(figures, CURVE, "held at P", PAUSE_TARGET),
        _at_most(figures, CURVE, "gap, as it reports", GAP_TARGET),
        Claim(
            f"{PLAIN}, throughput",
            median(figures[f"{PLAIN}, throughput"]),
            THROUGHPUT_TARGET,
            unit="MB/s",
        ),
    ]
    return _report("migration: 1 GiB in use, 8 MiB rewritten", figures, claims, notes)


def hopeless(directory: Path, rounds: int) -> Report:
    """All of 240 MiB is rewritten faster than the link carries it: by precopy it moves only if it
    is slowed."""
    load = Load(touched=240, rewritten=240, limit=_GIGABIT, patience=30)
    slowed = replace(load, patience=120)
    more = [
        Contestant(f"{PLAIN}, precopy", lambda: by_vlockstep(directory, slowed, False, PRECOPY)),
        Contestant(
            f"{PLAIN}, precopy without a throttle",
            lambda: by_vlockstep(directory, load, False, UNTHROTTLED),
        ),
    ]
    figures, notes = _contest(directory, rounds, load, more)
    return _report("migration: 240 MiB rewritten, over 1 Gbit/s", figures, [], notes)


def _by_precopy(directory: Path, load: Load) -> list[Contestant]:
    return [
        Contestant(f"{PLAIN}, precopy", lambda: by_vlockstep(directory, load, False, PRECOPY)),
        Contestant(f"{CURVE}, precopy", lambda: by_vlockstep(directory, load, True, PRECOPY)),
    ]


def _contest(
    directory: Path, rounds: int, load: Load, by_precopy: Sequence[Contestant]
) -> tuple[Figures, list[str]]:
    contestants = [
        Contestant(PLAIN, lambda: by_vlockstep(directory, load, encrypted=False)),
        Contestant(CURVE, lambda: by_vlockstep(directory, load, encrypted=True)),
        *by_precopy,
    ]
    lacking = missing(qemu.NEEDS)
    if not lacking:
        kernel = qemu.build(directory, "writer")
        contestants += [_qemu(directory, kernel, load, limit) for limit in _LIMITS]
    return interleave(contestants, rounds), [f"without QEMU: {lacking}"] if lacking else []


def _qemu(directory: Path, kernel: Path, load: Load, limit: int) -> Contestant:
    name = f"QEMU, downtime-limit {limit}"
    return Contestant(name, lambda: by_qemu(directory, kernel, load, limit))


def _at_most(figures: Figures, who: str, what: str, target: float) -> Claim:
    name = f"{who}, {what}"
    return Claim(name, median(figures[name]), target, at_least=False, unit="ms")


_UNITS = {
    "sent": "MB",
    "throughput": "MB/s",
    "rounds": "",
    "entries": "",
    "slowed": "%",
    DAMAGED: "",
    GIVEN_UP: "",
}


def _report(title: str, figures: Figures, claims: list[Claim], notes: list[str]) -> Report:
    units = {name: unit for name in figures for what, unit in _UNITS.items() if name.endswith(what)}
    return Report(title, "ms", figures, claims, units, notes)

"""Contestants take turns; what comes out are medians, and ratios next to their targets.

A noisy machine is slow for seconds at a time. Contestants that take turns share those seconds,
and a ratio is the median of one ratio for each round, so most of the noise cancels.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Figures = dict[str, list[float]]
"""By contestant: its figure in each round."""


@dataclass(frozen=True)
class Contestant:
    """`run` does one run and returns its figure, in the unit of the report."""

    name: str
    run: Callable[[], float]


def command(
    name: str, arguments: Sequence[str], figure: Callable[[str], float] | None = None
) -> Contestant:
    """A contestant that is a process of its own: its time from start to end in seconds, or what
    `figure` reads from its standard output. `RuntimeError` if it fails."""

    def run() -> float:
        start = time.perf_counter()
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"{name} ended with status {done.returncode}:\n{done.stderr}")
        return seconds if figure is None else figure(done.stdout)

    return Contestant(name, run)


def interleave(contestants: Sequence[Contestant], rounds: int) -> Figures:
    """Let them take turns, in reverse order every other round."""
    figures: Figures = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        for contestant in contestants[:: -1 if number % 2 else 1]:
            figures[contestant.name].append(contestant.run())
    return figures


def ratio(figures: Figures, above: str, below: str) -> float:
    """The median over the rounds of `above` divided by `below`."""
    return median(a / b for a, b in zip(figures[above], figures[below], strict=True))


@dataclass(frozen=True)
class Claim:
    """A ratio or a cost, and what it should be: at least `target`, or at most."""

    name: str
    value: float
    target: float
    at_least: bool = True
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target

    def row(self) -> tuple[str, ...]:
        bound = f"target {'≥' if self.at_least else '≤'} {self.target:g} {self.unit}".rstrip()
        value = f"{self.value:.2f} {self.unit}".rstrip()
        return self.name, value, bound, "met" if self.met else "missed"

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "target": self.target,
            "comparison": "at least" if self.at_least else "at most",
            "met": self.met,
        }


@dataclass(frozen=True)
class Report:
    """What one benchmark found; the figures are in `unit`."""

    title: str
    unit: str
    figures: Figures
    claims: list[Claim] = field(default_factory=list)

    def text(self) -> str:
        """Two tables: the contestants, and the claims."""
        rows: list[tuple[str, ...]] = [("", "median", "fastest", "slowest")]
        for name, runs in self.figures.items():
            shown = (f"{value:#.3g} {self.unit}" for value in (median(runs), min(runs), max(runs)))
            rows.append((name, *shown))
        claims = [claim.row() for claim in self.claims]
        return "\n".join([self.title, *_table(rows), *_table(claims)])

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "title": self.title,
            "unit": self.unit,
            "figures": {
                name: {"median": median(runs), "rounds": runs}
                for name, runs in self.figures.items()
            },
            "claims": [claim.to_dict() for claim in self.claims],
        }


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The first column to the left, the others to the right, all indented."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]

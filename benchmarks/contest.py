"""Contestants take turns; what comes out are medians, and ratios next to their targets.

A noisy machine is slow for seconds at a time. Contestants that take turns share those seconds,
and a ratio is the median of one ratio for each round, so most of the noise cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from vlockstep.program.progress import Progress

Figures = dict[str, list[float]]
"""By contestant: its figure in each round."""


@dataclass(frozen=True)
class Contestant:
    """`run` does one run and returns its figure; or several, whose names then follow the
    contestant's."""

    name: str
    run: Callable[[], float | Mapping[str, float]]


def interleave(contestants: Sequence[Contestant], rounds: int) -> Figures:
    """Let them take turns, in reverse order every other round."""
    figures: Figures = {}
    for number in range(rounds):
        for contestant in contestants[:: -1 if number % 2 else 1]:
            progress(f"round {number + 1} of {rounds}: {contestant.name}")
            found = contestant.run()
            if isinstance(found, Mapping):
                named = {f"{contestant.name}, {figure}": found[figure] for figure in found}
            else:
                named = {contestant.name: found}
            for name, value in named.items():
                figures.setdefault(name, []).append(value)
    progress("")
    return figures


_progress = Progress()


def progress(text: str) -> None:
    """Tell who watches, or with no text that something else is printed now."""
    if text:
        _progress.tell(text)
    else:
        _progress.clear()


def ratio(figures: Figures, above: str, below: str) -> float:
    """The median over the rounds of `above` divided by `below`."""
    return median(a / b for a, b in zip(figures[above], figures[below], strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of them do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


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
    """What one benchmark found. The figures are in `unit`, or in the one that `units` has for
    them; `notes` say what could not be measured."""

    title: str
    unit: str
    figures: Figures
    claims: list[Claim] = field(default_factory=list)
    units: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def text(self) -> str:
        """Two tables: the contestants, and the claims."""
        rows: list[tuple[str, ...]] = [("", "median", "fastest", "slowest")]
        for name, runs in self.figures.items():
            unit = self._unit(name)
            shown = (f"{value:#.3g} {unit}" for value in (median(runs), min(runs), max(runs)))
            rows.append((name, *shown))
        claims = [claim.row() for claim in self.claims]
        notes = [f"  note: {note}" for note in self.notes]
        return "\n".join([self.title, *_table(rows), *_table(claims), *notes])

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "title": self.title,
            "unit": self.unit,
            "figures": {
                name: {"unit": self._unit(name), "median": median(runs), "rounds": runs}
                for name, runs in self.figures.items()
            },
            "claims": [claim.to_dict() for claim in self.claims],
            "notes": list(self.notes),
        }

    def _unit(self, figure: str) -> str:
        return self.units.get(figure, self.unit)


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

"""Clients of a guest on a network, each in a thread of its own, and the gaps that they saw."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Gap:
    """Between two answers in a row (`time.time`)."""

    begin: float
    end: float

    @property
    def milliseconds(self) -> float:
        return (self.end - self.begin) * 1000


class Visitor:
    """One client. `answered` is when each answer came, `trouble` why it could not go on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answered: list[float] = []
        self.trouble = ""

    def run(self, leave: threading.Event) -> None:
        """Ask, and ask again, until it is time to leave."""
        raise NotImplementedError

    def line(self) -> str:
        """What it has seen so far."""
        widest = longest([self])
        gap = f"; longest gap {widest.milliseconds:.0f} ms" if widest else ""
        return f"{self.name}  {len(self.answered)} answers{gap}"

    def note_answer(self) -> None:
        self.answered.append(time.time())


def longest(
    visitors: Iterable[Visitor], *, at: float | None = None, beside: float | None = None
) -> Gap | None:
    """The longest gap of any client: of all, of those around a moment, or of all but those."""
    found = [
        gap
        for visitor in visitors
        for gap in _gaps(visitor)
        if (at is None or gap.begin <= at <= gap.end)
        and (beside is None or not gap.begin <= beside <= gap.end)
    ]
    return max(found, key=lambda gap: gap.milliseconds, default=None)


def _gaps(visitor: Visitor) -> Iterator[Gap]:
    return (Gap(before, after) for before, after in pairwise(visitor.answered[:]))

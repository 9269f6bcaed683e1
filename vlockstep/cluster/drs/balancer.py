"""Loads over time: what is shorter than the hold time moves nothing."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

from vlockstep.cluster.drs.advice import Advice, Settings
from vlockstep.cluster.drs.draft import Lasting
from vlockstep.cluster.drs.loads import Pair
from vlockstep.cluster.drs.recommend import recommend
from vlockstep.cluster.model import Cluster

PARTS = 32
"""Into how many the hold time is divided: of each, what was lowest and highest is kept."""


class _Part(NamedTuple):
    start: float
    lowest: Pair
    highest: Pair


class Balancer:
    """It is shown the cluster from time to time, and recommends by what has lasted.

    What counts of a guest's demand follows it as a play follows a hand: it changes only when all
    that was seen for the hold time is above it, or below it. So neither a spike nor a dip that is
    shorter changes anything; and a guest that was not there before had no demand then.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._now = -math.inf
        self._usual: dict[str, Pair] = {}
        self._parts: dict[str, deque[_Part]] = {}

    def observe(self, now: float, cluster: Cluster) -> None:
        """`now` is in seconds, by a clock that never goes back."""
        if now < self._now:
            raise ValueError(f"observed at {now} s, after {self._now} s")
        self._now = now
        for gone in self._parts.keys() - cluster.guests.keys():
            del self._parts[gone], self._usual[gone]
        for name, guest in cluster.guests.items():
            self._follow(name, Pair(guest.demand, guest.active))

    def _follow(self, guest: str, demand: Pair) -> None:
        hold = self.settings.hold
        nothing = Pair(0, 0)
        parts = self._parts.setdefault(guest, deque([_Part(-math.inf, nothing, nothing)]))
        last = parts[-1]
        if self._now - last.start < hold / PARTS:
            start, (low, high) = last.start, (last.lowest, last.highest)
            parts[-1] = _Part(start, _each(min, low, demand), _each(max, high, demand))
        else:
            parts.append(_Part(self._now, demand, demand))
        while len(parts) > 1 and parts[1].start <= self._now - hold:
            parts.popleft()
        lowest = reduce(partial(_each, min), (part.lowest for part in parts))
        usual = _each(max, lowest, self._usual.get(guest, nothing))
        self._usual[guest] = _each(min, usual, self._highest(guest))

    def _highest(self, guest: str) -> Pair:
        return reduce(partial(_each, max), (part.highest for part in self._parts[guest]))

    @property
    def history(self) -> dict[str, Lasting]:
        return {name: Lasting(usual, self._highest(name)) for name, usual in self._usual.items()}

    def recommend(self, cluster: Cluster) -> Advice:
        """For the cluster that was observed last."""
        return recommend(cluster, self.settings, self.history)


def _each(choose: Callable[[float, float], float], one: Pair, other: Pair) -> Pair:
    return Pair(choose(one.cpu, other.cpu), choose(one.memory, other.memory))

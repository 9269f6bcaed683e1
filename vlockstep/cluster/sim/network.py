"""The management network: messages that may be late, out of order, or lost, and pings."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vlockstep.cluster.sim.clock import Call, VirtualTime


@dataclass(frozen=True)
class Station:
    """Whoever is on the network; `answers` tells whether it answers pings now."""

    receive: Callable[[str, bytes], None]
    answers: Callable[[], bool]


class Network:
    """`delays` are the least and the greatest time of a message, in nanoseconds; `loss` is the
    share of messages that never arrive."""

    def __init__(self, time: VirtualTime, chance: random.Random) -> None:
        self.delays = (0, 0)
        self.loss = 0.0
        self._time = time
        self._chance = chance
        self._stations: dict[str, Station] = {}
        self._cut: set[tuple[str, str]] = set()
        self._unplugged: set[str] = set()

    def attach(self, name: str, station: Station) -> None:
        self._stations[name] = station

    @property
    def names(self) -> list[str]:
        return list(self._stations)

    def reaches(self, one: str, other: str) -> bool:
        return (one, other) not in self._cut and not {one, other} & self._unplugged

    def send(self, sender: str, to: str, message: bytes) -> None:
        self.carry(sender, to, lambda: self._stations[to].receive(sender, message))

    def ping(self, sender: str, target: str, answered: Call) -> None:
        def arrive() -> None:
            if self._stations[target].answers():
                self.carry(target, sender, answered)

        if target in self._stations:
            self.carry(sender, target, arrive)

    def carry(self, sender: str, to: str, arrive: Call) -> None:
        """Let something arrive there, if it does."""

        def deliver() -> None:
            if self.reaches(sender, to):
                arrive()

        if self.reaches(sender, to) and self._chance.random() >= self.loss:
            self._time.after(self._chance.randint(*self.delays), deliver)

    # What breaks

    def unplug(self, name: str) -> None:
        """It reaches nobody."""
        self._unplugged.add(name)

    def plug(self, name: str) -> None:
        self._unplugged.discard(name)

    def cut(self, sender: str, to: str) -> None:
        """Nothing arrives that this one sends to that one."""
        self._cut.add((sender, to))

    def part(self, *sides: Iterable[str]) -> None:
        """No station of one side reaches one of another."""
        parts: Sequence[set[str]] = [set(side) for side in sides]
        self._cut |= {
            (sender, to)
            for side in parts
            for other in parts
            if other is not side
            for sender in side
            for to in other
        }

    def heal(self) -> None:
        self._cut.clear()
        self._unplugged.clear()

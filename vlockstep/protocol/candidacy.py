"""When a secondary that suspects its primary is to claim, if there are others."""

from __future__ import annotations

from vlockstep.protocol.messages import Have
from vlockstep.protocol.timing import Timing


class Candidacy:
    """What others have received, as they say, since `me` suspects the primary."""

    def __init__(self, me: str, timing: Timing) -> None:
        self._me = me
        self._timing = timing
        self._since = 0
        self._haves: dict[str, Have] = {}

    def begin(self, now: int) -> None:
        self._since = now
        self._haves.clear()

    def heard(self, member: str, have: Have) -> None:
        self._haves[member] = have

    def turn(self, received: int, others: frozenset[str]) -> int:
        """When to claim with so many entries received: at once if this is the one that has most,
        and nobody hears the primary; a little later if `others` do not say; later still if they
        should claim first."""
        mine = (received, self._me)
        if any(have.hears or (have.received, m) > mine for m, have in self._haves.items()):
            return self._since + self._timing.dead
        known = others <= self._haves.keys()
        return self._since + (0 if known else self._timing.interval)

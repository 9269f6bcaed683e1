"""A thread's handle on the simulated store: each operation takes a while, in which anything may
happen."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from vlockstep.cluster.sim.clock import Call
from vlockstep.cluster.store import Content, MemoryStore


class Reach(StrEnum):
    """How a host reaches the store."""

    FINE = "fine"
    AWAY = "away"
    DEAF = "deaf"
    """What it asks is done, and the answer gets lost."""
    STALE = "stale"
    """It reads what was there when this began."""


class SimulatedStore(MemoryStore):
    """`pause` is called before an operation happens and before its answer arrives; `changed` is
    told a key at once when something may be new there."""

    def __init__(self, content: Content, pause: Call, changed: Callable[[str], None]) -> None:
        super().__init__(content)
        self._pause = pause
        self._changed = changed

    def reach(self, how: Reach) -> None:
        self.reachable = how is not Reach.AWAY
        self.deaf = how is Reach.DEAF
        self.stale = how is Reach.STALE

    def _ask(self) -> None:
        self._pause()
        super()._ask()

    def _answer(self, key: str = "") -> None:
        if key:
            self._changed(key)
        super()._answer(key)
        self._pause()

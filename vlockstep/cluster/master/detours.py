"""What hill climbing leaves undone may be possible by way of several other guests: that is asked in
the background, and the answer counts only for the cluster that was asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from vlockstep.cluster.drs.advice import Advice, Fault, Move
from vlockstep.cluster.drs.check import check_plan
from vlockstep.cluster.drs.oracle import Answer
from vlockstep.cluster.drs.recommend import toward
from vlockstep.cluster.drs.schedule import SLOTS, schedule
from vlockstep.cluster.model import Cluster
from vlockstep.errors import VlockstepError

Ask = Callable[[Cluster], Future[Answer]]
"""Where all are to be in this cluster; without waiting for the answer."""


class Detours:
    """Of one master: one question at a time, and each only once."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._question: Cluster | None = None
        self._answer: Future[Answer] = Future()
        self._waiting = False

    @property
    def answered(self) -> bool:
        """There is an answer that nobody has looked at."""
        return self._waiting and self._answer.done()

    def ask(self, cluster: Cluster) -> None:
        question = _lasting(cluster)
        if not self._waiting and question != self._question:
            self._question, self._answer = question, self._ask(question)
            self._waiting = True

    def find(self, cluster: Cluster, faults: Sequence[Fault]) -> tuple[Advice | None, str]:
        """What the answer for this cluster leads to; if there is one that leads to nothing, why."""
        if not self._answer.done():
            return None, ""
        self._waiting = False
        if _lasting(cluster) != self._question:
            return None, ""
        try:
            wanted = self._answer.result()
        except VlockstepError as error:
            return None, f"whether moving several other guests would help is not known: {error}"
        if wanted is None:
            return None, "moving several other guests would not help either, as far as HiGHS finds"
        found = toward(cluster, wanted, faults)
        plan = schedule(cluster, found.moves)
        if plan.stranded or check_plan(cluster, plan.steps, SLOTS):
            return None, "the moves that would help find no room on their way"
        return found, ""

    def follow(self, moves: Iterable[Move]) -> None:
        """The cluster after these moves is one that the answer is for."""
        if self._question is not None:
            arrived = {move.replica: move.target for move in moves}
            placed = {**self._question.placed, **arrived}
            self._question = replace(self._question, placed=placed)


def _lasting(cluster: Cluster) -> Cluster:
    """Without what changes all the time, and does not matter to who can be where."""
    guests = {
        name: replace(guest, demand=0, active=0, dirty=0) for name, guest in cluster.guests.items()
    }
    return replace(cluster, guests=guests)

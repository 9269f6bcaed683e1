"""Recommendations that a person has agreed to, carried out one after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from vlockstep.cluster.operator import Operator
from vlockstep.cluster.records import Task
from vlockstep.cluster.store.interface import StoreError
from vlockstep.errors import UsageError, VlockstepError
from vlockstep.web import shapes

MOST_ERRORS = 300
"""Of the store, while one task is followed: 30 s at least."""
TOLD_SECONDS = 600.0
"""For which it is told that moves were not asked for."""
_NAMED = 10
Moves = Sequence[Mapping[str, str]]


class Applying:
    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._under_way = threading.Lock()
        self._problem: tuple[float, shapes.Problem] | None = None
        """And when it was found."""

    def start(self, moves: Moves) -> Task:
        """The task of the first; each of the others is asked for when the one before is done, as it
        may need the room. Raises `UsageError` while others are carried out."""
        if not self._under_way.acquire(blocking=False):
            raise UsageError("recommendations are being applied: wait until they are done")
        try:
            first = self._ask(moves[0])
            self._problem = None
            threading.Thread(
                target=self._follow, args=(first, moves[1:]), name="apply", daemon=True
            ).start()
        except BaseException:
            self._under_way.release()
            raise
        return first

    def problems(self) -> list[shapes.Problem]:
        """What was not asked for lately, though it was agreed to."""
        found = self._problem
        if found is None or time.monotonic() > found[0] + TOLD_SECONDS:
            return []
        return [found[1]]

    def _ask(self, move: Mapping[str, str]) -> Task:
        details = {"host": move["to"], "role": move["role"], "reason": move.get("code")}
        return self._operator.submit("migrate", move["guest"], **details)

    def _follow(self, task: Task, moves: Moves) -> None:
        """To the end of the last, or of the first that fails: that task tells why."""
        left = list(moves)
        try:
            self._wait(task)
            while left:
                task = self._ask(left[0])
                del left[0]
                self._wait(task)
        except VlockstepError as error:
            self._tell(left, str(error))
        except Exception as error:  # a fault of ours: moves are not forgotten in silence
            self._tell(left, f"{type(error).__name__}: {error}")
        finally:
            self._under_way.release()

    def _wait(self, task: Task) -> None:
        for error in range(MOST_ERRORS):
            try:
                self._operator.follow(task, lambda _: None)
                return
            except StoreError:
                if error == MOST_ERRORS - 1:
                    raise

    def _tell(self, moves: Moves, cause: str) -> None:
        if not moves:
            return
        names = [f"{move['guest']} to {move['to']}" for move in moves]
        if len(names) > _NAMED:
            names[_NAMED:] = [f"{len(names) - _NAMED} others"]
        problem: shapes.Problem = {
            "what": f"not all that was agreed to was asked for: {', '.join(names)}",
            "cause": cause,
            "target": "",
            "do": "look at the recommendations that there are now",
        }
        self._problem = time.monotonic(), problem

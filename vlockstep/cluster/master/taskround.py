"""What all tasks have in common in a round of a master."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlockstep.cluster.master.view import Seat, Stored, View
from vlockstep.cluster.records import Task, TaskState
from vlockstep.errors import VlockstepError

START_SECONDS = 60.0
"""What a task has begun has come about by then, or the task has failed."""
LEAVE_SECONDS = 10.0
"""So long a move waits for the replica that has moved to end, and for another one to rule where the
primary has gone."""
_MOVES = ("migrate", "switchover")


class Refused(VlockstepError):
    """A task cannot be done, for this reason."""


class Later(VlockstepError):
    """A task cannot be begun yet, for this reason."""


class TaskRound:
    """`now` is in seconds of a monotonic clock; `since` keeps when each task was seen first to be
    under way."""

    def __init__(self, view: View, now: float, since: dict[int, float]) -> None:
        self._view = view
        self._now = now
        self._since = since

    @property
    def busy(self) -> frozenset[str]:
        """Guests whose replicas are being moved, or swap roles."""
        return frozenset(
            task.record.target
            for task in self._view.open_tasks()
            if task.record.kind in _MOVES and task.record.state is TaskState.RUNNING
        )

    def _guest(self, task: Stored[Task]) -> str:
        name = task.record.target
        if name not in self._view.guests:
            raise Refused(f"there is no guest {name!r}")
        return name

    def _lacks(self, seats: Sequence[Seat], problem: str) -> VlockstepError:
        """Something of a guest is not there; a host that has yet to report may have it."""
        reported = all(seat.trusted or seat.lost for seat in seats)
        return (Refused if reported else Later)(problem)

    def _late(self, task: Stored[Task], seconds: float) -> bool:
        return self._now > self._since.setdefault(task.record.number, self._now) + seconds

    def _go(self, task: Stored[Task], progress: str, **result: Any) -> bool:
        return self._view.set_task(
            task, state=TaskState.RUNNING, progress=progress, begun=self._view.wall, result=result
        )

    def _tell(self, task: Stored[Task], progress: str) -> None:
        if progress != task.record.progress:
            self._view.set_task(task, progress=progress)

    def _done(self, task: Stored[Task], outcome: str, **result: Any) -> None:
        """`result` is told besides what was."""
        told = {**task.record.result, **result}
        self._end(task, TaskState.DONE, progress=outcome, result=told)

    def _end(self, task: Stored[Task], state: TaskState, **said: Any) -> None:
        for each in (task.record.number, -task.record.number):
            self._since.pop(each, None)
        self._view.set_task(task, state=state, ended=self._view.wall, **said)

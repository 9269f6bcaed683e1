"""What a simulated host does in the background, and how that stands still."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from vlockstep.host.background import Job

if TYPE_CHECKING:
    from vlockstep.sim.host import SimulatedHost


class SimulatedBackground:
    """A `Background` in virtual time: each job takes a while, and none is done while it stalls."""

    def __init__(self, host: SimulatedHost, name: str) -> None:
        self._host = host
        self._name = name
        self._jobs: deque[Job] = deque()
        self._due = False

    def submit(self, job: Job) -> None:
        self._jobs.append(job)
        self.go_on()

    def drain(self, seconds: float) -> bool:
        """A process that leaves waits for its threads, but no time passes here."""
        while self._jobs and not self._stands_still:
            self._jobs.popleft()()
        return not self._jobs

    def go_on(self) -> None:
        if self._jobs and not self._due and not self._stands_still:
            self._due = True
            self._host.simulation.after_job(self._work)

    def _work(self) -> None:
        if self._stands_still:
            self._due = False
        else:
            self._host.do("background", self._next, turn=False)  # later if the host is paused

    def _next(self) -> None:
        self._due = False
        if self._jobs:
            self._jobs.popleft()()
        self.go_on()

    @property
    def _stands_still(self) -> bool:
        return self._host.crashed or self._host.stalled(self._name)

"""Backgrounds for tests."""

from __future__ import annotations

from collections import deque

from vlockstep.host.background import Job


class Later:
    """A `Background` that works when it is told to."""

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def drain(self, seconds: float) -> bool:
        while self.jobs:
            self.jobs.popleft()()
        return True

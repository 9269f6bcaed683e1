"""Work that may wait for a file, a terminal or a disk: in a thread of its own, never in another's.

Whoever hands it over bounds what waits, and says what a full queue means.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Protocol

Job = Callable[[], None]
"""Handles its own errors."""


class Background(Protocol):
    """Calls what it is given, in order, where it keeps nobody waiting."""

    def submit(self, job: Job) -> None: ...

    def drain(self, seconds: float) -> bool:
        """Wait until all of it has been called; False if that takes longer. Not from a job."""


class BackgroundThread:
    """A `Background` that is a thread."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, job: Job) -> None:
        self._jobs.put(job)

    def drain(self, seconds: float) -> bool:
        done = threading.Event()
        self.submit(done.set)
        return done.wait(seconds)

    def _run(self) -> None:
        while True:
            self._jobs.get()()

"""Calls that may hang, as those to the files of another host do while it is away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from vlockstep.cluster.store.interface import StoreError

T = TypeVar("T")
_Job = tuple[Future[Any], Callable[[], Any]]


class Worker:
    """A thread that makes one call after another, for those who wait no longer than `limit`
    seconds. `name` is what they call, for people."""

    def __init__(self, name: str, limit: float) -> None:
        self.limit = limit
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started = threading.Lock()
        self._thread = threading.Thread(target=_work, args=(self._jobs,), name="store", daemon=True)

    def call(self, call: Callable[[], T]) -> T:
        """Raises what it raises; `StoreError` if it has not ended in time. A call that has not
        begun by then never does."""
        with self._started:
            if self._thread.ident is None:
                self._thread.start()
        job: Future[T] = Future()
        self._jobs.put((job, call))
        try:
            return job.result(self.limit)
        except TimeoutError:
            job.cancel()
        raise StoreError(f"{self._name} does not answer within {self.limit:g} s")

    def close(self, last: Callable[[], object] = lambda: None) -> None:
        """Make this `last` call, sooner or later, and then none."""
        self._jobs.put((Future(), last))
        self._jobs.put(None)


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while (item := jobs.get()) is not None:
        job, call = item
        if not job.set_running_or_notify_cancel():
            continue
        try:
            result = call()
        except BaseException as error:
            job.set_exception(error)
        else:
            job.set_result(result)
        del item, job, call

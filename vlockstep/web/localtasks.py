"""What was asked of guests that are in no cluster: each in a thread, told as tasks."""

from __future__ import annotations

import getpass
import threading
import time
from collections.abc import Callable
from typing import Any

from vlockstep.errors import HostError, UsageError, VlockstepError

KEPT = 100
AT_A_TIME = 16
Came = tuple[str, dict[str, Any]]
"""What came of a task: for people, and its result."""
Work = Callable[[Callable[[str], None]], Came]
"""Takes whom to tell how far it is. Raises `VlockstepError`."""


class LocalTasks:
    """`done` is told of each that ends, from its thread."""

    def __init__(self, done: Callable[[dict[str, Any]], None]) -> None:
        self._done = done
        self._lock = threading.Lock()
        self._tasks: dict[int, dict[str, Any]] = {}
        self._cancels: dict[int, Callable[[], None]] = {}
        self._last = 0

    def start(
        self,
        kind: str,
        target: str,
        details: dict[str, Any],
        work: Work,
        cancel: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Raises `HostError` if too much is under way."""
        now = time.time()
        with self._lock:
            if sum(task["state"] == "running" for task in self._tasks.values()) >= AT_A_TIME:
                raise HostError(f"{AT_A_TIME} tasks are under way: ask again when one is done")
            self._last += 1
            number = self._last
            task = {
                "number": number,
                "kind": kind,
                "target": target,
                "by": getpass.getuser(),
                "created": now,
                "details": details,
                "state": "running",
                "progress": "begins",
                "reason": "",
                "result": {},
                "cancel": False,
                "begun": now,
                "ended": None,
            }
            self._tasks[number] = task
            if cancel is not None:
                self._cancels[number] = cancel
            over = [n for n, each in self._tasks.items() if each["ended"] is not None]
            for old in over[: max(0, len(self._tasks) - KEPT)]:
                del self._tasks[old]
        threading.Thread(
            target=self._run, args=(number, work), name=f"task {number}", daemon=True
        ).start()
        return task

    def all(self) -> dict[str, dict[str, Any]]:
        with self._lock:
            return {str(number): task for number, task in self._tasks.items()}

    def cancel(self, number: int) -> dict[str, Any]:
        """Raises `UsageError` if it cannot be called off."""
        with self._lock:
            task, cancel = self._tasks.get(number), self._cancels.get(number)
        if task is None:
            raise UsageError(f"there is no task {number}")
        if task["ended"] is not None:
            raise UsageError(f"task {number} is over already")
        if cancel is None:
            raise UsageError(f"a {task['kind']} cannot be called off")
        self._change(number, cancel=True)
        try:
            cancel()
        except VlockstepError:
            self._change(number, cancel=False)
            raise
        with self._lock:
            return self._tasks[number]

    def _run(self, number: int, work: Work) -> None:
        ended: dict[str, Any]
        try:
            outcome, result = work(lambda text: self._tell(number, text))
        except VlockstepError as error:
            with self._lock:
                called_off = self._tasks[number]["cancel"]
            state = "canceled" if called_off else "failed"
            ended = {"state": state, "reason": str(error)}
        except Exception as error:  # a fault of ours: the task must not go on for ever
            ended = {"state": "failed", "reason": f"{type(error).__name__}: {error}"}
        else:
            ended = {"state": "done", "progress": outcome, "result": result}
        with self._lock:
            self._cancels.pop(number, None)
        self._done(self._change(number, ended=time.time(), **ended))

    def _tell(self, number: int, text: str) -> None:
        self._change(number, progress=text)

    def _change(self, number: int, **changes: Any) -> dict[str, Any]:
        with self._lock:
            self._tasks[number] = {**self._tasks[number], **changes}
            return self._tasks[number]

"""A running guest in its run directory: its name, and what can be asked of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlockstep.supervise.control import Answer, Command, ControlServer, Told
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.supervise.spec import ReplicaSpec

_FRESH = 0.05
"""Seconds for which a status is still one."""


class ControlSocket:
    """Takes the name at once, so that no two have it; serves who connects from `serve` on."""

    def __init__(self, spec: ReplicaSpec) -> None:
        self._spec = spec
        self._directory = RunDirectory(spec.run_directory)
        self._server: ControlServer | None = None
        self.name, self._listener = self._directory.claim(spec.name, spec.image)
        self._end: Callable[[], None] = lambda: None

    def serve(
        self, commands: Mapping[str, Command], end: Callable[[], None] = lambda: None
    ) -> None:
        """`end` is called when nobody is served any more."""
        self._end = end
        about = {
            "name": self.name,
            "pid": os.getpid(),
            "image": self._spec.image,
            "arguments": list(self._spec.arguments),
            "started_as": self._spec.role or "unprotected",
            "since": time.time(),
            "arbiter": _absolute(self._spec.arbiter),
            "console": _absolute(self._spec.console),
        }
        self._server = ControlServer(self._listener, about, commands)

    def observe(self, event: Told) -> None:
        if self._server is not None:
            self._server.observe(event)

    def close(self) -> None:
        self._directory.release(self.name)
        if self._server is not None:
            self._server.close()
        else:
            self._listener.close()
        self._end()


@contextmanager
def control_socket(spec: ReplicaSpec) -> Iterator[ControlSocket]:
    made = ControlSocket(spec)
    try:
        yield made
    finally:
        made.close()


class StatusCommand:
    """Answers with a status that `ask` gives to whom it is handed; those who come soon after get
    the same one, so that asking often costs the guest nothing."""

    def __init__(self, ask: Callable[[Callable[[Told], None]], None]) -> None:
        self._ask = ask
        self._told: dict[str, Any] = {}
        self._at = float("-inf")

    def __call__(self, request: Mapping[str, Any], answer: Answer) -> None:
        if time.monotonic() < self._at + _FRESH:
            answer(self._told)
            return

        def take(status: Told) -> None:
            self._told = {**status.to_dict(), "time": time.time()}
            self._at = time.monotonic()
            answer(self._told)

        self._ask(take)


def _absolute(path: Path | None) -> str | None:
    """As others find it, who are elsewhere."""
    return None if path is None else os.fsdecode(path.resolve())


def reason_of(request: Mapping[str, Any]) -> str:
    """Why somebody wants the guest to end; replicas tell each other in UTF-8, which JSON's halves
    of characters are not."""
    given = request.get("reason")
    if not isinstance(given, str) or not given:
        return "stopped by request"
    return given.encode(errors="backslashreplace").decode()

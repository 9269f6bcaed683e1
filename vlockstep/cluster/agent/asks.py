"""What replicas of this host were asked for by tasks, and takes a while: each in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from vlockstep.errors import VlockstepError
from vlockstep.supervise.client import GuestClient, facts
from vlockstep.supervise.rundir import RunDirectory

SWAP_SECONDS = 10.0
"""So long a switchover may take."""
_LAST_WORDS = 0.5
"""Seconds after the end of a process for its answer, which came before that."""
_Ask = Callable[[GuestClient, Callable[[str], None]], Mapping[str, Any]]


@dataclass(frozen=True)
class Asked:
    """As `ReplicaReport` has it: for which task, what came of it, how far it is, what it took."""

    mover: int = 0
    moved: str | None = None
    moving: str = ""
    took: Mapping[str, Any] = field(default_factory=dict)


class Asks:
    """By guest, the newest."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._asked: dict[str, Asked] = {}
        self._threads: dict[str, threading.Thread] = {}

    def of(self, guest: str) -> Asked:
        with self._lock:
            return self._asked.get(guest, Asked())

    def move(self, guest: str, endpoint: str, mover: int) -> None:
        self._begin(guest, mover, lambda client, tell: client.request("migrate", tell, to=endpoint))

    def swap(self, guest: str, mover: int) -> None:
        self._begin(guest, mover, lambda client, _: client.ask("switchover", seconds=SWAP_SECONDS))

    def wait(self, guest: str) -> None:
        """The replica has ended: for what it has said."""
        if guest in self._threads:
            self._threads.pop(guest).join(_LAST_WORDS)

    def forget(self, guest: str) -> None:
        """Another replica of it is started."""
        with self._lock:
            self._asked.pop(guest, None)

    def _begin(self, guest: str, mover: int, ask: _Ask) -> None:
        def run() -> None:
            try:
                with closing(GuestClient(self._directory, guest)) as client:
                    answer = ask(client, lambda text: self._tell(guest, mover, moving=text))
                    self._tell(guest, mover, moved="", moving="", took=facts(answer))
            except VlockstepError as error:
                self._tell(guest, mover, moved=str(error), moving="")

        with self._lock:
            self._asked[guest] = Asked(mover, moving="begins")
        self._threads[guest] = threading.Thread(target=run, name="ask", daemon=True)
        self._threads[guest].start()

    def _tell(self, guest: str, mover: int, **said: Any) -> None:
        with self._lock:
            asked = self._asked.get(guest)
            if asked is not None and asked.mover == mover:
                self._asked[guest] = replace(asked, **said)

"""Holding a guest that runs, for as long as it takes to look at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, Self, TypeVar

from vlockstep.errors import HostError, StateError

_T = TypeVar("_T")
SECONDS = 10.0
"""In which a guest comes to a place where it can be looked at."""


class Visited(Protocol):
    """A machine that runs in a thread."""

    def visit(self, action: Callable[[], None]) -> None: ...

    def call_off(self, action: Callable[[], None]) -> None: ...


class Visit(Generic[_T]):
    """Calls `look` in the guest's thread; where that raises `StateError`, again at the next place.
    `wake` is called so that a guest that waits lets it in. From then on the guest is held, until
    `with` ends, unless it was told to `stay`."""

    def __init__(self, machine: Visited, wake: Callable[[], None], look: Callable[[], _T]) -> None:
        self._machine = machine
        self._look = look
        self._lock = threading.Lock()
        self._seen = threading.Event()
        self._going_on = threading.Event()
        self._problem: Exception | None = None
        self._over = False
        self._result: _T
        self._since = 0.0
        self._stays = False
        self.pause = 0.0
        """Seconds for which the guest was held."""
        machine.visit(self._come)
        wake()

    def result(self, seconds: float = SECONDS) -> _T:
        """What `look` returned. Raises what it raised, or `HostError` if that takes longer."""
        if not self._seen.wait(seconds):
            self._machine.call_off(self._come)
        with self._lock:
            self._over = True
            if self._seen.is_set():
                if self._problem is not None:
                    raise self._problem
                return self._result
        if self._problem is not None:
            raise HostError(f"within {seconds:g} s there was no place for it: {self._problem}")
        raise HostError(
            f"the guest has not come within {seconds:g} s to a place where its state can be taken: "
            "it computes without asking for anything; try it later"
        )

    def give_up(self, error: Exception) -> None:
        """Unless the guest has come: it never will, and that is why. From any thread."""
        with self._lock:
            if not self._seen.is_set():
                self._over, self._problem = True, error
                self._seen.set()

    def stay(self) -> None:
        """The guest never goes on."""
        self._stays = True

    def go_on(self) -> None:
        if not self._stays and not self._going_on.is_set():
            self.pause = time.perf_counter() - self._since
            self._going_on.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.go_on()

    def _come(self) -> None:
        """In the guest's thread."""
        with self._lock:
            if self._over:
                return
            self._since = time.perf_counter()
            try:
                self._result = self._look()
                self._problem = None
            except StateError as error:
                self._problem = error
                self._machine.visit(self._come)
                return
            except Exception as error:  # the guest has no part in it
                self._problem = error
            self._seen.set()
        self._going_on.wait()

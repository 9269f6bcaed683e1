"""A guest's thread that runs only when it is told to."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence

from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position

_STUCK = 60.0


class _Killed(BaseException):
    """Ends the thread of a guest whose replica is gone."""


class GuestThread:
    """Knows whether a guest runs or waits, and lets it go one exit at a time."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._running = False
        self._killed = False
        self._at_breakpoint = False
        self.ended = True
        self._machine: Machine | None = None

    def launch(self, run: Callable[[], None], machine: Machine) -> None:
        self._machine = machine
        self.ended = False
        self._running = True
        machine.break_at(Position(machine.exits + 1), self._breakpoint)

        def body() -> None:
            with contextlib.suppress(_Killed):
                run()
            with self._lock:
                self.ended, self._running = True, False
                self._lock.notify_all()

        self._thread = threading.Thread(target=body, name="guest", daemon=True)
        self._thread.start()
        self.settle()

    def _breakpoint(self) -> None:
        """In the guest's thread, after each exit."""
        assert self._machine is not None
        self._machine.break_at(Position(self._machine.exits + 1), self._breakpoint)
        with self._lock:
            self._at_breakpoint = True
            self._running = False
            self._lock.notify_all()
            self._lock.wait_for(lambda: not self._at_breakpoint or self._killed)
        self.check()

    def waits(self) -> None:
        with self._lock:
            self._running = False
            self._lock.notify_all()

    def goes_on(self) -> None:
        with self._lock:
            self._running = True

    def check(self) -> None:
        if self._killed:
            raise _Killed

    def can_step(self) -> bool:
        return self._at_breakpoint

    def step(self) -> None:
        """Let the guest go to the end of its next exit, or to where it waits."""
        with self._lock:
            assert self._at_breakpoint
            self._at_breakpoint = False
            self._running = True
            self._lock.notify_all()
        self.settle()

    def settle(self) -> None:
        """Wait until the guest waits."""
        with self._lock:
            assert self._lock.wait_for(lambda: not self._running, _STUCK), "the guest is stuck"

    def kill(self, conditions: Sequence[threading.Condition]) -> None:
        self._killed = True
        if not self.ended:
            with self._lock:
                self._lock.notify_all()
            for condition in conditions:
                with condition:
                    condition.notify_all()
            self._thread.join(_STUCK)


class QuietCondition(threading.Condition):
    """A Condition for the guest's thread, which tells `GuestThread` when it waits."""

    def __init__(self, guest: GuestThread) -> None:
        super().__init__()
        self._guest = guest
        self._sleeping = False

    def wait(self, timeout: float | None = None) -> bool:
        self._guest.check()
        self._sleeping = True
        self._guest.waits()
        result = super().wait(timeout)
        self._guest.check()
        return result

    def notify_all(self) -> None:
        if self._sleeping:
            self._sleeping = False
            self._guest.goes_on()
        super().notify_all()

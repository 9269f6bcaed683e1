"""A guest's thread of execution as a coroutine, which runs only when it is told to.

A guest waits in the middle of an exit, with the engine's frames on the stack; it can be left there
and entered again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vlockstep.machine.interface import GuestMachine
from vlockstep.machine.position import Position
from vlockstep.machine.world import NoAnswer
from vlockstep.sim import coroutine

if TYPE_CHECKING:
    from vlockstep.sim.coroutine import Coroutine


class GuestTask:
    """Lets a guest go one exit at a time, and knows whether it could."""

    def __init__(self) -> None:
        self._task: Coroutine | None = None
        self._at_exit = False
        self._waiting = False
        self._woken = False
        self._killed = False

    def launch(self, run: Callable[[], None], machine: GuestMachine) -> None:
        """Begin, and go on to the end of the first exit."""

        def breakpoint() -> None:
            machine.break_at(Position(machine.exits + 1), breakpoint)
            self._at_exit = True
            self._leave()
            if self._killed:
                machine.stop()

        machine.break_at(Position(machine.exits + 1), breakpoint)
        self._task = coroutine.make(run)
        self._task.switch()

    # What the simulation calls

    def can_step(self) -> bool:
        return self._at_exit

    def step(self) -> None:
        """Go on to the end of the next exit, or to where the guest has to wait."""
        assert self._at_exit and self._task is not None
        self._at_exit = False
        self._task.switch()

    def settle(self) -> None:
        """Go on if what the guest waited for has happened."""
        while self._waiting and self._woken:
            assert self._task is not None
            self._waiting = False
            self._task.switch()

    def kill(self) -> None:
        """Let the guest stop where it is, since its replica is gone."""
        if self._task is not None and not self._task.dead:
            self._killed = True
            self._task.switch()

    # What the guest waits with

    def wait(self) -> None:
        """From the guest: leave until `wake`."""
        self._waiting, self._woken = True, False
        self._leave()
        if self._killed:
            raise NoAnswer

    def wake(self) -> None:
        self._woken = True

    def _leave(self) -> None:
        assert self._task is not None and self._task.parent is not None
        self._task.parent.switch()


class TaskCondition:
    """What the guest waits on; see `handoff.Condition`."""

    def __init__(self, task: GuestTask) -> None:
        self._task = task

    def __enter__(self) -> TaskCondition:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self) -> None:
        self._task.wait()

    def notify_all(self) -> None:
        self._task.wake()

"""Parts of a simulated process that wait in their midst."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from vlockstep.cluster.sim.host import Process
from vlockstep.sim import coroutine


class Exit(BaseException):
    """The process has ended itself."""


def begin(process: Process, call: Callable[[], object]) -> None:
    """Let it go on until it returns, or its process dies."""

    def run() -> None:
        with suppress(Exit):
            call()

    process.after(0, lambda: coroutine.make(run).switch())


def sleep(process: Process, delay: int) -> None:
    """In a thread of the process: go on after so many nanoseconds of its host's clock, if the
    process lives then."""
    own = coroutine.current()
    assert own.parent is not None, "only a thread sleeps"
    process.after(delay, own.switch)
    own.parent.switch()


def leave() -> None:
    """Go no further in the thread that calls this, if one does: its process is dead."""
    if coroutine.current().parent is not None:
        raise Exit

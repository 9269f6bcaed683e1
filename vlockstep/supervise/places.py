"""What a test has a replica do at places of its execution."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from vlockstep.errors import UsageError
from vlockstep.ft.places import Fault, Place, Stage
from vlockstep.program import PATIENCE
from vlockstep.supervise.spec import TestSpec


def fault(spec: TestSpec, settle: Callable[[float], None]) -> Fault | None:
    """A signal to this process, when what it has already told is `settle`d."""
    text, number, key = spec.crash, signal.SIGKILL, "crash"
    if text is None:
        text, number, key = spec.pause, signal.SIGSTOP, "pause"

    def inject() -> None:
        settle(PATIENCE)
        os.kill(os.getpid(), number)

    return None if text is None else Fault(_place(text, key), inject)


def stops(spec: TestSpec) -> list[Place]:
    return [_of_guest(text, "stop") for text in spec.stop]


def divergence(spec: TestSpec) -> Place | None:
    return None if spec.diverge is None else _of_guest(spec.diverge, "diverge")


def _of_guest(text: str, does: str) -> Place:
    """A place that a guest comes to in either role."""
    place = _place(text, does)
    if place.position is None and place.stage is not Stage.ENTRY:
        raise UsageError(
            f"a guest {does}s at entry:N or exits:N, not at {text}", key=("test", does)
        )
    return place


def _place(text: str, does: str) -> Place:
    try:
        return Place.parse(text)
    except UsageError as error:
        error.key = ("test", does)
        raise

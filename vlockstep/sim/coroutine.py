"""Calls that can be left in their midst and entered again: greenlets, which the extra `sim` brings.

A greenlet needs no lock, and costs a hundredth of a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vlockstep.errors import HostError

if TYPE_CHECKING:
    import greenlet

    Coroutine = greenlet.greenlet


def make(run: Callable[[], object], parent: Coroutine | None = None) -> Coroutine:
    """One that calls `run` when it is first entered, and goes on in `parent` when that returns."""
    try:
        from greenlet import greenlet
    except ImportError:
        raise _missing() from None
    return greenlet(run, parent)


def current() -> Coroutine:
    """The one that calls this; a thread as a whole is one, too."""
    try:
        from greenlet import getcurrent
    except ImportError:
        raise _missing() from None
    return getcurrent()


def _missing() -> HostError:
    return HostError(
        "guests in virtual time need greenlet, which is not installed: pip install 'vlockstep[sim]'"
    )

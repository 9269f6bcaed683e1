"""Signals that ask a command to end: passed on to where it waits, so that nothing is interrupted
halfway."""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_to(put: Callable[[BaseException], None]) -> Iterator[None]:
    """What they would raise, `KeyboardInterrupt` or `SystemExit`."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        put(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))

    heeded = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def raised_on_request() -> Iterator[Callable[[], None]]:
    """Call what it gives where the work may end: it raises what came in. What comes when the work
    is done is late."""
    events = queue.SimpleQueue[BaseException]()

    def stop() -> None:
        if not events.empty():
            raise events.get()

    with signals_to(events.put):
        yield stop

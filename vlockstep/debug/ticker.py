"""Something that is done from time to time, while it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Thread


class Ticker:
    """As a context: `action` is called every `interval` seconds, in a thread of its own, and
    perhaps once more behind it."""

    def __init__(self, interval: float, action: Callable[[], None]) -> None:
        self._interval = interval
        self._action = action
        self._changed = Condition()
        self._wanted = 0
        self._closed = False
        self._thread: Thread | None = None

    def __enter__(self) -> Ticker:
        with self._changed:
            self._wanted += 1
            if self._thread is None:
                self._thread = Thread(target=self._tick, name="moments", daemon=True)
                self._thread.start()
            self._changed.notify()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._wanted -= 1
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _tick(self) -> None:
        with self._changed:
            while not self._closed:
                if not self._wanted:
                    self._changed.wait()
                elif not self._changed.wait(self._interval):
                    self._action()

"""How much of its RAM a guest writes, looked at for a moment beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from vlockstep.errors import HostError
from vlockstep.machine.dirty import PROTECTION, DirtyPages, size_of

SECONDS = 0.25


class WriteSample:
    """In a thread of its own, which tells `answer` how many bytes of pages the guest has written in
    so many seconds; None if that is too dear here, or was stopped. `track` begins to look."""

    def __init__(
        self, track: Callable[[], DirtyPages], answer: Callable[[int | None], None]
    ) -> None:
        self._track = track
        self._answer = answer
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.over = False
        threading.Thread(target=self._run, name="writes", daemon=True).start()

    def stop(self) -> None:
        """Somebody else is to look at the pages, or the guest ends: nothing is looked at behind
        this."""
        self._stopped.set()
        with self._lock:
            self.over = True

    def _run(self) -> None:
        found = None
        with self._lock:
            if not self.over:
                found = self._look()
            self.over = True
        self._answer(found)

    def _look(self) -> int | None:
        try:
            pages = self._track()
        except HostError:
            return None
        try:
            if pages.way != PROTECTION:
                return None
            pages.scan()
            return None if self._stopped.wait(SECONDS) else size_of(pages.scan())
        except HostError:
            return None
        finally:
            pages.close()

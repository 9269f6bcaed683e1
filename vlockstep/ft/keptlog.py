"""The log file of a replica."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from vlockstep.errors import HostError
from vlockstep.host.background import Background
from vlockstep.machine.config import GuestConfig
from vlockstep.protocol.journal import Batch
from vlockstep.protocol.timing import MILLISECOND
from vlockstep.replay.logfile import LogWriter

_FLUSH = 100 * MILLISECOND
"""How often the file gets what there is."""
LIMIT = 64 << 20
"""Bytes of entries that wait for the file at most."""
_OVERHEAD = 256
"""Bytes of memory that a batch takes besides its content, about."""
_MUCH = 1 << 18
"""So many bytes do not wait for company."""
_PATIENCE = 10.0
"""Seconds that the file has for the rest in the end."""


class KeptLog:
    """Writes entries to a new file, in the background. What the file does costs the file, not the
    guest's protection or its status: if it cannot be written, or takes less than the guest gives,
    it ends (one with a hole could not be replayed), and `lost` is told so, once."""

    def __init__(
        self,
        path: Path,
        config: GuestConfig,
        background: Background,
        lost: Callable[[str], None],
        image: Path | None = None,
    ) -> None:
        self._path = path
        self._config = config
        self._image = image
        self._background = background
        self._tell_loss = lost
        self._lock = threading.Lock()
        self._writer: LogWriter | None = None
        self._batches: list[Batch] = []
        self._bytes = 0
        """Of those that were not handed over yet."""
        self._waiting = 0
        self._lost = False
        self._closed = False
        self._flush_at = 0
        self._submit(self._open)

    @property
    def written(self) -> int:
        """Bytes in the file; 0 if it was lost."""
        return 0 if self._writer is None or self._lost else self._writer.written

    def keep(self, now: int, batches: Iterable[Batch]) -> None:
        """Write these as they are, a little later."""
        if self._lost:
            self._batches = []
            return
        for batch in batches:
            self._batches.append(batch)
            self._bytes += _OVERHEAD + len(batch.content)
        with self._lock:
            full = self._waiting + self._bytes > LIMIT
        if full:
            self._lose(f"{self._path} takes less than the guest gives")
        elif now >= self._flush_at or self._bytes >= _MUCH:
            self._flush_at = now + _FLUSH
            self._hand_over()

    def close(self) -> None:
        """Wait for the rest, but not for long."""
        if self._closed:
            return
        self._closed = True
        if not self._lost:
            self._hand_over()
        self._submit(self._complete)
        if not self._background.drain(_PATIENCE):
            self._lose(f"{self._path} does not take what the guest gave")

    def _hand_over(self) -> None:
        batches, size = self._batches, self._bytes
        self._batches, self._bytes = [], 0
        with self._lock:
            self._waiting += size
        self._submit(lambda: self._write(batches, size))

    # In the background

    def _submit(self, work: Callable[[], None]) -> None:
        def job() -> None:
            if self._lost:
                return
            try:
                work()
            except HostError as error:
                self._lose(str(error))

        self._background.submit(job)

    def _open(self) -> None:
        self._writer = LogWriter(self._path, self._config, self._image)

    def _write(self, batches: list[Batch], size: int) -> None:
        assert self._writer is not None
        self._writer.write((batch.first, batch.end, batch.content) for batch in batches)
        with self._lock:
            self._waiting -= size

    def _complete(self) -> None:
        assert self._writer is not None
        self._writer.close()

    def _lose(self, why: str) -> None:
        with self._lock:
            if self._lost:
                return
            self._lost = True
        self._tell_loss(f"{why}; the log file ends here")

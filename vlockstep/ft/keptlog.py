"""The log file of a replica."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from vlockstep.errors import HostError
from vlockstep.host.background import Background
from vlockstep.machine.config import GuestConfig
from vlockstep.protocol.timing import MILLISECOND
from vlockstep.replay.entry import Entry, data_size
from vlockstep.replay.logfile import LogWriter

_FLUSH = 100 * MILLISECOND
"""How often the file gets what there is."""
LIMIT = 64 << 20
"""Bytes of entries that wait for the file at most."""
_ENTRY = 256
"""Bytes of memory that an entry takes besides its data, about."""
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
        self._waiting = 0
        self._lost = False
        self._closed = False
        self._flush_at = 0
        self._submit(self._open)

    @property
    def written(self) -> int:
        """Bytes in the file; 0 if it was lost."""
        return 0 if self._writer is None or self._lost else self._writer.written

    def keep(self, now: int, entries: list[Entry]) -> None:
        if self._lost:
            return
        size = _size(entries)
        with self._lock:
            self._waiting += size
            full = self._waiting > LIMIT
        if full:
            self._lose(f"{self._path} takes less than the guest gives")
            return
        flush = now >= self._flush_at
        if flush:
            self._flush_at = now + _FLUSH
        self._submit(lambda: self._write(entries, size, flush))

    def close(self) -> None:
        """Wait for the rest, but not for long."""
        if self._closed:
            return
        self._closed = True
        self._submit(self._complete)
        if not self._background.drain(_PATIENCE):
            self._lose(f"{self._path} does not take what the guest gave")

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

    def _write(self, entries: list[Entry], size: int, flush: bool) -> None:
        assert self._writer is not None
        self._writer.extend(entries)
        if flush:
            self._writer.flush()
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


def _size(entries: Iterable[Entry]) -> int:
    return sum(_ENTRY + data_size(entry[3]) for entry in entries)

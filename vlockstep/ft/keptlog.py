"""The log file of a replica."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vlockstep.errors import HostError
from vlockstep.ft.timing import MILLISECOND
from vlockstep.machine.config import GuestConfig
from vlockstep.replay.entry import Entry
from vlockstep.replay.logfile import LogWriter

_FLUSH = 100 * MILLISECOND
"""How often the file gets what there is."""


class KeptLog:
    """Writes entries to a new file. A full disk costs the file, not the guest's protection or its
    status: `lost` is told, once."""

    def __init__(
        self,
        path: Path,
        config: GuestConfig,
        lost: Callable[[str], None],
        image: Path | None = None,
    ) -> None:
        self._writer: LogWriter | None = None
        self._lost = lost
        self._flush_at = 0
        try:
            self._writer = LogWriter(path, config, image)
        except HostError as error:
            self._lose(error)

    @property
    def written(self) -> int:
        """Bytes in the file; 0 if it was lost."""
        return 0 if self._writer is None else self._writer.written

    def keep(self, now: int, entries: list[Entry]) -> None:
        if self._writer is None:
            return
        try:
            self._writer.extend(entries)
            if now >= self._flush_at:
                self._writer.flush()
                self._flush_at = now + _FLUSH
        except HostError as error:
            self._lose(error)

    def close(self) -> None:
        if self._writer is None:
            return
        try:
            self._writer.close()
        except HostError as error:
            self._lose(error)

    def _lose(self, error: HostError) -> None:
        self._writer = None
        self._lost(f"{error}; the log file ends here")

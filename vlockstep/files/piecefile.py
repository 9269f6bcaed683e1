"""A file that grows by whole pieces, or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vlockstep.files.locks import empty, open_locked


class PieceFile:
    """A new file at `path`, which `name` names for people, locked as long as it is open. A piece of
    which a part cannot be written, say on a full disk, is the last one: it is cut off again where
    the file can be cut, and nothing ever follows it.

    Raises `OSError`, as `write` does, and `InUse` if somebody else uses the file.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.written = 0
        """Bytes of whole pieces."""
        self._error: OSError | None = None
        self._fd = open_locked(path, name)
        try:
            empty(self._fd)
        except BaseException:
            self.close()
            raise

    def write(self, *parts: bytes) -> None:
        """A piece, of which there may be parts. The same error again and again once it has
        failed."""
        if self._error is not None:
            raise self._error
        try:
            for part in parts:
                rest = memoryview(part)
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self._error = error
            with suppress(OSError):
                os.ftruncate(self._fd, self.written)
            self.close()
            raise
        self.written += sum(map(len, parts))

    def sync(self) -> None:
        """What was written outlives the host's death. Raises `OSError`; then it may not."""
        if self._error is not None:
            raise self._error
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._error = error
            self.close()
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

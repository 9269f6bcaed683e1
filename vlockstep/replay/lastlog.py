"""The log of the last minutes of a guest: a recording if something goes wrong.

Two files are written at once. The older one begins with the guest's whole state of some time ago,
or at boot; the younger one, whose name has `.next` behind it, with a later state. At each keyframe
the younger replaces the older one, and another is begun. So at each moment the older file is a
recording, whatever ends this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from vlockstep.errors import HostError
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.logfile import LogWriter

MOST = 1 << 30
"""Bytes of entries behind a keyframe, behind which no log is kept of a guest whose state cannot be
taken."""


class LastLog:
    """As a `LogWriter`; `open` one at a path, with its first entry. Entry `next` is the first one
    that is to come. If that is not the first since `boot`, there is no file before a keyframe."""

    def __init__(
        self,
        path: Path,
        open: Callable[[Path, int], LogWriter],
        next: int,
        boot: bool,
        most: int = MOST,
    ) -> None:
        self.path = path
        self._open = open
        self._most = most
        self.next = next
        """The entry that is to come next."""
        self._older = open(path, 0) if boot else None
        self._younger: LogWriter | None = None
        self.written = 0
        """Bytes of entries, in all, and of keyframes."""
        self._states = (0, 0)
        """Bytes of the states with which the two begin."""

    def write(self, batches: Iterable[tuple[int, int, bytes]]) -> None:
        """Raises `HostError`, too, if they are too many behind the last keyframe but one."""
        batches = list(batches)
        for first, end, content in batches:
            assert first == self.next, f"batch {first} where {self.next} should be"
            self.next = end
            self.written += len(content)
        for file in self._files:
            file.write(batches)
        if self._older is not None and self._older.written - self._states[0] > self._most:
            raise HostError(f"the guest's state could not be taken for too long: {self.path}")

    def keyframe(self, keyframe: Keyframe) -> None:
        """Begin another file with this state, which has the whole RAM."""
        assert keyframe.sequence == self.next
        if self._younger is not None:
            assert self._older is not None
            self._older.close()
            try:
                self._next_path.replace(self.path)
            except OSError as error:
                raise HostError(f"cannot write the log {self.path}: {error.strerror}") from error
            self._older, self._younger = self._younger, None
        file = self._open(self.path if self._older is None else self._next_path, keyframe.sequence)
        file.keyframe(keyframe)
        self.written += keyframe.size
        if self._older is None:
            self._older, self._states = file, (file.written, 0)
        else:
            self._younger, self._states = file, (self._states[1], file.written)

    @property
    def extent(self) -> int:
        """Bytes of the older file, which are a recording; 0 if there is none yet."""
        return 0 if self._older is None else self._older.written

    def close(self) -> None:
        """Complete the older file, and drop the younger one."""
        for file in self._files:
            file.close()
        with suppress(OSError):
            self._next_path.unlink()

    @property
    def _files(self) -> list[LogWriter]:
        return [file for file in (self._older, self._younger) if file is not None]

    @property
    def _next_path(self) -> Path:
        return next_path(self.path)


def next_path(path: Path) -> Path:
    """Of the younger file."""
    return path.with_name(f"{path.name}.next")

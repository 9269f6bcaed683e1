"""A file that is there whole, or not at all."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from pathlib import Path
from typing import Self

from vlockstep.files.locks import occupy

_NO_UNNAMED = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}
"""What filesystems say that have no files without a name."""


class AtomicFile:
    """What is written appears at `path` when it is kept, in the place of what was there; whatever
    happens before, nothing of it does. On Linux not even under another name, where the filesystem
    has files without any. Unlike a file of `appearing`, it is no other program's to fill.

    Raises `OSError`, and `InUse` if somebody uses what is there.
    """

    def __init__(self, path: Path, mode: int = 0o666) -> None:
        """With this `mode`, less the umask, whatever that of the file was which it replaces."""
        self.written = 0
        """Bytes."""
        self._mode = mode
        self._path = path
        self._before = _occupy(path)
        try:
            self._open()
        except BaseException:
            self._release()
            raise

    def _open(self) -> None:
        path = self._path
        self._part = path.parent / f".{uuid.uuid4().hex}.part"
        self._named = not hasattr(os, "O_TMPFILE")
        if not self._named:
            try:
                flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
                self._fd = os.open(path.parent, flags, self._mode)
            except OSError as error:
                if error.errno not in _NO_UNNAMED:
                    raise
                self._named = True
        if self._named:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            self._fd = os.open(self._part, flags, self._mode)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self.written += len(data)

    def place(self, offset: int, data: bytes) -> None:
        """Write there."""
        while count := os.pwrite(self._fd, data, offset):
            offset, data = offset + count, data[count:]

    def resize(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def keep(self) -> None:
        """It is complete, and outlives the host's death from now on."""
        os.fsync(self._fd)
        if not self._named:
            # with a descriptor, though the path needs none: only then are links followed
            os.link(f"/proc/self/fd/{self._fd}", self._part, src_dir_fd=self._fd)
            self._named = True
        self._part.replace(self._path)
        self._named = False
        sync(self._path.parent)

    def close(self) -> None:
        self._release()
        os.close(self._fd)
        if self._named:
            self._part.unlink(missing_ok=True)

    def _release(self) -> None:
        if self._before >= 0:
            os.close(self._before)
            self._before = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _occupy(path: Path) -> int:
    """Keep others from using what is there: its descriptor, or -1 if there is nothing."""
    if not path.exists():
        return -1
    if not stat.S_ISREG(path.stat().st_mode):
        raise FileExistsError(errno.EEXIST, "it exists and is no regular file")
    return occupy(path, f"the file {path}")


def sync(path: Path) -> None:
    """What is in the file or, of a directory, which names it holds, outlives the host's death."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

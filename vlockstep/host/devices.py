"""What a guest's block devices and console are on the host."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vlockstep.errors import HostError, NoRoom, UsageError
from vlockstep.files.locks import FileLock, InUse, empty
from vlockstep.host.mirror import MirroredDisk
from vlockstep.machine.config import BLOCK_SIZE

_CHUNK = 1 << 20
_PIECE = 1 << 16
_ZEROS = bytes(_CHUNK)
_MAKE_ONE = "make one with: truncate -s 1M FILE"


def _write_all(fd: int, data: bytes, offset: int) -> None:
    while (count := os.pwrite(fd, data, offset)) < len(data):
        offset += count
        data = data[count:]


def _not_written(what: str, error: OSError) -> HostError:
    kind = NoRoom if error.errno in (errno.ENOSPC, errno.EDQUOT) else HostError
    return kind(f"cannot write to {what}: {error.strerror}")


@dataclass
class DiskCounters:
    """Bytes that a guest has read and written."""

    read: int = 0
    written: int = 0


class DiskFile:
    """What holds a disk's bytes on this host: a file, or a block device of the host's, in blocks of
    `block_size` bytes. Sparse files are fine. It is locked: `group` are those who use it together,
    see `FileLock`. People know it as `called`, if that is another path."""

    def __init__(
        self,
        path: Path,
        group: str = "",
        called: Path | None = None,
        block_size: int = BLOCK_SIZE,
    ) -> None:
        self.path = called or path
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
            self.capacity = os.lseek(self._fd, 0, os.SEEK_END)
            self.lock = FileLock(self._fd, f"the disk {self.path}", group, qemu=True)
        except OSError as error:
            self.close()
            mend = f"; {_MAKE_ONE}" if isinstance(error, FileNotFoundError) else ""
            raise HostError(f"cannot open the disk {self.path}: {error.strerror}{mend}") from error
        except InUse:
            self.close()
            raise
        if self.capacity == 0 or self.capacity % block_size:
            self.close()
            mend = f"round it up with: truncate -s %{block_size} {path}"
            if self.capacity == 0:
                mend = _MAKE_ONE
            raise UsageError(
                f"the disk {path} is {self.capacity} bytes; a disk has some multiple of "
                f"{block_size}: {mend}"
            )

    def read(self, offset: int, length: int) -> bytes | None:
        try:
            data = os.pread(self._fd, length, offset)
        except OSError:
            return None
        return data if len(data) == length else None

    def write(self, offset: int, data: bytes) -> None:
        """Raises `HostError`."""
        try:
            _write_all(self._fd, data, offset)
        except OSError as error:
            raise _not_written(f"the disk {self.path}", error) from error

    def extent(self, offset: int) -> tuple[int, int] | None:
        if offset >= self.capacity:
            return None
        try:
            start = os.lseek(self._fd, offset, os.SEEK_DATA)
            end = min(self.capacity, os.lseek(self._fd, start, os.SEEK_HOLE))
            return (start, end) if start < end else None
        except OSError as error:
            # What is no file with holes is all data.
            return None if error.errno == errno.ENXIO else (offset, self.capacity)

    def clear(self) -> None:
        """Raises `HostError`."""
        try:
            if stat.S_ISREG(os.fstat(self._fd).st_mode):
                os.ftruncate(self._fd, 0)
                os.ftruncate(self._fd, self.capacity)
                return
        except OSError as error:
            raise HostError(f"cannot empty the disk {self.path}: {error.strerror}") from error
        for offset in range(0, self.capacity, _CHUNK):
            self.write(offset, _ZEROS[: self.capacity - offset])

    def extents(self) -> Iterator[tuple[int, int]]:
        """All of them."""
        extent = self.extent(0)
        while extent is not None:
            yield extent
            extent = self.extent(extent[1])

    def sync(self) -> None:
        """Raises `HostError`, also if it is closed, which another thread may do."""
        descriptor = self._fd
        if descriptor < 0:
            raise HostError(f"cannot write to the disk {self.path}: it is closed")
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise HostError(f"cannot write to the disk {self.path}: {error.strerror}") from error

    def forget(self) -> None:
        """Let what is read next come from where it was written to."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Raises `OSError` once: it is closed then."""
        if self._fd >= 0:
            descriptor, self._fd = self._fd, -1
            os.close(descriptor)


class Disk(MirroredDisk):
    """A block device in a `DiskFile`, of which others are made by who moves it."""

    storage: DiskFile

    def __init__(self, path: Path, group: str = "", block_size: int = BLOCK_SIZE) -> None:
        super().__init__(DiskFile(path, group, block_size=block_size))
        self.group = group
        self.counters = DiskCounters()

    @property
    def path(self) -> Path:
        return self.storage.path

    @property
    def lock(self) -> FileLock:
        return self.storage.lock

    def read(self, offset: int, length: int) -> bytes | None:
        data = super().read(offset, length)
        self.counters.read += len(data or b"")
        return data

    def write(self, offset: int, data: bytes) -> None:
        super().write(offset, data)
        self.counters.written += len(data)

    def digest(self, tell: Callable[[int], None] = lambda offset: None) -> str:
        """Of the whole content, in hex; holes are read as zeros. On the way, which may be long,
        `tell` is called with how far it is. Raises `HostError` if it cannot be read."""
        digest = hashlib.blake2b(digest_size=16)
        for offset in range(0, self.capacity, _CHUNK):
            tell(offset)
            data = self._certain(offset, min(_CHUNK, self.capacity - offset))
            if data != _ZEROS[: len(data)]:
                digest.update(offset.to_bytes(8, "little"))
                digest.update(data)
        return digest.hexdigest()

    def extents(self) -> Iterator[tuple[int, int]]:
        """`(start, end)` of what is no hole, as far as the filesystem knows, in order."""
        return self.storage.extents()

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """`(offset, content)` of all that is not zeros, at most 64 KiB each, in order. Raises
        `HostError` if it cannot be read."""
        for start, end in self.extents():
            for offset in range(start, end, _PIECE):
                content = self._certain(offset, min(_PIECE, end - offset))
                if content != _ZEROS[: len(content)]:
                    yield offset, content

    def sync(self) -> None:
        """What was written outlives the host's death, also where the disk is about to be. Raises
        `HostError`."""
        for file in self.in_use():
            assert isinstance(file, DiskFile)
            try:
                file.sync()
            except HostError:
                if file in self.in_use():
                    raise

    def _certain(self, offset: int, length: int) -> bytes:
        data = self.storage.read(offset, length)
        if data is None:
            raise HostError(f"cannot read the disk {self.path}")
        return data

    def close(self) -> None:
        self.storage.close()


class ConsoleFile:
    """The guest's console as a file that both replicas may write.

    The text is a stream and each piece has its offset, so that a piece that is there already is
    dropped, one that a dying replica wrote in part is completed, and nothing can appear twice.
    Where this process wrote last it goes on without looking: if the other one has written there
    since, it was the same text. The file is locked, as a `Disk` is.
    """

    def __init__(self, path: Path, group: str = "") -> None:
        self.path = path
        self._end = self._fd = -1
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
            self.lock = FileLock(self._fd, f"the console file {path}", group)
        except OSError as error:
            self.close()
            raise HostError(f"cannot open the console file {path}: {error.strerror}") from error
        except InUse:
            self.close()
            raise

    def truncate(self) -> None:
        """What is in it is of an earlier guest."""
        try:
            empty(self._fd)
        except OSError as error:
            raise HostError(
                f"cannot empty the console file {self.path}: {error.strerror}"
            ) from error

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return os.lseek(self._fd, 0, os.SEEK_END)

    def write(self, offset: int, data: bytes) -> None:
        """Raises `HostError`."""
        try:
            have = 0 if offset == self._end else max(0, self.size - offset)
            if have < len(data):
                _write_all(self._fd, data[have:], offset + have)
        except OSError as error:
            raise _not_written(f"the console file {self.path}", error) from error
        self._end = offset + len(data)

    def sync(self) -> None:
        """What was written outlives the host's death. Raises `HostError`."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise HostError(
                f"cannot write to the console file {self.path}: {error.strerror}"
            ) from error

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class ConsoleStream:
    """The guest's console as this process's standard output. What this process has written it
    does not write again; of what another one wrote it knows nothing."""

    def __init__(self) -> None:
        self._fd = sys.stdout.fileno()
        self._end: int | None = None

    def write(self, offset: int, data: bytes) -> None:
        have = 0 if self._end is None else max(0, self._end - offset)
        view = memoryview(data)[have:]
        self._end = max(self._end or 0, offset + len(data))
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise HostError("nobody reads the guest's console any more") from error
            raise HostError(f"cannot write to the console: {error.strerror}") from error

    def close(self) -> None:
        pass

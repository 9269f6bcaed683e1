"""What both replicas of a `LocalPair` reach: disks and a console that watch what is written."""

from __future__ import annotations

from collections.abc import Callable


class SharedDisk:
    """A disk that both replicas reach."""

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)

    def read(self, offset: int, length: int) -> bytes | None:
        return bytes(self.content[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data


class SharedConsole:
    """A console file that both replicas reach."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, offset: int, data: bytes) -> None:
        assert offset <= len(self.content), "console text was lost"
        have = self.content[offset : offset + len(data)]
        assert data.startswith(have), "console text was repeated with changes"
        self.content[offset : offset + len(data)] = data


class Watched:
    """One replica's access to a shared disk or console, which notes who writes."""

    def __init__(self, sink: SharedDisk | SharedConsole, note: Callable[[], None]) -> None:
        self._sink = sink
        self._note = note

    def read(self, offset: int, length: int) -> bytes | None:
        assert isinstance(self._sink, SharedDisk)
        return self._sink.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self._note()
        self._sink.write(offset, data)

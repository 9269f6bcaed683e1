"""What all simulated replicas reach: a console, disks, and a network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vlockstep.net.nic import Counters

_BLOCK = 512


class SimulatedDisk:
    """What holds the bytes of a disk."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)

    @property
    def capacity(self) -> int:
        return len(self.content)

    def read(self, offset: int, length: int) -> bytes | None:
        return bytes(self.content[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data

    def extent(self, offset: int) -> tuple[int, int] | None:
        """A block that is not all zeros is none of a hole."""
        for start in range(offset - offset % _BLOCK, self.capacity, _BLOCK):
            if any(self.content[start : start + _BLOCK]):
                return max(offset, start), start + _BLOCK
        return None

    def clear(self) -> None:
        self.content[:] = bytes(self.capacity)

    def close(self) -> None: ...


class OwnDisk(SimulatedDisk):
    """Of one that a replica has for itself."""


class SharedDisk(SimulatedDisk):
    """Of one that all replicas reach."""

    def __init__(self, size: int) -> None:
        super().__init__(bytes(size))


class SharedConsole:
    """`complaints` are what a person who reads it would see going wrong."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.complaints: list[str] = []

    def write(self, offset: int, data: bytes) -> None:
        if offset > len(self.content):
            self.complaints.append(f"console text was lost from {len(self.content)} to {offset}")
        have = self.content[offset : offset + len(data)]
        if not data.startswith(have):
            self.complaints.append(f"console text at {offset} changed from {have!r} to {data!r}")
        self.content[offset : offset + len(data)] = data


class Watched:
    """One replica's access to a shared disk or console. `begin` is called before each write, and
    `halfway` when half of it is made."""

    def __init__(
        self,
        sink: SharedDisk | SharedConsole,
        begin: Callable[[], None],
        halfway: Callable[[], None],
    ) -> None:
        self._sink = sink
        self._begin = begin
        self._halfway = halfway

    def write(self, offset: int, data: bytes) -> None:
        self._begin()
        self._sink.write(offset, data[: len(data) // 2])
        self._halfway()
        self._sink.write(offset, data)


class WatchedDisk(Watched):
    """A `Storage`."""

    def __init__(
        self, disk: SharedDisk, begin: Callable[[], None], halfway: Callable[[], None]
    ) -> None:
        super().__init__(disk, begin, halfway)
        self.capacity = disk.capacity
        self.read = disk.read
        self.extent = disk.extent
        self.clear = disk.clear
        self.close = disk.close


class SimulatedNic:
    """One replica's connection to the network; a `Nic`. `send` takes what it sends, `arrived` is
    called when there is a frame to read."""

    def __init__(self, send: Callable[[bytes], None], arrived: Callable[[], None]) -> None:
        self.counters = Counters()
        self.plugged = True
        self._send = send
        self._arrived = arrived
        self._frames: deque[bytes] = deque()

    def deliver(self, frame: bytes) -> None:
        if self.plugged:
            self._frames.append(frame)
            self._arrived()

    def descriptors(self) -> tuple[int, ...]:
        return ()

    def waiting(self) -> bool:
        return bool(self._frames)

    def read(self, limit: int) -> bytes | None:
        return self._frames.popleft() if self._frames else None

    def write(self, frame: bytes) -> None:
        if self.plugged:
            self._send(frame)

    def connected(self) -> bool:
        return self.plugged

    def close(self) -> None:
        pass

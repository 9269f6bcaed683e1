"""A NIC whose network is two lists."""

from __future__ import annotations

from collections import deque

from vlockstep.net.nic import Counters


class MemoryNic:
    """A `Nic` that receives what is in `incoming`, and keeps in `sent` what is sent."""

    def __init__(self, *frames: bytes) -> None:
        self.counters = Counters()
        self.incoming = deque(frames)
        self.sent: list[bytes] = []
        self.closed = False

    def descriptors(self) -> tuple[int, ...]:
        return (7, 8)

    def waiting(self) -> bool:
        return bool(self.incoming)

    def read(self, limit: int) -> bytes | None:
        while self.incoming:
            frame = self.incoming.popleft()
            if len(frame) <= limit:
                self.counters.received += 1
                self.counters.received_bytes += len(frame)
                return frame
            self.counters.receive_dropped += 1
        return None

    def write(self, frame: bytes) -> None:
        self.sent.append(frame)

    def connected(self) -> bool:
        return bool(self.sent)

    def close(self) -> None:
        self.closed = True

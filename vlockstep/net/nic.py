"""What a guest's NIC is connected to, and what every back end counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

HEADER = 14
"""Bytes of an Ethernet header: destination, source, type."""
MIN_FRAME = HEADER
MAX_FRAME = 65535 + HEADER


@dataclass
class Counters:
    """Frames and bytes received from the network and sent to it, and what was dropped."""

    received: int = 0
    received_bytes: int = 0
    sent: int = 0
    sent_bytes: int = 0
    receive_dropped: int = 0
    """Too short, or longer than the guest takes."""
    send_dropped: int = 0
    """The network would not take them, now or at all."""
    capture_dropped: int = 0
    """Left out of the capture, whose file would not take them in time."""


class Nic(Protocol):
    """One connection to a network. Frames are whole Ethernet frames without FCS.

    Nothing here blocks. `read` and `waiting` are called from one thread at a time, `write` from
    one other.
    """

    counters: Counters

    def descriptors(self) -> tuple[int, ...]:
        """File descriptors; when one is readable, look at `waiting`."""

    def waiting(self) -> bool:
        """Whether there may be a frame to read. Only after False do the descriptors tell."""

    def read(self, limit: int) -> bytes | None:
        """The next frame that is no longer than `limit`, or None. Drops and counts others."""

    def write(self, frame: bytes) -> None:
        """Send a frame, or drop and count it. Never raises for what the network does."""

    def connected(self) -> bool:
        """Whether there is a network at the other end, as far as can be told from here."""

    def close(self) -> None: ...

"""Capture of what a NIC receives and sends, as a file that Wireshark and tcpdump open."""

from __future__ import annotations

import os
import struct
import threading
import time
from pathlib import Path

from vlockstep.errors import HostError
from vlockstep.net.nic import MAX_FRAME, Counters, Nic

# The classic format with nanoseconds: draft-ietf-opsawg-pcap, section 4
_MAGIC = 0xA1B23C4D
_ETHERNET = 1


class Capture:
    """A `Nic` around another one. A full disk ends the capture, not the traffic."""

    def __init__(self, nic: Nic, path: Path) -> None:
        self._nic = nic
        self._lock = threading.Lock()
        self.counters: Counters = nic.counters
        self.descriptors = nic.descriptors
        self.waiting = nic.waiting
        self.connected = nic.connected
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            os.write(self._fd, struct.pack("<IHHIIII", _MAGIC, 2, 4, 0, 0, MAX_FRAME, _ETHERNET))
        except OSError as error:
            self._end()
            raise HostError(f"cannot write the capture {path}: {error.strerror}") from error

    def read(self, limit: int) -> bytes | None:
        frame = self._nic.read(limit)
        if frame is not None:
            self._keep(frame)
        return frame

    def write(self, frame: bytes) -> None:
        self._keep(frame)
        self._nic.write(frame)

    def close(self) -> None:
        self._nic.close()
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _keep(self, frame: bytes) -> None:
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        record = struct.pack("<IIII", seconds, nanoseconds, len(frame), len(frame)) + frame
        with self._lock:
            if self._fd < 0:
                return
            try:
                written = os.write(self._fd, record)
            except OSError:
                written = 0
            if written < len(record):
                self._end()

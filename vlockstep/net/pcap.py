"""Capture of what a NIC receives and sends, as a file that Wireshark and tcpdump open."""

from __future__ import annotations

import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

from vlockstep.errors import HostError
from vlockstep.files.piecefile import PieceFile
from vlockstep.host.background import Background
from vlockstep.net.nic import MAX_FRAME, Counters, Nic

# The classic format with nanoseconds: draft-ietf-opsawg-pcap, section 4
_MAGIC = 0xA1B23C4D
_ETHERNET = 1
_HEADER = struct.pack("<IHHIIII", _MAGIC, 2, 4, 0, 0, MAX_FRAME, _ETHERNET)
LIMIT = 16 << 20
"""Bytes that wait for the file at most."""
_PATIENCE = 1.0
"""Seconds that the file has for the rest in the end."""


class Capture:
    """A `Nic` around another one. The file is written in the background: a frame for which it has
    no room yet is left out and counted, and a full disk ends the capture, not the traffic.

    Raises `HostError` if the file cannot be written, unless it is a FIFO, which may have no reader
    yet.
    """

    def __init__(self, nic: Nic, path: Path, background: Background) -> None:
        self._nic = nic
        self._path = path
        self._background = background
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = False
        self.counters: Counters = nic.counters
        self.descriptors = nic.descriptors
        self.waiting = nic.waiting
        self.connected = nic.connected
        self._file: PieceFile | None = None
        """None while it is not open, and if it cannot be written any more."""
        if path.is_fifo():
            background.submit(self._try_to_open)
            return
        try:
            self._open()
        except OSError as error:
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
        """Frames from now on are not for the file."""
        self._nic.close()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._background.submit(self._close)
        self._background.drain(_PATIENCE)

    def _keep(self, frame: bytes) -> None:
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        record = struct.pack("<IIII", seconds, nanoseconds, len(frame), len(frame)) + frame
        with self._lock:  # the file has the frames of both directions in the order of their times
            if self._closed:
                return
            if self._waiting + len(record) > LIMIT:
                self.counters.capture_dropped += 1
                return
            self._waiting += len(record)
            self._background.submit(lambda: self._write(record))

    # In the background

    def _open(self) -> None:
        file = PieceFile(self._path, f"the capture {self._path}")
        file.write(_HEADER)
        self._file = file

    def _try_to_open(self) -> None:
        with suppress(OSError):
            self._open()

    def _write(self, record: bytes) -> None:
        try:
            if self._file is not None:
                self._file.write(record)
        except OSError:
            self._file = None
        with self._lock:
            self._waiting -= len(record)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

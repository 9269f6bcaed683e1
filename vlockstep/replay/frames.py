"""Frames: what logs and snapshots are files of.

A frame is `u32 length, u32 CRC-32 of the content, u32 CRC-32 of those eight bytes, content`,
little-endian. Since its head has a checksum of its own, a file that was cut off and one that was
damaged are told apart.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from vlockstep.errors import VlockstepError

MAX_CONTENT = (1 << 32) - 1
_HEAD = struct.Struct("<III")


def frame(content: bytes) -> bytes:
    return head_of([content]) + content


def head_of(pieces: Iterable[bytes]) -> bytes:
    """What stands before them in a frame of them all."""
    length = checksum = 0
    for piece in pieces:
        length, checksum = length + len(piece), zlib.crc32(piece, checksum)
    head = struct.pack("<II", length, checksum)
    return head + struct.pack("<I", zlib.crc32(head))


class FrameReader:
    """Reads a file that begins with `magic`: a `kind` of file, of frames that are each a `part`.

    No content is longer than `limit`. Raises `error` for what is none, or damaged. `truncated` is
    the offset at which an incomplete frame begins, once that was met.
    """

    def __init__(
        self,
        path: Path,
        magic: bytes,
        kind: str,
        part: str,
        error: type[VlockstepError],
        limit: int = MAX_CONTENT,
    ) -> None:
        self.path = path
        self.truncated: int | None = None
        self._part = part
        self._error = error
        self._limit = limit
        try:
            self.size = path.stat().st_size
            if not path.is_file():  # opening a FIFO would wait, perhaps for ever
                raise error(f"cannot read the {kind} {path}: it must be a regular file")
            self._file: BinaryIO = path.open("rb")
        except OSError as trouble:
            raise error(f"cannot read the {kind} {path}: {trouble.strerror}") from trouble
        if self._file.read(len(magic)) != magic:
            self.close()
            raise error(f"{path} is not a vlockstep {kind}")

    @property
    def offset(self) -> int:
        """Of the frame that is read next."""
        return self._file.tell()

    def seek(self, offset: int) -> None:
        """Go to where a frame begins."""
        self._file.seek(offset)

    def next(self) -> bytes | None:
        """The next frame's content; None at the end of the file or of what is whole of it."""
        offset = self._file.tell()
        head = self._file.read(_HEAD.size)
        if not head:
            return None
        if len(head) < _HEAD.size:
            self.truncated = offset
            return None
        length, checksum, head_checksum = _HEAD.unpack(head)
        if zlib.crc32(head[:8]) != head_checksum or length > self._limit:
            raise self._error(
                f"{self.path}: damaged at offset {offset} (the head of a {self._part})"
            )
        if length > self.size - offset - _HEAD.size:
            self.truncated = offset
            return None
        content = self._file.read(length)
        if zlib.crc32(content) != checksum:
            start = offset + _HEAD.size
            raise self._error(
                f"{self.path}: damaged between offsets {start} and {start + length} "
                f"(checksum of a {self._part})"
            )
        return content

    def close(self) -> None:
        self._file.close()

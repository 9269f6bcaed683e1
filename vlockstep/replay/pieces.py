"""What RAM and disks hold, as pieces that are not all zeros, compressed in groups.

A group is msgpack of `[[address, content], ...]`, in order, compressed by Zstandard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgpack

if TYPE_CHECKING:
    from zstandard import ZstdCompressor, ZstdDecompressor

Piece = tuple[int, bytes]
"""An address, and what lies there."""
PIECE = 1 << 16
"""Bytes of the largest."""
_GROUP = 1 << 20
_MAX_GROUP = _GROUP + PIECE + (1 << 16)
"""Bytes of the largest group, its numbers included."""
_LEVEL = 1


def pack(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """Groups of them."""
    compressor = _compressor()
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        group.append(piece)
        size += len(piece[1])
        if size >= _GROUP or len(group) >= _GROUP // PIECE:
            yield compressor.compress(msgpack.packb(group))
            group, size = [], 0
    if group:
        yield compressor.compress(msgpack.packb(group))


class Unpacker:
    """The reverse of `pack`, for what has `size` bytes: groups one after the other. Raises
    `ValueError` for what is none, or not in order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._end = 0
        self._decompressor = _decompressor()

    def unpack(self, group: bytes) -> list[Piece]:
        from zstandard import ZstdError, frame_content_size

        try:
            if not 0 < frame_content_size(group) <= _MAX_GROUP:
                raise ValueError("a group of pieces that is too large")
            content = self._decompressor.decompress(group, allow_extra_data=False)
            found = msgpack.unpackb(content, use_list=False)
        except (ZstdError, TypeError, msgpack.UnpackException) as error:
            raise ValueError(f"a group of pieces that is none ({error})") from error
        if type(found) is not tuple:
            raise ValueError("a group of pieces that is none")
        return [self._checked(piece) for piece in found]

    def _checked(self, piece: object) -> Piece:
        if type(piece) is not tuple or len(piece) != 2:
            raise ValueError("a piece that is none")
        address, content = piece
        if type(address) is not int or type(content) is not bytes:
            raise ValueError("a piece that is none")
        if address < self._end or not 0 < len(content) <= PIECE:
            raise ValueError("pieces that overlap, or are too large")
        self._end = address + len(content)
        if self._end > self._size:
            raise ValueError("a piece that lies outside")
        return address, content


def _compressor() -> ZstdCompressor:
    from zstandard import ZstdCompressor

    return ZstdCompressor(level=_LEVEL)


def _decompressor() -> ZstdDecompressor:
    from zstandard import ZstdDecompressor

    return ZstdDecompressor()

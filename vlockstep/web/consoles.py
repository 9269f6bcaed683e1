"""Pieces of a guest's console, from its file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vlockstep.errors import HostError
from vlockstep.web import shapes

MAX_PIECE = 64 << 10


def read_console(guest: str, path: Path, after: int | None) -> shapes.Console:
    """What begins `after` so many bytes, or the end; no text is cut within a character. Raises
    `HostError` if the file is none, or cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise HostError(f"the console of {guest} goes to {path}, which is no file")
            size = found.st_size
            begin = max(0, size - MAX_PIECE) if after is None else min(after, size)
            file.seek(begin)
            data = file.read(MAX_PIECE)
    except OSError as error:
        raise HostError(f"cannot read the console {path}: {error.strerror}") from error
    if after is None and begin:
        begin, data = _whole(begin, data)
    data = data[: len(data) - _unfinished(data)]
    return {
        "guest": guest,
        "after": begin,
        "next": begin + len(data),
        "size": size,
        "text": data.decode(errors="replace"),
    }


def _whole(begin: int, data: bytes) -> tuple[int, bytes]:
    """From the next line on, if there is one."""
    skipped = data.find(b"\n") + 1
    return begin + skipped, data[skipped:]


def _unfinished(data: bytes) -> int:
    """How many bytes at the end begin a character that is not all there."""
    for count in range(1, min(4, len(data)) + 1):
        byte = data[-count]
        if byte & 0xC0 == 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return count if length > count else 0
        if byte & 0x80 == 0:
            return 0
    return 0

"""Files of whole pieces, on disks that are full and then are not, and where nothing can be cut."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vlockstep.files.locks import InUse, open_locked
from vlockstep.files.piecefile import PieceFile


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """For this process's files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_whole_pieces(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"of another life")
    file = PieceFile(path, "the file")
    file.write(b"one ")
    file.write(b"two")
    assert (path.read_bytes(), file.written) == (b"one two", 7)
    file.close()
    file.close()


def test_it_is_private_unless_it_was_not_before(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old.touch(0o644)
    for path in (new, old):
        PieceFile(path, "the file").close()
    assert [path.stat().st_mode & 0o777 for path in (new, old)] == [0o600, 0o644]


def test_a_file_in_use_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"in use")
    other = open_locked(path, "somebody else's")
    with pytest.raises(InUse, match="the file is in use by this very process"):
        PieceFile(path, "the file")
    assert path.read_bytes() == b"in use"
    os.close(other)
    PieceFile(path, "the file").close()
    assert path.read_bytes() == b""


def test_a_torn_piece_is_the_last_one_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "x"
    file = PieceFile(path, "the file")
    file.write(bytes(900))
    with no_room_beyond(1000), pytest.raises(OSError, match="File too large"):
        file.write(bytes(200))
    assert (path.stat().st_size, file.written) == (900, 900)
    with pytest.raises(OSError, match="File too large"):
        file.write(b"there is room again")
    assert (path.stat().st_size, file.written) == (900, 900)


def test_nothing_follows_a_torn_piece_that_cannot_be_cut_off(tmp_path: Path) -> None:
    """A FIFO whose reader leaves after a part, and comes back."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    opened: list[PieceFile] = []
    opening = threading.Thread(target=lambda: opened.append(PieceFile(path, "the file")))
    opening.start()
    reader = os.open(path, os.O_RDONLY)
    opening.join()
    file = opened[0]
    file.write(b"one")

    def take_a_part() -> None:
        assert os.read(reader, 3) == b"one"
        os.read(reader, 1)
        os.close(reader)

    part = threading.Thread(target=take_a_part)
    part.start()
    with pytest.raises(BrokenPipeError):
        file.write(bytes(1 << 20))
    part.join()
    again = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(BrokenPipeError):
        file.write(b"two")
    assert os.read(again, 100) == b""
    os.close(again)
    assert file.written == 3

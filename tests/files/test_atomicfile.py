"""A file that appears when it is whole: whoever dies before, and however, leaves what was there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vlockstep.files.atomicfile import AtomicFile
from vlockstep.files.locks import FileLock, InUse

KILLED = """
import os, signal, sys
from pathlib import Path
from vlockstep.files.atomicfile import AtomicFile
file = AtomicFile(Path(sys.argv[1]))
file.write(b"half")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=["unnamed", "named"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """On filesystems with and without files that have no name."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE")
    return str(request.param)


def listing(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.usefixtures("kind")
def test_it_appears_when_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        before = listing(tmp_path)
        with AtomicFile(path) as file:
            file.write(content[:3])
            file.write(content[3:])
            assert {n: c for n, c in listing(tmp_path).items() if n == "file"} == before
            file.keep()
        assert listing(tmp_path) == {"file": content} and file.written == len(content)
    assert path.stat().st_mode & 0o600 == 0o600


@pytest.mark.usefixtures("kind")
def test_one_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "file") as file:
        file.write(b"content")
    assert listing(tmp_path) == {}


def test_who_is_killed_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert listing(tmp_path) == {"file": b"before"}


@pytest.mark.usefixtures("kind")
def test_what_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "file", Path("/dev/null")):
        with pytest.raises(OSError):
            AtomicFile(path)
    assert listing(tmp_path) == {}


def test_a_filesystem_without_unnamed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its refusal is one of those that are known: a flag that no filesystem has is refused so."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)
    with AtomicFile(tmp_path / "file") as file:
        file.write(b"content")
        file.keep()
    assert listing(tmp_path) == {"file": b"content"}


def test_a_file_that_somebody_uses_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w+b") as used:
        FileLock(used.fileno(), "a disk")
        with pytest.raises(InUse, match=f"the file {path} is in use by this very process"):
            AtomicFile(path)

"""A file is there when it is whole, or not at all."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path

import pytest

from vlockstep.errors import HostError, UsageError
from vlockstep.files.appearing import appearing
from vlockstep.files.locks import InUse
from vlockstep.host.devices import Disk


def no_links(path: Path, target: Path) -> None:
    raise OSError(errno.EPERM, "as on a file system where a file has one name")


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    return bool(request.param)


@pytest.mark.usefixtures("links")
def test_it_appears_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with appearing(path, "the file") as draft:
        draft.write_text("whole")
        assert not path.exists() and draft.parent == tmp_path
    assert path.read_text() == "whole"
    assert [*tmp_path.iterdir()] == [path]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), appearing(tmp_path / "file", "the file") as draft:
        draft.write_text("hal")
        1 / 0  # noqa: B018
    no_room = pytest.raises(HostError, match="cannot write the file: No space left on device")
    with no_room, appearing(tmp_path / "file", "the file"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    no_folder = pytest.raises(HostError, match="cannot write the file: No such file or directory")
    with no_folder, appearing(tmp_path / "none" / "file", "the file"):
        pass
    assert [*tmp_path.iterdir()] == []


@pytest.mark.usefixtures("links")
def test_it_replaces_only_what_it_may(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UsageError, match="is there already"), appearing(path, "the file"):
        pass
    with appearing(path, "the file", may_replace=True) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    other = tmp_path / "other"
    with pytest.raises(UsageError, match="is there already"), appearing(other, "the file"):
        other.write_text("came meanwhile")
    assert other.read_text() == "came meanwhile"
    assert len([*tmp_path.iterdir()]) == 2


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(512))
    with (
        closing(Disk(path)),
        pytest.raises(InUse),
        appearing(path, "the file", may_replace=True),
    ):
        pass
    with appearing(path, "the file", may_replace=True), pytest.raises(InUse):
        Disk(path)

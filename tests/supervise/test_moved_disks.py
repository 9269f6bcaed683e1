"""Disks that had moved when a guest ran last: it starts from where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlockstep.errors import UsageError
from vlockstep.host.attach import DiskSpec
from vlockstep.supervise.files import check_moved


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The old one, and the new one."""
    for name in ("old", "new"):
        (tmp_path / name).write_text(name)
    return tmp_path / "old", tmp_path / "new"


def test_the_file_that_it_has_left_is_refused(files: tuple[Path, Path]) -> None:
    old, new = files
    with pytest.raises(UsageError, match=f"had moved to {new} .*: give that") as refused:
        check_moved([DiskSpec("disk", old)], {"disk": str(new)})
    assert refused.value.key == ("disk", "disk")


def test_others_are_not(files: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = files
    (tmp_path / "link").symlink_to(new)
    for spec in (new, tmp_path / "link"):
        check_moved([DiskSpec("disk", spec)], {"disk": str(new)})
    check_moved([DiskSpec("disk", old, local=True)], {"disk": str(new)})
    check_moved([DiskSpec("other", old)], {"disk": str(new)})
    new.rename(old)
    check_moved([DiskSpec("disk", old)], {"disk": str(new)})

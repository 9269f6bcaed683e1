"""A replica needs room for all of its guest's RAM: of the computer, and of its control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlockstep.errors import HostError
from vlockstep.host.room import expect_room

MIB = 1 << 20


def system(root: Path, available: int, groups: dict[str, tuple[str, int, int]]) -> Path:
    """Its files: MiB that are available, and each group's limit, and what it uses, and what of that
    are copies of files, in bytes."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(
        f"MemTotal:       99999999 kB\nMemAvailable:   {available * 1024} kB\nHugePages_Total: 0\n"
    )
    (root / "proc/self/cgroup").write_text("4:memory:/elsewhere\n0::/outer/inner\n")
    for name, (limit, used, file) in groups.items():
        group = root / "sys/fs/cgroup" / name
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 1\nfile {file}\n")
    return root


@pytest.mark.parametrize(
    ("available", "groups", "room"),
    [
        (300, {}, 300),
        (300, {"outer": ("max", 7, 0), "outer/inner": ("max", 7, 0)}, 300),
        (300, {"outer/inner": (str(200 * MIB), 50 * MIB, 0)}, 150),
        (300, {"outer/inner": (str(200 * MIB), 50 * MIB, 30 * MIB)}, 180),
        (300, {"outer": (str(100 * MIB), 0, 0), "outer/inner": (str(200 * MIB), 0, 0)}, 100),
        (300, {"other": (str(100 * MIB), 0, 0)}, 300),
    ],
)
def test_the_least_that_is_available_counts(
    tmp_path: Path, available: int, groups: dict[str, tuple[str, int, int]], room: int
) -> None:
    root = system(tmp_path, available, groups)
    expect_room(room * MIB, root)
    with pytest.raises(HostError, match=f"needs {room + 1} MiB of memory, and {room} MiB are"):
        expect_room((room + 1) * MIB, root)


def test_where_nothing_says_so_there_is_room(tmp_path: Path) -> None:
    expect_room(1 << 50, tmp_path)


def test_this_computer_has_room_for_a_guest_and_not_for_any() -> None:
    expect_room(MIB)
    with pytest.raises(HostError, match="are available here"):
        expect_room(1 << 50)


def test_a_group_that_is_all_a_process_sees_counts_too(tmp_path: Path) -> None:
    """In a namespace of its own, as in a container."""
    root = system(tmp_path, 300, {".": (str(100 * MIB), 0, 0)})
    (root / "proc/self/cgroup").write_text("0::/\n")
    with pytest.raises(HostError, match="and 100 MiB are"):
        expect_room(200 * MIB, root)

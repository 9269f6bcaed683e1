"""Whether this computer has room for a guest's RAM.

Pages that a guest never touches cost nothing, but it may touch all it has: who is to take over must
not find out then that there is no memory. So a replica needs room for all of it when it begins.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from vlockstep.errors import HostError

_MIB = 1 << 20
_SYSTEM = Path("/")


def expect_room(size: int, system: Path = _SYSTEM, what: str = "the guest") -> None:
    """For `size` bytes of RAM more, which `what` takes. Raises `HostError` if there is none, as far
    as can be found out below the root of the file `system`."""
    left = available(system)
    if size > left:
        raise HostError(
            f"{what} needs {size / _MIB:.0f} MiB of memory, and {left / _MIB:.0f} MiB are "
            "available here: end something else, or run it on another host",
        )


def available(system: Path = _SYSTEM) -> float:
    """Bytes of RAM that programs can still get here; infinity if nothing says so."""
    return min(_of_computer(system), _of_groups(system))


def _of_computer(system: Path) -> float:
    """Bytes that programs can still get; infinity if nothing says so."""
    found = _fields(system / "proc/meminfo").get("MemAvailable:")
    return float("inf") if found is None else found * 1024


def _of_groups(system: Path) -> float:
    """The same of the control groups that this process is in, where they are version 2."""
    least = float("inf")
    for line in _text(system / "proc/self/cgroup").splitlines():
        number, _, path = line.partition("::")
        if number != "0" or not path.startswith("/"):
            continue
        top = system / "sys/fs/cgroup"
        group = top / path[1:]
        for each in (group, *group.parents):
            least = min(least, _of_group(each))
            if each == top:
                break
    return least


def _of_group(group: Path) -> float:
    """What it may still get. Its copies of files make way for that."""
    with contextlib.suppress(ValueError):
        limit, used = int(_text(group / "memory.max")), int(_text(group / "memory.current"))
        return limit - used + _fields(group / "memory.stat").get("file", 0)
    return float("inf")


def _fields(path: Path) -> dict[str, int]:
    words = (line.split() for line in _text(path).splitlines())
    return {name: int(value) for name, value, *_ in words if value.isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

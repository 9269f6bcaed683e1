"""What this host knows of its processes: which one a number means, and what it was started as."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

_PROC = Path("/proc")
_MAX_LENGTH = 100


def command_line(pid: int) -> str:
    """For people: as it would be typed, shortened."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return "unknown"
    text = shlex.join(word.decode(errors="replace") for word in words)
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"


def identity(pid: int) -> str:
    """What tells a running process from all that have ever had its number; "" where the system does
    not tell."""
    here, start = _here(), _start(pid)
    return f"{here} {start}" if here and start else ""


def runs(pid: int, then: str) -> bool | None:
    """Whether the process still runs whose `identity` it was `then`; None if that is not for this
    system to know, such as of a process on another host."""
    here, _, start = then.rpartition(" ")
    if not here or here != _here():
        return None
    now = _start(pid)
    if now:
        return now == start
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # and hidden from us
    return now is None


def processor_time(pid: int) -> int:
    """What a process has spent on processors, in ticks of the kernel; 0 where that is not told."""
    try:
        numbers = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return int(numbers[11]) + int(numbers[12])
    except (OSError, ValueError, IndexError):
        return 0


def _here() -> str:
    """The system since it was booted, as a process in our namespaces sees it."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        spaces = [str((_PROC / "self/ns" / kind).readlink()) for kind in ("pid", "time")]
    except OSError:
        return ""
    return " ".join([boot, *spaces])


def _start(pid: int) -> str | None:
    """When it was started, by the kernel's clock: "" if it has ended and was not waited for, None
    if it cannot be seen."""
    try:
        state, *numbers = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return "" if state in "ZX" else numbers[18]

"""What this host knows of its processes: which one a number means, and what it was started as."""

from __future__ import annotations

import shlex
from pathlib import Path

_MAX_LENGTH = 100


def command_line(pid: int) -> str:
    """For people: as it would be typed, shortened."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return "unknown"
    text = shlex.join(word.decode(errors="replace") for word in words)
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"

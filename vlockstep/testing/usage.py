"""What the system knows of a process. Linux."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Usage(NamedTuple):
    """What a process has used, and what it holds; memory in bytes. `overhead` is what it has in
    memory besides the guest's RAM."""

    cpu_seconds: float
    resident: int
    overhead: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        process = Path("/proc") / str(pid)
        times = (process / "stat").read_bytes().rpartition(b")")[2].split()
        lines = (process / "status").read_text(errors="replace").splitlines()
        status = dict(line.split(":\t", 1) for line in lines)
        resident, shared = (1024 * int(status[name].split()[0]) for name in ("VmRSS", "RssShmem"))
        return cls(
            cpu_seconds=(int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
            resident=resident,
            overhead=resident - shared,
            descriptors=len(list((process / "fd").iterdir())),
            threads=int(status["Threads"]),
        )

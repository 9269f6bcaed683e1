"""A fault as data: what is done to a pair, what must happen, and how to run it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vlockstep.testing.faults.trial import Trial


@dataclass(frozen=True)
class Fault:
    """`inject` does it, checks from the outside, and tells what happened. `needs` are programs
    that are not Python packages."""

    name: str
    must: str
    inject: Callable[[Trial], str]
    root: bool = False
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """What it needs and this machine does not offer; empty if nothing."""
        if self.root and os.geteuid() != 0:
            return "needs root"
        missing = [program for program in self.needs if shutil.which(program) is None]
        return f"needs {', '.join(missing)}" if missing else ""


@dataclass(frozen=True)
class Result:
    """`ok` is None if the fault was not injected, `error` why it was not as it must be."""

    fault: Fault
    did: str
    ok: bool | None
    seconds: float = 0.0
    error: Exception | None = None

    def row(self) -> dict[str, object]:
        """For a table, or for JSON."""
        return {
            "fault": self.fault.name,
            "must": self.fault.must,
            "did": self.did,
            "ok": self.ok,
            "seconds": round(self.seconds, 1),
        }


def run(fault: Fault, directory: Path) -> Result:
    """Inject it into pairs in `directory`."""
    if fault.missing:
        return Result(fault, f"not injected: {fault.missing}", None)
    start = time.monotonic()
    error: Exception | None = None
    try:
        with Trial(directory) as trial:
            did = fault.inject(trial)
            trial.check_all()
    except Exception as failure:
        error, did = failure, str(failure).partition("\n")[0]
    return Result(fault, did, error is None, time.monotonic() - start, error)

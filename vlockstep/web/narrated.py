"""What an execution did where its log has only digests: the log replayed by a process of its own,
which tells each output as a line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

KINDS = ("console", "net_read", "net_write", "block_read", "block_write")
_KEPT = ("device", "offset", "length", "text")
MOST = 200_000
"""Details that are kept; what is told later is not."""
MAX_TEXT = 4096


class Narrated:
    """Begins when it is made. Entries before `known` are told, if they have anything to tell."""

    def __init__(self, path: Path) -> None:
        self.details: dict[int, dict[str, Any]] = {}
        self.known = 0
        self.problem = ""
        self._changed = threading.Condition()
        self._over = False
        kinds = [word for kind in KINDS for word in ("--kind", kind)]
        command = [sys.executable, "-m", "vlockstep", "log", "show", str(path), "--json"]
        self._process = subprocess.Popen(
            [*command, "--replay", *kinds],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        threading.Thread(target=self._read, name="narrated", daemon=True).start()

    def wait(self, entry: int, seconds: float) -> None:
        """Until all before the entry is told, or nothing more will be, or so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self.known >= entry, seconds)

    def close(self) -> None:
        self._process.kill()

    def _read(self) -> None:
        process = self._process
        assert process.stdout is not None and process.stderr is not None
        with process:
            for line in process.stdout:
                told = json.loads(line)
                if "sequence" in told:
                    self._take(told)
                if len(self.details) >= MOST:
                    process.kill()
            words = process.stderr.read(1 << 16)
        with self._changed:
            if process.returncode > 0:
                self.problem = why_not(words)
            self._over = True
            self._changed.notify_all()

    def _take(self, told: dict[str, Any]) -> None:
        kept: dict[str, Any] = {key: told[key] for key in _KEPT if key in told}
        if "text" in kept:
            kept["text"] = kept["text"][:MAX_TEXT]
        with self._changed:
            self.details[told["sequence"]] = kept
            self.known = told["sequence"] + 1
            self._changed.notify_all()


def why_not(told: bytes) -> str:
    """What a command that failed has told last on stderr."""
    lines = told.decode(errors="replace").strip().splitlines() or ["it cannot be replayed"]
    return lines[-1].removeprefix("vlockstep: ")

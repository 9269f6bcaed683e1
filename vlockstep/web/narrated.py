"""What an execution did where its log has only digests: the log replayed by a process of its own,
which tells each output as a line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from vlockstep.errors import HostError

KINDS = ("console", "net_read", "net_write", "block_read", "block_write")
_KEPT = ("device", "offset", "length", "text")
MOST = 200_000
"""Details that are kept; what is told later is not."""
MAX_TEXT = 4096
TELL_SECONDS = 600.0
"""For all of it to be told."""


class Narrated:
    """Begins when it is made, and has one of `places` until it is over. Raises `HostError` if none
    is free. Entries before `known` are told, if they have anything to tell; `problem` is why
    others are not."""

    def __init__(self, path: Path, places: threading.Semaphore) -> None:
        if not places.acquire(blocking=False):
            raise HostError("other recordings are replayed for their texts: ask again")
        self.details: dict[int, dict[str, Any]] = {}
        self.known = 0
        self.problem = ""
        self._places = places
        self._changed = threading.Condition()
        self._over = False
        kinds = [word for kind in KINDS for word in ("--kind", kind)]
        command = [sys.executable, "-m", "vlockstep", "log", "show", str(path), "--json"]
        try:
            self._process = subprocess.Popen(
                [*command, "--replay", *kinds],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            places.release()
            raise HostError(f"it cannot be replayed now: {error.strerror}") from error
        threading.Thread(target=self._read, name="narrated", daemon=True).start()

    def wait(self, entry: int, seconds: float) -> None:
        """Until all before the entry is told, or nothing more will be, or so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self.known >= entry, seconds)

    def close(self) -> None:
        self._process.kill()

    def _read(self) -> None:
        limit = threading.Timer(TELL_SECONDS, self._stop, (f"{TELL_SECONDS:g} s have passed",))
        limit.daemon = True
        limit.start()
        try:
            with self._process as process:
                try:
                    self._follow(process)
                finally:
                    process.kill()
        except Exception as error:  # whatever it says: somebody waits
            self._fail(f"its replay cannot be read: {type(error).__name__}: {error}")
        finally:
            limit.cancel()
            self._places.release()
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            told = json.loads(line)
            if "sequence" in told:
                self._take(told)
            if len(self.details) >= MOST:
                self._stop(f"{MOST} are known")
        words = process.stderr.read(1 << 16).decode(errors="replace").strip().splitlines()
        if process.wait() > 0:
            told = words[-1] if words else "it cannot be replayed"
            self._fail(told.removeprefix("vlockstep: "))

    def _stop(self, reason: str) -> None:
        self._fail(f"texts after entry {self.known} are not told: {reason}")
        self._process.kill()

    def _fail(self, problem: str) -> None:
        self.problem = self.problem or problem

    def _take(self, told: dict[str, Any]) -> None:
        kept: dict[str, Any] = {key: told[key] for key in _KEPT if key in told}
        if "text" in kept:
            kept["text"] = kept["text"][:MAX_TEXT]
        with self._changed:
            self.details[told["sequence"]] = kept
            self.known = told["sequence"] + 1
            self._changed.notify_all()

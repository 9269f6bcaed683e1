"""A command that starts another replica, on another host perhaps, when a guest has lost its own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import BinaryIO

from vlockstep.errors import UsageError

INTERVAL = 5.0
"""Seconds between two starts of the command at the least."""
ATTEMPTS = 5
"""So many that came to nothing, and no other is made."""
_LONGEST = 500
"""Bytes of a line that are told."""


def words(command: str) -> list[str]:
    """As a shell would take it apart; no shell gets it. Raises `UsageError`."""
    try:
        found = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{command!r} is no command: {error}", key=("respawn",)) from error
    if not found or "\0" in command:
        raise UsageError(f"{command!r} is no command", key=("respawn",))
    return found


class Respawner:
    """Runs the command when the guest is `unprotected`, and again if it ends and nobody has joined,
    until the guest is `protected`. `environment` is added to its own; `tell` gets what it says, and
    what becomes of it, from a thread of its own."""

    def __init__(
        self,
        command: str,
        environment: Mapping[str, str],
        tell: Callable[[str], None],
        interval: float = INTERVAL,
    ) -> None:
        self._words = words(command)
        self._environment = environment
        self._tell = tell
        self._interval = interval
        self._changed = threading.Condition()
        self._wanted = self._closed = False
        self._failed = 0
        self.process: subprocess.Popen[bytes] | None = None
        """That of the command that was started last."""
        self._thread: threading.Thread | None = None

    def unprotected(self) -> None:
        with self._changed:
            if self._closed:
                return
            if not self._wanted:
                self._kill()  # what it started is gone
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="respawn", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def protected(self) -> None:
        """What runs by now has done its work, and may be the other replica itself."""
        with self._changed:
            self._wanted, self._failed = False, 0
            self._changed.notify_all()

    def close(self) -> None:
        """Kill what runs and has come to nothing."""
        with self._changed:
            self._closed = True
            if self._wanted:
                self._kill()
            self._changed.notify_all()

    def _run(self) -> None:
        while self._wait_until_wanted():
            started = time.monotonic()
            why = self._attempt()
            with self._changed:
                left = started + self._interval - time.monotonic()
                if self._changed.wait_for(lambda: self._closed or not self._wanted, max(0.0, left)):
                    continue
                self._failed += 1
                if self._failed < ATTEMPTS:
                    continue
                self._wanted, self._failed = False, 0
            self._tell(f"no other replica came of {ATTEMPTS} attempts; the last ended {why}")

    def _wait_until_wanted(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self._closed)
            return not self._closed

    def _attempt(self) -> str:
        """Run the command to its end; how it ended."""
        self._tell(f"starting another replica: {shlex.join(self._words)}")
        with self._changed:
            if self._closed:
                return "before it began"
            try:
                self.process = process = subprocess.Popen(
                    self._words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self._environment},
                    start_new_session=True,
                )
            except OSError as error:
                self._tell(f"{self._words[0]} cannot be run: {error.strerror}")
                return "before it began"
        threading.Thread(target=self._pass_on, args=[process.stdout], daemon=True).start()
        return f"with exit status {process.wait()}"

    def _pass_on(self, output: BinaryIO) -> None:
        """What it says, and what it leaves behind, which may hold the pipe longer."""
        with output:
            while line := output.readline(_LONGEST):
                self._tell(f"{self._words[0]}: {line.decode(errors='replace').rstrip()}")

    def _kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

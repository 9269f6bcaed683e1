"""A command that starts another replica, on another host perhaps, when a guest has lost its own."""

from __future__ import annotations

import os
import shlex
import shutil
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
STARTING = 30.0
"""Seconds that a command has which has ended well: a replica that it has started may be on its
way."""
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
        starting: float = STARTING,
    ) -> None:
        """Raises `UsageError` if there is no such program."""
        self._words = words(command)
        if shutil.which(self._words[0]) is None:
            raise UsageError(f"there is no program {self._words[0]!r} here", key=("respawn",))
        self._environment = environment
        self._tell = tell
        self._interval, self._starting = interval, starting
        self._changed = threading.Condition()
        self._wanted = self._closed = False
        self._losses = 0
        """So often the guest has lost its replicas."""
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
                self._losses += 1
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
            started, losses = time.monotonic(), self._losses
            status = self._attempt()
            ended = time.monotonic()
            due = max(started + self._interval, ended + self._starting * (status == 0))
            with self._changed:
                if self._settled(losses, due):
                    continue
                self._failed += 1
                if self._failed < ATTEMPTS:
                    continue
                self._wanted, self._failed = False, 0
            why = "could not be run" if status is None else f"ended with exit status {status}"
            self._tell(f"no other replica came of {ATTEMPTS} attempts; the last {why}")

    def _settled(self, losses: int, due: float) -> bool:
        """Whether by then nobody is to come any more for the last of so many losses."""
        return self._changed.wait_for(
            lambda: self._closed or not self._wanted or self._losses > losses,
            max(0.0, due - time.monotonic()),
        )

    def _wait_until_wanted(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self._closed)
            return not self._closed

    def _attempt(self) -> int | None:
        """Run the command to its end; its exit status, if it began."""
        self._tell(f"starting another replica: {shlex.join(self._words)}")
        with self._changed:
            if self._closed:
                return None
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
                return None
        threading.Thread(target=self._pass_on, args=[process.stdout], daemon=True).start()
        return process.wait()

    def _pass_on(self, output: BinaryIO) -> None:
        """What it says, and what it leaves behind, which may hold the pipe longer."""
        with output:
            while line := output.readline(_LONGEST):
                self._tell(f"{self._words[0]}: {line.decode(errors='replace').rstrip()}")

    def _kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

"""A replica as a child process whose events can be waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import vlockstep

_KILL_TIMEOUT = 10.0
_ROOT = Path(vlockstep.__file__).parents[1]


def command(*arguments: object) -> list[str]:
    """The `vlockstep` command of this installation."""
    return [sys.executable, "-m", "vlockstep", *map(str, arguments)]


def environment() -> dict[str, str]:
    """In which `command` finds the package that this process has imported."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


class ReplicaProcess:
    """`vlockstep ROLE … --json`. `changed` is notified of every event, stop and end; hold it to
    look at more than one attribute."""

    def __init__(
        self, name: str, arguments: Sequence[object], changed: threading.Condition
    ) -> None:
        self.name = name
        self.events: list[dict[str, Any]] = []
        """What it reported, in order, but for the status."""
        self.status: Mapping[str, Any] = {}
        """The last status it reported."""
        self.text: list[str] = []
        """The other lines of stdout and stderr."""
        self.exit_status: int | None = None
        """-9 if SIGKILL ended it; None while it runs."""
        self.stops = 0
        """How often it was stopped by SIGSTOP."""
        self._changed = changed
        self._process = subprocess.Popen(
            command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name=f"{name}-reader", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name=f"{name}-watcher", daemon=True)
        self._reader.start()
        self._watcher.start()

    def signal(self, number: signal.Signals) -> None:
        """Does nothing to a process that has ended."""
        with self._changed:
            if self.exit_status is None:
                os.kill(self.pid, number)

    def send_line(self, line: str = "") -> None:
        """A line for its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def find(self, event: str, **details: object) -> dict[str, Any] | None:
        """The first event of that name with these details."""
        for found in self.events:
            if found["event"] == event and details.items() <= found.items():
                return found
        return None

    def close(self) -> None:
        """Kill it if it still runs, and see that it is gone."""
        self.signal(signal.SIGKILL)
        self._watcher.join(_KILL_TIMEOUT)
        if self.exit_status is None:
            raise AssertionError(f"{self.name}, process {self.pid}, survived SIGKILL")
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def report(self) -> str:
        """For people: how it stands, and what it said."""
        counts = Counter(event["event"] for event in self.events)
        seen = ", ".join(f"{n}x {name}" if n > 1 else name for name, n in counts.items())
        state = "runs" if self.exit_status is None else f"exited with {self.exit_status}"
        said = [json.dumps(_short(event)) for event in self.events] + self.text
        return "\n  ".join([f"{self.name} {state}; events: {seen}", *said, f"{self.status}"])

    # Threads

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = _event(line)
            with self._changed:
                if event is None:
                    self.text.append(line.decode(errors="replace").rstrip("\n"))
                elif event["event"] == "status":
                    self.status = event
                else:
                    self.events.append(event)
                self._changed.notify_all()

    def _watch(self) -> None:
        while True:
            _, status = os.waitpid(self.pid, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                with self._changed:
                    self.stops += 1
                    self._changed.notify_all()
                continue
            self._reader.join()
            with self._changed:
                self.exit_status = os.waitstatus_to_exitcode(status)
                self._process.returncode = self.exit_status
                self._changed.notify_all()
            return


def _event(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "event" in found else None


def _short(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in ("registers", "time")}

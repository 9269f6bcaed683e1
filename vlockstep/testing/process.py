"""A replica as a child process whose events can be waited for.

Each wait ends with `PairError` after `timeout` seconds, or as soon as it is in vain.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import vlockstep
from vlockstep.errors import UsageError
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.program.tracebacks import hide

__tracebackhide__ = hide

TIMEOUT = 20.0
"""Seconds that a wait takes at most, unless it is told otherwise."""
_KILL_TIMEOUT = 10.0
_T = TypeVar("_T")
_DEAF = b"\nlast line to be read\n"
_ROOT = Path(vlockstep.__file__).parents[1]


def command(*arguments: object) -> list[str]:
    """The `vlockstep` command of this installation."""
    return [sys.executable, "-m", "vlockstep", *map(str, arguments)]


def environment() -> dict[str, str]:
    """In which `command` finds the package that this process has imported."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def generations(events: Iterable[Mapping[str, Any]]) -> Iterator[int]:
    """Those as which a replica with these events went live, or on alone."""
    for event in events:
        if event["event"] in ("live", "alone"):
            yield int(event["generation"])


class PairError(AssertionError):
    """A pair did not do what it was waited for."""


@dataclass(frozen=True)
class Snapshot:
    """The guest's state where it was stopped, or at its end (`place` is then "end")."""

    place: str
    position: Position
    registers: Registers
    memory_digest: bytes

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Snapshot:
        return cls(
            event.get("place", "end"),
            Position.parse(event["position"]),
            Registers.from_dict(event["registers"]),
            bytes.fromhex(event["memory_digest"]),
        )


class ReplicaProcess:
    """`vlockstep ROLE … --json`. `explain` is what a failed wait adds to its message, `under` a
    command that gets this one as its last arguments and becomes it, as env(1) does."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[object],
        explain: Callable[[], str],
        under: Sequence[object] = (),
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
        self._explain = explain
        self._changed = threading.Condition()
        self._gone = 0
        self._ended = False
        self._process = subprocess.Popen(
            [*map(str, under), *command(*arguments)],
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
        with self._changed, suppress(ProcessLookupError):
            if not self._ended:
                os.kill(self.pid, number)

    def go(self) -> None:
        """Let the guest go on from where `--stop-at` made it wait, or will. Does nothing to a
        process that has ended."""
        self._gone += 1
        self._say("")

    def memory(self, address: int, length: int) -> bytes:
        """Bytes of the guest's RAM where `--stop-at` makes it wait."""
        if self.count("reached") <= self._gone:
            raise PairError(f"the {self.name}'s guest is not stopped\n\n{self._explain()}")
        asked = self.count("memory")
        self._say(f"memory {address} {length}")
        answers = self._wait(
            "its memory",
            TIMEOUT,
            lambda: [e for e in self.events if e["event"] == "memory"][asked:] or None,
        )
        if answers[0]["problem"]:
            raise UsageError(answers[0]["problem"])
        return bytes.fromhex(answers[0]["content"])

    def deafen(self) -> None:
        """Read nothing more of what it says: the pipe is full from now on. Linux only."""
        assert self._process.stdout is not None
        end = Path(f"/proc/self/fd/{self._process.stdout.fileno()}")
        with end.open("wb", buffering=0) as pipe:
            pipe.write(_DEAF)
            self._reader.join()
            os.set_blocking(pipe.fileno(), False)
            for size in (select.PIPE_BUF, 1):
                while pipe.write(bytes(size)):
                    pass

    def snapshot(self) -> Snapshot:
        """Where the guest was stopped last, or at its end."""
        for event in reversed(self.events):
            if "registers" in event:
                return Snapshot.of(event)
        raise PairError(f"the {self.name}'s guest was stopped nowhere\n\n{self._explain()}")

    def generations(self) -> Iterator[int]:
        """Those as which it went live, or on alone."""
        return generations(self.events)

    def count(self, event: str, **details: object) -> int:
        """How many events of that name there have been with these details."""
        return sum(e["event"] == event and details.items() <= e.items() for e in self.events)

    # Waiting

    def wait_event(self, event: str, timeout: float = TIMEOUT, **details: object) -> dict[str, Any]:
        """The first event of that name with these details."""

        def find() -> dict[str, Any] | None:
            for found in self.events:
                if found["event"] == event and details.items() <= found.items():
                    return found
            return None

        return self._wait(f"{event!r} {details or ''}", timeout, find)

    def wait_notice(self, pattern: str, timeout: float = TIMEOUT) -> str:
        """The first notice in whose text the pattern is found."""

        def find() -> str | None:
            notices = (event["text"] for event in self.events if event["event"] == "notice")
            return next((text for text in notices if re.search(pattern, text)), None)

        return self._wait(f"a notice like {pattern!r}", timeout, find)

    def wait_count(self, event: str, count: int, **details: object) -> None:
        """Until there have been so many."""
        what = f"{count} times {event!r} {details or ''}"
        self._wait(what, TIMEOUT, lambda: self.count(event, **details) >= count or None)

    def wait_status(
        self, fits: Callable[[Mapping[str, Any]], bool], timeout: float = TIMEOUT
    ) -> Mapping[str, Any]:
        """A status that fits; it is reported ten times a second."""
        return self._wait(
            "a status", timeout, lambda: self.status if self.status and fits(self.status) else None
        )

    def wait_live(self, timeout: float = TIMEOUT) -> int:
        """The first generation as which it goes on alone, or as which it took over."""

        return self._wait("its going live", timeout, lambda: next(self.generations(), None))

    def go_live(self) -> None:
        """Wait for that, and let its guest go on wherever it is held before."""

        def find() -> str | None:
            if any(self.generations()):
                return "live"
            return "held" if self.count("reached") > self._gone else None

        while self._wait("its going live", TIMEOUT, find) == "held":
            self.go()

    def wait_reached(self, timeout: float = TIMEOUT) -> Snapshot:
        """The guest's state at the next place of `--stop-at`."""

        def find() -> Snapshot | None:
            reached = [event for event in self.events if event["event"] == "reached"]
            return Snapshot.of(reached[self._gone]) if len(reached) > self._gone else None

        return self._wait("its reaching a place", timeout, find)

    def wait_paused(self, times: int = 1, timeout: float = TIMEOUT) -> None:
        """Until SIGSTOP has stopped it so many times."""
        self._wait("SIGSTOP", timeout, lambda: True if self.stops >= times else None)

    def wait_exit(self, timeout: float = TIMEOUT) -> int:
        """Its exit status."""
        return self._wait("its end", timeout, lambda: self.exit_status)

    def _wait(self, what: str, timeout: float, find: Callable[[], _T | None]) -> _T:
        deadline = time.monotonic() + timeout
        with self._changed:
            while (found := find()) is None:
                left = deadline - time.monotonic()
                if left > 0 and self.exit_status is None:
                    self._changed.wait(left)
                    continue
                why = f"not within {timeout:g} s" if left <= 0 else f"exit {self.exit_status}"
                text = f"waited for {what} of the {self.name}: {why}"
                raise PairError(f"{text}\n\n{self._explain()}")
        return found

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    # The end

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
            if line == _DEAF[1:]:
                return
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
            with self._changed:
                self._ended = True
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
    return {
        key: value for key, value in event.items() if key not in ("registers", "content", "time")
    }

"""The two replicas as child processes, and everything they say and suffer as one stream."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from vlockstep.demo.plan import Files, Plan

Name = Literal["A", "B"]
"""Who is who, whatever their roles: A is the primary at first."""

_LAST_WORDS = 20
_PATIENCE = "10"
"""Seconds that they wait for each other at the start."""
_TAIL = 512


@dataclass(frozen=True)
class Said:
    """A replica reported an event; see `vlockstep primary --json`."""

    who: Name
    event: dict[str, Any]


@dataclass(frozen=True)
class Changed:
    """A replica's process was stopped, or ended. `time` is that of `time.time`; `signal` is what
    did it, `status` the exit status otherwise. `tail` is the
    unfinished line at the console's end at that moment."""

    who: Name
    time: float
    stopped: bool
    signal: int | None
    status: int | None
    tail: bytes


Heard = Said | Changed


class Replica:
    """One replica's process. What is heard of it goes to `inbox`."""

    def __init__(
        self,
        who: Name,
        arguments: Iterable[str],
        inbox: queue.SimpleQueue[Heard],
        witness: Callable[[], bytes],
    ) -> None:
        self.who: Name = who
        self.words: deque[str] = deque(maxlen=_LAST_WORDS)
        """The last lines on its standard error that are no events."""
        self._inbox = inbox
        self._witness = witness
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vlockstep.demo.child", str(os.getpid()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._threads = [
            threading.Thread(target=body, name=f"replica-{who}", daemon=True)
            for body in (self._listen, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close(self) -> None:
        """End the process if it has not ended, stopped or not."""
        if self._threads[1].is_alive():
            os.kill(self.pid, signal.SIGKILL)  # not reaped yet, so the pid is its
        for thread in self._threads:
            thread.join()
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                try:
                    event = json.loads(line)
                except ValueError:
                    event = None
                if isinstance(event, dict):
                    self._inbox.put(Said(self.who, event))
                else:
                    self.words.append(line.decode(errors="replace").rstrip())

    def _watch(self) -> None:
        """Note the moment of a stop, and that of the end; `close` reaps."""
        wanted = os.WEXITED | os.WSTOPPED
        while True:
            found = os.waitid(os.P_PID, self.pid, wanted | os.WNOWAIT)
            now = time.time()
            assert found is not None
            stopped = found.si_code == os.CLD_STOPPED
            exited = found.si_code == os.CLD_EXITED
            number = None if exited else found.si_status
            status = found.si_status if exited else None
            change = Changed(self.who, now, stopped, number, status, self._witness())
            if not stopped:
                self._threads[0].join()  # what it said comes before its end
            self._inbox.put(change)
            if not stopped:
                return
            wanted = os.WEXITED


class Replicas:
    """Both replicas of a demonstration. Leaving the context ends them, whatever they do."""

    def __init__(self, plan: Plan, files: Files) -> None:
        self.inbox: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self.running: dict[Name, Replica] = {}
        self._plan = plan
        self._files = files

    def __enter__(self) -> Replicas:
        return self

    def __exit__(self, *_exception: object) -> None:
        for replica in self.running.values():
            replica.close()

    def start_primary(self) -> None:
        """It will say at which endpoint it listens."""
        option = "--pause-at" if self._plan.signal is signal.SIGSTOP else "--crash-at"
        self._start(
            "A",
            "primary",
            *("--listen", "tcp://127.0.0.1:0"),
            *("--mem", str(self._plan.memory)),
            *("--log", str(self._files.first_log)),
            *(option, self._plan.place),
        )

    def start_secondary(self, endpoint: str) -> None:
        self._start("B", "secondary", "--connect", endpoint, "--log", str(self._files.log))

    def _start(self, who: Name, command: str, *options: str) -> None:
        files = self._files
        disks = [f"--block={name}={path}" for name, path in files.disks.items()]
        common = ["--json", "--arbiter", str(files.arbiter), "--console", str(files.console)]
        guest = ["--", *self._plan.arguments] if command == "primary" else []
        arguments = [command, self._plan.reference, *common, "--wait", _PATIENCE]
        self.running[who] = Replica(
            who, [*arguments, *disks, *options, *guest], self.inbox, self._console_tail
        )

    def _console_tail(self) -> bytes:
        """What the console file ends with after its last whole line."""
        try:
            with self._files.console.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                return file.read().rpartition(b"\n")[2]
        except OSError:
            return b""

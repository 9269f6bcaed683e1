"""Processes whose lines are read as they come, each with the time."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

Line = tuple[float, str]
_PATIENCE = 60.0


class Stream:
    """The lines of a process's output, by `time.time`."""

    def __init__(self, source: IO[str]) -> None:
        self.lines: list[Line] = []
        self._changed = threading.Condition()
        self._ended = False
        threading.Thread(target=self._read, args=(source,), daemon=True).start()

    def wait(self, word: str, after: int = 0, patience: float = _PATIENCE) -> Line:
        """The first line with this word, behind so many. `RuntimeError` if none comes."""
        deadline = time.monotonic() + patience
        with self._changed:
            while True:
                for line in self.lines[after:]:
                    if word in line[1]:
                        return line
                after = len(self.lines)
                if self._ended or not self._changed.wait(max(0, deadline - time.monotonic())):
                    raise RuntimeError(f"no {word!r} among {[text for _, text in self.lines[-9:]]}")

    def _read(self, source: IO[str]) -> None:
        for text in source:
            if not text.endswith("\n"):
                break  # it was killed in the midst of a line
            with self._changed:
                self.lines.append((time.time(), text))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Watched:
    """A process, its console and what else it says."""

    def __init__(self, command: Sequence[object]) -> None:
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self.pid = self._process.pid
        self.console = Stream(self._process.stdout)
        self.said = Stream(self._process.stderr)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def watched(*command: object) -> Iterator[Watched]:
    """Killed in the end."""
    process = Watched(command)
    try:
        yield process
    finally:
        process.kill()

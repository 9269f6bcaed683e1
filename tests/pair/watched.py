"""Replicas as a person watches them."""

from __future__ import annotations

import re
import subprocess

from vlockstep.testing.process import TIMEOUT, command, environment

LINE = re.compile(r"vlockstep: ([01]\d|2[0-3]):[0-5]\d:[0-5]\d (.*)")


class Watched:
    """A replica as a person starts it, whose lines on standard error are read as they come."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            command(*arguments),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read(self) -> str:
        """The next line, without its time."""
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        match = LINE.fullmatch(line.rstrip("\n"))
        assert match is not None, line
        return match[2]

    def wait(self, line: str) -> None:
        """Read until it says this."""
        while self.read() != line:
            pass

    def rest(self) -> list[str]:
        """The lines to its end."""
        _, text = self.process.communicate(timeout=TIMEOUT)
        matches = [LINE.fullmatch(line) for line in text.splitlines()]
        assert None not in matches, text
        return [match[2] for match in matches if match is not None]

    def close(self) -> None:
        """Kill it, if it still runs."""
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()

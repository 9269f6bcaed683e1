"""Crashes on purpose: a replica sends itself a signal at an exact place."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from enum import StrEnum
from signal import SIGKILL, Signals

from vlockstep.errors import UsageError
from vlockstep.machine.position import Position

_PLACE = re.compile(r"(entry|sent|write|release):(\d+)|time:(\d+(?:\.\d+)?)")


class Stage(StrEnum):
    """What has just happened to entry N when the signal strikes."""

    ENTRY = "entry"  #      the guest made it; nothing was sent
    SENT = "sent"  #        it was sent to the secondary
    WRITE = "write"  #      the first half of its output was written
    RELEASE = "release"  #  all of its output was written


@dataclass
class Fault:
    """`SIGKILL` or `SIGSTOP` at a place: `entry:N`, `sent:N`, `write:N`, `release:N`,
    `exits:N[+BLOCKS]` or `time:SECONDS` after the guest started. `write` and `release` strike at
    the first output at or after entry N."""

    signal: Signals
    stage: Stage | None = None
    entry: int = 0
    position: Position | None = None
    seconds: float = 0.0
    struck: bool = False

    @classmethod
    def parse(cls, place: str, number: Signals = SIGKILL) -> Fault:
        if place.startswith("exits:"):
            return cls(number, position=Position.parse(place))
        match = _PLACE.fullmatch(place)
        if match is None:
            raise UsageError(
                f"{place!r} is no place for a fault: write entry:N, sent:N, write:N, release:N, "
                "exits:N, exits:N+BLOCKS or time:SECONDS"
            )
        if match[3] is not None:
            return cls(number, seconds=float(match[3]))
        return cls(number, stage=Stage(match[1]), entry=int(match[2]))

    def strike(self) -> None:
        """At most once, so that a replica that is continued goes on."""
        if not self.struck:
            self.struck = True
            os.kill(os.getpid(), self.signal)

    def start_clock(self) -> None:
        if self.stage is None and self.position is None:
            timer = threading.Timer(self.seconds, self.strike)
            timer.daemon = True
            timer.start()

    def reached(self, stage: Stage, entry: int) -> None:
        """Strike if the place is this one or an earlier one of the same stage."""
        if stage is self.stage and entry >= self.entry:
            self.strike()

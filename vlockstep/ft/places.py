"""Places in an execution, and what tests do there: a crash, or a stop to look around."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from vlockstep.errors import UsageError
from vlockstep.machine.position import MAX_COUNT, Position, shown
from vlockstep.protocol.states import State

_PLACE = re.compile(
    r"(entry|sent|write|release):([0-9]{1,20})|time:([0-9]{1,18}(?:\.[0-9]{1,18})?)"
)
_MAX_SECONDS = 10**6
_STATES = {f"state:{state.name.lower()}": state for state in State}


class Stage(StrEnum):
    """What is just happening to an entry."""

    ENTRY = "entry"  #      the guest is about to make it
    SENT = "sent"  #        it was sent to the secondary
    WRITE = "write"  #      the first half of its output was written
    RELEASE = "release"  #  all of its output was written


@dataclass(frozen=True)
class Place:
    """`entry:N`, `sent:N`, `write:N`, `release:N`, `exits:N[+BLOCKS]`, `state:NAME`, or
    `time:SECONDS` after the guest started. The first four mean entry N or, if that passes
    elsewhere, the first one after it; a position that there is not, because exit N has fewer
    blocks, means the next boundary; a state is one of the protocol's, entered for the first time,
    before anything is done in it."""

    text: str
    stage: Stage | None = None
    entry: int = 0
    position: Position | None = None
    seconds: float | None = None
    state: State | None = None

    @classmethod
    def parse(cls, text: str) -> Place:
        if text.startswith("exits:"):
            return cls(text, position=Position.parse(text))
        if text in _STATES:
            return cls(text, state=_STATES[text])
        match = _PLACE.fullmatch(text)
        if match is None or int(match[2] or 0) > MAX_COUNT:
            raise UsageError(
                f"{shown(text)} is no place: write entry:N, sent:N, write:N, release:N, exits:N, "
                "exits:N+BLOCKS or time:SECONDS, with numbers of 64 bits, or state:NAME, with the "
                "name of a state of the protocol"
            )
        if match[3] is not None:
            seconds = float(match[3])
            if seconds > _MAX_SECONDS:
                raise UsageError(f"{text!r} is too late: write at most time:{_MAX_SECONDS}")
            return cls(text, seconds=seconds)
        return cls(text, stage=Stage(match[1]), entry=int(match[2]))


class Fault:
    """`inject` at a place; once, so that a replica that is stopped and continued goes on."""

    def __init__(self, place: Place, inject: Callable[[], None]) -> None:
        self.place = place
        self.injected = False
        self._inject = inject

    def inject(self) -> None:
        if not self.injected:
            self.injected = True
            self._inject()

    def due(self, stage: Stage, entry: int) -> bool:
        """Whether `entry` has come to the place, or past it, for the first time."""
        return not self.injected and stage is self.place.stage and entry >= self.place.entry

    def reached(self, stage: Stage, entry: int) -> None:
        if self.due(stage, entry):
            self.inject()

    def entered(self, state: State) -> None:
        """The replica is in this state of the protocol now, or still."""
        if state is self.place.state:
            self.inject()

"""The rule of generations, over whatever keeps their records.

A generation is a number that only ever rises. Each has one *record*, which says who owns it; it is
created once, if no other is there, and never changes but for being marked ended. Who wants to rule
creates the record of the next generation; exactly one can.

An operation that fails says nothing: what was asked may have happened or not. Neither does a record
that is not there prove anything, since a copy of the register may be stale. So a claim is lost only
when a record was read that names another; in doubt there is no answer, and the claim is asked
again, which recognises what came of it before.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from vlockstep.errors import HostError


class ArbiterError(HostError):
    """No answer: the arbiter cannot be reached, does not work, or is not what it was."""


class Verdict(Enum):
    """The arbiter's answer to a claim."""

    WON = "won"
    LOST = "lost"
    TAKEN_OVER = "taken over"
    """Lost to a replica that took over in a switchover, and counts on this one to follow."""


@dataclass(frozen=True)
class Record:
    """Who owns `generation`. `replica` is unlike that of any other replica. `alone`: nobody follows
    it. `owner`, `host` and `pid` are for people; `process` tells that process from others that had
    its number."""

    generation: int
    replica: str
    alone: bool
    owner: str = ""
    host: str = ""
    pid: int = 0
    process: str = ""


class Register(Protocol):
    """Where records are kept. Every operation may raise `ArbiterError`."""

    def read(self, generation: int) -> Record | None:
        """None if there is none yet, as far as can be seen from here."""

    def create(self, record: Record) -> bool:
        """Atomically, if its generation has none; False if it has."""

    def end(self, generation: int) -> None:
        """Mark it ended: its guest has ended, and all outputs are made."""


class Arbiter(Protocol):
    """A register with a name for who claims. What it does may take as long as it likes."""

    def claim(self, expected: int, alone: bool) -> Verdict:
        """Own the generation after `expected`. Raises `ArbiterError` if there is no answer."""

    def end(self, generation: int) -> None:
        """The guest has ended under `generation`, all its outputs are made: another may start."""


def claim(register: Register, wanted: Record) -> Verdict:
    """Create the record `wanted`, if the generation before it is the newest."""
    if wanted.generation > 1 and register.read(wanted.generation - 1) is None:
        raise ArbiterError(
            f"there is no record of generation {wanted.generation - 1} any more; "
            "nothing can be claimed after it"
        )
    found = register.read(wanted.generation)
    if found is None:
        if register.create(wanted):
            return Verdict.WON
        found = register.read(wanted.generation)
    if found is None:
        raise ArbiterError(f"the record of generation {wanted.generation} cannot be seen yet")
    if register.read(wanted.generation + 1) is not None:
        return Verdict.LOST
    if (found.replica, found.alone) == (wanted.replica, wanted.alone):
        return Verdict.WON
    return Verdict.LOST if found.alone else Verdict.TAKEN_OVER

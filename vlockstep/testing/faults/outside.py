"""What can be seen of a pair from the outside: exit statuses, events, outputs, log files."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import NamedTuple

from vlockstep.sim.sides import SIDES, Side
from vlockstep.testing.pair import Pair
from vlockstep.testing.replaying import replay


def other(which: Side) -> Side:
    return "secondary" if which == "primary" else "primary"


def said(pair: Pair, which: Side, pattern: str) -> bool:
    """Whether the process wrote such a line for people."""
    return any(re.search(pattern, line) for line in pair.process(which).text)


def stopped_because(pair: Pair, which: Side) -> str:
    """The reason with which a replica stopped."""
    return str(pair.process(which).wait_event("stopped")["reason"])


def check_log(pair: Pair, which: Side) -> None:
    """The process's log replays to the state and the text with which its guest ended."""
    replayed = replay(pair.log(which))
    assert replayed.status == 0
    assert replayed.registers == pair.registers(which)
    assert replayed.memory_digest == pair.memory_digest(which)
    assert replayed.console == pair.transcript


def lives(pair: Pair) -> dict[int, Side]:
    """Who went live, or on alone, as each generation."""
    found: dict[int, Side] = {}
    for which in SIDES:
        for generation in pair.process(which).generations():
            assert generation not in found, f"both are live as generation {generation}"
            found[generation] = which
    return found


def first_live(pair: Pair) -> Side:
    """Wait until one of two that do not hear each other goes live or on alone; which."""
    pool = ThreadPoolExecutor(2)
    waits = {pool.submit(pair.wait_live, which): which for which in SIDES}
    pool.shutdown(wait=False)  # the other one's wait ends with its process
    return next(waits[wait] for wait in as_completed(waits) if wait.exception() is None)


class Outputs(NamedTuple):
    """The content of console and disk, and when each was last written to."""

    console: bytes
    disk: bytes
    written: tuple[int, int]

    @classmethod
    def of(cls, pair: Pair) -> Outputs:
        console, disk = pair.console.stat(), pair.disk_file().stat()
        return cls(pair.transcript, pair.disk(), (console.st_mtime_ns, disk.st_mtime_ns))

"""What the tests of pairs share."""

from __future__ import annotations

import re

from vlockstep.testing import Pair, check_ledger, replay
from vlockstep.testing.pair import Which

KILLED = -9
LINES = 20
SHORT = [f"--lines={LINES}", "--pause=2", "--work=500"]
"""Entries: line 1 is walltime 0, cycles 1, console 2, block write 3; line n > 1 is poll, walltime,
cycles, console, block write from 4 + 5 (n - 2) on; behind line 16, at 79, a block read; the last
text is 100, the end 101."""
END = 101
LONG_LINES = 60
LONG = [f"--lines={LONG_LINES}", "--pause=10", "--work=500"]
"""Runs for more than half a second."""


def check_output(pair: Pair, lines: int = LINES) -> None:
    """Console and disk are as one execution without a failure leaves them."""
    check_ledger(pair.transcript, pair.disk(), lines)


def check_log(pair: Pair, which: Which) -> None:
    """The process's log replays to the state and the text with which its guest ended."""
    replayed = replay(pair.log(which))
    assert replayed.status == 0
    assert replayed.registers == pair.registers(which)
    assert replayed.memory_digest == pair.memory_digest(which)
    assert replayed.console == pair.transcript


def check_equal(pair: Pair) -> None:
    """Both guests ended in the same state."""
    assert pair.registers("primary") == pair.registers("secondary")
    assert pair.memory_digest("primary") == pair.memory_digest("secondary")


def stopped_because(pair: Pair, which: Which) -> str:
    """The reason with which a replica stopped."""
    return str(pair.process(which).wait_event("stopped")["reason"])


def said(pair: Pair, which: Which, pattern: str) -> bool:
    """Whether the process wrote such a line for people."""
    return any(re.search(pattern, line) for line in pair.process(which).text)

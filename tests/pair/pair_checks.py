"""What the tests of pairs share."""

from __future__ import annotations

from support import some

from vlockstep.testing import Pair, check_ledger
from vlockstep.testing.faults.outside import check_log, said, stopped_because
from vlockstep.testing.faults.trial import KILLED, LONG, SHORT
from vlockstep.testing.faults.trial import LINES as LONG_LINES
from vlockstep.testing.faults.trial import SHORT_END as END
from vlockstep.testing.faults.trial import SHORT_LINES as LINES

__all__ = [
    "END",
    "KILLED",
    "LINES",
    "LONG",
    "LONG_LINES",
    "MISSES",
    "SHORT",
    "check_equal",
    "check_log",
    "check_output",
    "said",
    "some",
    "stopped_because",
]

MISSES = 40
"""Two seconds without a word, and a replica counts as dead."""


def check_output(pair: Pair, lines: int = LINES) -> None:
    """Console and disk are as one execution without a failure leaves them."""
    check_ledger(pair.transcript, pair.disk(), lines)


def check_equal(pair: Pair) -> None:
    """Both guests ended in the same state."""
    assert pair.registers("primary") == pair.registers("secondary")
    assert pair.memory_digest("primary") == pair.memory_digest("secondary")

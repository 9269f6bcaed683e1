"""What the tests of pairs share."""

from __future__ import annotations

from collections.abc import Iterable

from support import some

from vlockstep.arbiter import DirectoryArbiter
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
    "check_ends",
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


def check_ends(pair: Pair, names: Iterable[str], lines: int) -> None:
    """Nobody of them waits any more, and all who have the guest to its end saw the same."""
    ends = [pair.process(name) for name in names]
    for process in ends:
        assert process.wait_exit() in (0, 1, KILLED), process.report()
    check_output(pair, lines)
    finished = [process.snapshot() for process in ends if process.count("finished")]
    assert len({end.memory_digest for end in finished}) == 1
    assert all(end.registers == finished[0].registers for end in finished)
    assert DirectoryArbiter(pair.arbiter, "test").reigns()[-1].ended

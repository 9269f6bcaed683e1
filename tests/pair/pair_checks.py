"""What the tests of pairs share."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from support import some

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.replay.entry import Entry
from vlockstep.replay.logfile import LogReader
from vlockstep.sim.ledger import inspect_unfinished_ledger
from vlockstep.sim.sides import SIDES, Side
from vlockstep.testing import Pair, check_ledger, replay
from vlockstep.testing.faults.outside import check_log, said, stopped_because
from vlockstep.testing.faults.trial import KILLED, LONG, SHORT
from vlockstep.testing.faults.trial import LINES as LONG_LINES
from vlockstep.testing.faults.trial import SHORT_END as END
from vlockstep.testing.faults.trial import SHORT_LINES as LINES

__all__ = [
    "END",
    "ENDLESS",
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
    "check_stopped",
    "entries_of",
    "said",
    "some",
    "stopped_because",
]

ENDLESS = ["--lines=2000", "--pause=20", "--work=500"]
"""Of a ledger that writes until it is stopped; its disk holds no more lines."""
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


def entries_of(log: Path) -> list[Entry]:
    with closing(LogReader(log)) as reader:
        return [*reader.entries()]


def check_stopped(pair: Pair, *sides: Side, ledger: bool = True) -> None:
    """The guest was ended there by `stop`. Their logs are of one execution, and so is what a ledger
    has shown."""
    for side in sides or SIDES:
        assert pair.process(side).wait_exit() == 0, pair.process(side).report()
    logs = sorted((pair.log(side) for side in sides or SIDES), key=lambda log: log.stat().st_size)
    assert replay(logs[-1]).status is None, "the log ends before the guest"
    longest = entries_of(logs[-1])
    for log in logs[:-1]:
        found = entries_of(log)
        assert found == longest[: len(found)]
    if ledger:
        report = inspect_unfinished_ledger(pair.transcript, pair.disk())
        assert report.ok, report

"""Where a fault is injected: pairs in a directory, and what is checked of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from vlockstep.sim.ledger import check_ledger
from vlockstep.sim.sides import SIDES, Side
from vlockstep.testing.faults.outside import (
    check_log,
    first_live,
    lives,
    other,
    said,
    stopped_because,
)
from vlockstep.testing.pair import Pair, Statuses

KILLED = -9
SHORT_LINES = 20
SHORT = [f"--lines={SHORT_LINES}", "--pause=2", "--work=500"]
SHORT_END = 101
"""Entries: line 1 is walltime 0, cycles 1, console 2, block write 3; line n > 1 is poll, walltime,
cycles, console, block write from 4 + 5 (n - 2) on; behind line 16, at 79, a block read; the last
text is 100, the end 101."""
LINES = 60
LONG = [f"--lines={LINES}", "--pause=10", "--work=500"]
HELD = 50
"""Entry of a guest that is held there until a fault is injected."""
HEARTBEAT_MS = 400
"""Trials share these CPUs with others, who shall not make a replica look dead."""
MISSES = 5
QUICK_MS = 100
"""Where a trial waits until somebody does."""
RECONNECTING_MS = 2000
"""Where a connection is lost: in half of this another one stands, also on a busy machine."""


class Trial:
    """Makes pairs of ledgers in `directory`; a context manager that closes them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.resources = ExitStack()
        """What is given back after the pairs are gone."""
        self._pairs: list[Pair] = []

    def pair(self, arguments: Sequence[str] = LONG, *, start: bool = True, **options: Any) -> Pair:
        directory = self.directory / f"pair{len(self._pairs) + 1}"
        timing = {"heartbeat_ms": HEARTBEAT_MS, "misses": MISSES}
        pair = Pair("ledger", arguments, directory=directory, **timing | options)
        self._pairs.append(pair)
        if start:
            pair.start()
        return pair

    def held(self, **options: Any) -> Pair:
        """A pair with a long way to go, whose guest waits at entry `HELD` for `go`."""
        pair = self.pair(stop_at=[f"entry:{HELD}"], **options)
        pair.wait_reached("primary")
        return pair

    def ends(
        self, pair: Pair, primary: int, secondary: int, live: Mapping[int, Side] | None = None
    ) -> str:
        """Both end with these statuses, those in `live` have ruled after the first generation, and
        the outputs and logs are those of one execution without a failure. In words."""
        statuses = pair.wait_finished()
        assert statuses == Statuses(primary, secondary), f"exit {statuses}"
        assert lives(pair) == (live or {}), f"live: {lives(pair)}"
        lines = int(pair.arguments[0].removeprefix("--lines="))
        check_ledger(pair.transcript, pair.disk(), lines)
        finished = [which for which in SIDES if pair.process(which).count("finished")]
        for which in finished:
            if pair.log(which).exists():
                check_log(pair, which)
        if len(finished) == 2:
            assert pair.registers("primary") == pair.registers("secondary")
            assert pair.memory_digest("primary") == pair.memory_digest("secondary")
        ruled = [f"{which} live as generation {n}" for n, which in lives(pair).items()]
        ruled = ruled or ["protected to the end"]
        return f"{', '.join(ruled)}; {lines} lines once; exit {primary}, {secondary}"

    def one_goes_on(self, pair: Pair, meanwhile: Callable[[], None] = lambda: None) -> str:
        """Either of the two goes on alone as generation 2, the other one leaves; `meanwhile` is
        called in between. The rest as in `ends`."""
        winner = first_live(pair)
        meanwhile()
        assert "generation 2" in stopped_because(pair, other(winner))
        statuses = (0, 1) if winner == "primary" else (1, 0)
        return self.ends(pair, *statuses, {2: winner})

    def check_all(self) -> None:
        """What holds whatever was done to a pair."""
        for pair in self._pairs:
            lives(pair)
            for which in SIDES:
                status = pair.process(which).wait_exit()
                assert status in (0, 1, 2, KILLED), f"{which}: exit {status}"
                assert not said(pair, which, "Traceback"), f"{which}: a traceback"

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.resources:
            for pair in self._pairs:
                pair.close()

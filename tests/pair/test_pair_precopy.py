"""A guest moves without a log of what it does meanwhile: it stands until it runs there, or goes on
where it was."""

from __future__ import annotations

from signal import SIGINT

import pytest
from pair_checks import KILLED, check_output, said, some

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair

LINES = 60
GUEST = (f"--lines={LINES}", "--pause=30", "--work=500")
PRECOPY = ("--method", "precopy")
DEAD = ("--heartbeat", 50, "--misses", 40, "--wait", 2)
"""Of replicas: who has lost its primary soon says whether it was taken in."""


def moving(
    make_pair: MakePair, source: str = "", destination: str = "", *, lone: bool = True
) -> Pair:
    """A pair whose primary's guest begins to move, with a fault of one of them."""
    stop = ["--stop-at", "entry:100", *source.split()]
    pair = make_pair("ledger", GUEST, primary_options=stop, reachable=True)
    pair.wait_reached("primary")
    if lone:
        pair.crash("secondary")
        pair.wait_live("primary")
    pair.receive("there", *DEAD, *destination.split())
    pair.migrate("there", *PRECOPY)
    pair.process("there").wait_event("loading")
    pair.go("primary")
    return pair


def check(pair: Pair, *names: str) -> None:
    """Nobody waits any more, and all who have the guest to its end saw the same."""
    ends = [pair.process(name) for name in names]
    for process in ends:
        assert process.wait_exit() in (0, 1, KILLED), process.report()
    check_output(pair, LINES)
    finished = [process for process in ends if process.count("finished")]
    assert len({process.snapshot().memory_digest for process in finished}) == 1
    assert all(p.snapshot().registers == finished[0].snapshot().registers for p in finished)
    assert DirectoryArbiter(pair.arbiter, "test").reigns()[-1].ended


@pytest.mark.parametrize("lone", [False, True], ids=["pair", "lone"])
def test_guest_moves(make_pair: MakePair, lone: bool) -> None:
    pair = moving(make_pair, lone=lone)
    assert pair.process("migrate").wait_exit() == 0, pair.process("migrate").report()
    assert pair.process("primary").wait_exit() == 0
    report = pair.process("migrate").wait_event("migrated")
    assert report["method"] == "precopy" and report["throttle"] == 0
    assert report["bytes"] > 0 and report["gap_ms"] > 0 and report["pause_ms"] == 0
    assert report["entries"] == 0, "it makes none while it stands"
    assert pair.process("there").count("live") == 1
    left = ("there",) if lone else ("secondary", "there")
    check(pair, *left)
    assert all(pair.process(name).count("finished") for name in left)


@pytest.mark.parametrize(
    ("state", "lone"),
    some([("ready", True), ("following", False)], *[(s, one) for s in ("loading", "claiming") for one in (True, False)]),
)
def test_the_destination_dies(make_pair: MakePair, state: str, lone: bool) -> None:
    """The guest, which stands for it, goes on where it was."""
    pair = moving(make_pair, destination=f"--crash-at state:{state}", lone=lone)
    assert pair.process("there").wait_exit() == KILLED
    assert pair.process("migrate").wait_exit() == 1, pair.process("migrate").report()
    assert said(pair, "migrate", "the guest stays here")
    check(pair, "primary", *([] if lone else ["secondary"]))
    assert pair.process("primary").exit_status == 0



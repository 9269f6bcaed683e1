"""Deaths and stops while a replica joins, and while a guest migrates: in each state of the protocol
exactly one guest goes on, and the world has seen it once."""

from __future__ import annotations

from itertools import product

import pytest
from pair_checks import LONG, LONG_LINES, check_output, some

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.sim.sides import SIDES
from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair

NEWCOMER = ("joining", "loading", "ready", "following")
"""States of the one that joins."""


def held(make_pair: MakePair, *options: object, **more: object) -> Pair:
    """A pair whose primary's guest is held in the middle."""
    stop = ["--stop-at", "entry:100", *options]
    pair = make_pair("ledger", LONG, primary_options=stop, reachable=True, **more)
    pair.wait_reached("primary")
    return pair


def check(pair: Pair, *left: str) -> None:
    """The guest ends on all that are left."""
    for name in left:
        assert pair.process(name).wait_exit() == 0, pair.process(name).report()
    check_output(pair, LONG_LINES)
    digests = {pair.memory_digest(n) for n in left if pair.process(n).count("finished")}
    assert len(digests) == 1
    assert DirectoryArbiter(pair.arbiter, "test").reigns()[-1].ended


@pytest.mark.parametrize("state", some(["taking_in"], "binding"))
def test_the_primary_dies_as_somebody_joins(make_pair: MakePair, state: str) -> None:
    """The one member takes over; the newcomer leaves, or follows if it was taken in."""
    pair = held(make_pair, "--crash-at", f"state:{state}")
    newcomer = pair.join("third", wait=False)
    newcomer.wait_event("loading")
    pair.go("primary")
    check(pair, "secondary")
    assert newcomer.wait_exit() in (0, 1)


@pytest.mark.parametrize(
    ("state", "lone"),
    some([("loading", False), ("following", True)], *product(NEWCOMER, [False, True])),
)
def test_the_newcomer_dies(make_pair: MakePair, state: str, lone: bool) -> None:
    """The guest goes on as it was, or without it if it was taken in."""
    pair = held(make_pair)
    if lone:
        pair.crash("secondary")
        pair.wait_live("primary")
    newcomer = pair.join("third", "--crash-at", f"state:{state}", wait=False)
    if state not in ("joining", "loading"):
        newcomer.wait_event("loading")
        pair.go()
    assert newcomer.wait_exit() == -9
    pair.go()
    check(pair, "primary", *([] if lone else ["secondary"]))


def test_the_newcomer_stands_still(make_pair: MakePair) -> None:
    """Nobody waits for it longer than for the dead."""
    pair = held(make_pair)
    newcomer = pair.join("third", "--pause-at", "state:following", wait=False)
    newcomer.wait_event("loading")
    pair.go("primary")
    newcomer.wait_paused()
    check(pair, "primary", "secondary")
    pair.resume("third")
    assert newcomer.wait_exit() in (0, 1)


@pytest.mark.parametrize(
    ("state", "other"),
    some([("following", "primary"), ("loading", "secondary")], *product(NEWCOMER, SIDES)),
)
def test_another_one_dies_while_the_newcomer_stands_still(
    make_pair: MakePair, state: str, other: str
) -> None:
    """Who is left goes on; the newcomer, once it is continued, is a member or leaves."""
    pair = held(make_pair)
    newcomer = pair.join("third", "--pause-at", f"state:{state}", "--wait", 2, wait=False)
    if state not in ("joining", "loading"):
        newcomer.wait_event("loading")
        pair.go("primary")
    newcomer.wait_paused()
    pair.crash(other)
    left = "secondary" if other == "primary" else "primary"
    pair.wait_live(left)
    pair.resume("third")
    pair.go("primary")
    check(pair, left)
    assert newcomer.wait_exit() in (0, 1, 2)  # nobody holds the files that it is to share

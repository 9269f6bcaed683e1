"""A guest moves to another process while it runs; whoever dies on the way, one guest goes on."""

from __future__ import annotations

from signal import SIGINT

import pytest
from commands import wait_until
from pair_checks import KILLED, check_ends, said

from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair

LINES = 60
GUEST = (f"--lines={LINES}", "--pause=30", "--work=500")


def moving(
    make_pair: MakePair, source: str = "", destination: str = "", *, lone: bool = False
) -> Pair:
    """A pair whose primary's guest begins to move, with a fault of one of them."""
    stop = ["--stop-at", "entry:100", *source.split()]
    pair = make_pair("ledger", GUEST, primary_options=stop, reachable=True)
    pair.wait_reached("primary")
    if lone:
        pair.crash("secondary")
        pair.wait_live("primary")
    pair.receive("there", *destination.split())
    pair.migrate("there")
    pair.process("there").wait_event("loading")
    pair.go("primary")
    return pair


def check(pair: Pair, *names: str) -> None:
    check_ends(pair, names or ("primary", "secondary", "there"), LINES)


@pytest.mark.parametrize("lone", [False, True], ids=["pair", "lone"])
def test_guest_moves(make_pair: MakePair, lone: bool) -> None:
    pair = moving(make_pair, lone=lone)
    assert pair.process("migrate").wait_exit() == 0, pair.process("migrate").report()
    assert pair.process("primary").wait_exit() == 0
    assert said(pair, "primary", "the guest goes on with another replica")
    report = pair.process("migrate").wait_event("migrated")
    assert report["bytes"] > 0 and report["gap_ms"] > 0
    assert pair.process("there").count("live") == 1
    left = ("there",) if lone else ("secondary", "there")
    check(pair, *left)
    assert all(pair.process(name).count("finished") for name in left)


@pytest.mark.long
@pytest.mark.parametrize(
    "state", ["binding", "taking_in", "holding", "handed_over", "swapped", "parted", "following"]
)
def test_the_source_dies(make_pair: MakePair, state: str) -> None:
    pair = moving(make_pair, f"--crash-at state:{state}")
    assert pair.process("primary").wait_exit() == KILLED
    check(pair)
    assert pair.process("migrate").wait_exit() in (0, 1)


@pytest.mark.long
@pytest.mark.parametrize("state", ["loading", "ready", "following", "claiming", "live"])
def test_the_destination_dies(make_pair: MakePair, state: str) -> None:
    pair = make_pair("ledger", GUEST, primary_options=["--stop-at", "entry:100"])
    pair.wait_reached("primary")
    pair.receive("there", "--crash-at", f"state:{state}")
    pair.migrate("there")
    if state != "loading":
        pair.process("there").wait_event("loading")
        pair.go("primary")
    assert pair.process("there").wait_exit() == KILLED
    pair.go("primary")
    assert pair.process("migrate").wait_exit() == 1, pair.process("migrate").report()
    assert said(pair, "migrate", "the guest stays here")
    check(pair)
    assert pair.process("primary").exit_status == 0


@pytest.mark.long
@pytest.mark.parametrize("state", ["ready", "following", "claiming"])
def test_another_member_dies_on_the_way(make_pair: MakePair, state: str) -> None:
    pair = moving(make_pair, destination=f"--pause-at state:{state}")
    pair.process("there").wait_paused()
    pair.crash("secondary")
    pair.resume("there")
    assert pair.process("migrate").wait_exit() in (0, 1)
    check(pair)


@pytest.mark.long
@pytest.mark.parametrize("state", ["taking_in", "handed_over"])
def test_the_source_stands_still(make_pair: MakePair, state: str) -> None:
    """For longer than death takes; it wakes up to learn that others go on."""
    pair = moving(make_pair, f"--pause-at state:{state}")
    pair.process("primary").wait_paused()
    assert pair.process("secondary").wait_exit() == 0
    pair.resume("primary")
    check(pair)
    assert pair.process("primary").exit_status == 1


def test_called_off(make_pair: MakePair) -> None:
    """The guest goes on where it was."""
    pair = moving(make_pair, destination="--pause-at state:ready")
    pair.process("there").wait_paused()
    pair.process("migrate").signal(SIGINT)
    assert pair.process("migrate").wait_exit() == 1
    assert said(pair, "migrate", "the guest stays here: the migration was called off")
    pair.resume("there")
    check(pair)
    assert pair.process("primary").exit_status == 0
    assert pair.process("there").exit_status == 1, pair._explain()


def test_too_late_to_be_called_off(make_pair: MakePair) -> None:
    pair = moving(make_pair, destination="--pause-at state:claiming")
    pair.process("there").wait_paused()
    migrate = pair.process("migrate")
    migrate.signal(SIGINT)
    wait_until(lambda: said(pair, "migrate", "nothing of primary moves that could still be"))
    pair.resume("there")
    check(pair)
    assert migrate.wait_exit() == 0
    assert pair.process("primary").count("migrating", phase="switching")


def test_the_arbiter_is_away_meanwhile(make_pair: MakePair) -> None:
    """The guest waits for nobody but its outputs' release, and moves when it is back."""
    pair = moving(make_pair, "--pause-at state:taking_in")
    pair.process("primary").wait_paused()
    away = pair.arbiter.with_name("away")
    pair.arbiter.rename(away)
    pair.resume("primary")
    text = f"cannot read the arbiter {pair.arbiter}: No such file or directory"
    pair.process("primary").wait_event("notice", text=text)
    away.rename(pair.arbiter)
    assert pair.process("migrate").wait_exit() == 0
    check(pair)
    assert pair.process("there").exit_status == 0

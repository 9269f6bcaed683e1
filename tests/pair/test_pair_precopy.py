"""A guest moves without a log of what it does meanwhile: it stands until it runs there, or goes on
where it was."""

from __future__ import annotations

from contextlib import closing
from signal import SIGINT
from typing import Any

import pytest
from pair_checks import KILLED, check_ends, said, some

from vlockstep.errors import HostError
from vlockstep.supervise.client import GuestClient
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair

LINES = 60
GUEST = (f"--lines={LINES}", "--pause=30", "--work=500")
PRECOPY = ("--method", "precopy")
PATIENT = ("--downtime", 30_000)
"""More than any of these tests takes."""
DEAD = ("--heartbeat", 50, "--misses", 40, "--wait", 2)
"""Of replicas: who has lost its primary soon says whether it was taken in."""


def moving(
    make_pair: MakePair,
    source: str = "",
    destination: str = "",
    *,
    lone: bool = True,
    options: tuple[object, ...] = PATIENT,
) -> Pair:
    """A pair whose primary's guest begins to move, with a fault of one of them."""
    stop = ["--stop-at", "entry:100", *source.split()]
    pair = make_pair("ledger", GUEST, primary_options=stop, reachable=True)
    pair.wait_reached("primary")
    if lone:
        pair.crash("secondary")
        pair.wait_live("primary")
    pair.receive("there", *DEAD, *destination.split())
    pair.migrate("there", *PRECOPY, *options)
    pair.process("there").wait_event("loading")
    pair.go("primary")
    return pair


def check(pair: Pair, *names: str) -> None:
    check_ends(pair, names, LINES)


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
    some([("ready", True), ("following", False)], ("ready", False), ("following", True),
         ("claiming", True), ("claiming", False)),
)  # fmt: skip
def test_the_destination_dies(make_pair: MakePair, state: str, lone: bool) -> None:
    """The guest, which stands for it, goes on where it was."""
    pair = moving(make_pair, destination=f"--crash-at state:{state}", lone=lone)
    assert pair.process("there").wait_exit() == KILLED
    assert pair.process("migrate").wait_exit() == 1, pair.process("migrate").report()
    assert said(pair, "migrate", "the guest stays here")
    check(pair, "primary", *([] if lone else ["secondary"]))
    assert pair.process("primary").exit_status == 0


def test_the_destination_stands_still(make_pair: MakePair) -> None:
    """Longer than the guest may: it goes on where it was, though the destination is not dead."""
    pair = moving(make_pair, destination="--pause-at state:ready", options=())
    pair.process("there").wait_paused()
    assert pair.process("migrate").wait_exit() == 1, pair.process("migrate").report()
    check(pair, "primary")
    pair.resume("there")
    assert pair.process("there").wait_exit() == 1


def test_called_off_while_the_guest_stands(make_pair: MakePair) -> None:
    pair = moving(make_pair, destination="--pause-at state:ready")
    pair.process("there").wait_paused()
    pair.process("migrate").wait_event("migrating", phase="standing")
    pair.process("migrate").signal(SIGINT)
    assert pair.process("migrate").wait_exit() == 1
    check(pair, "primary")
    pair.resume("there")
    assert pair.process("there").wait_exit() == 1


@pytest.mark.parametrize("state", some(["binding"], "taking_in"))
def test_a_source_that_dies_while_its_guest_stands_alone_takes_it_along(
    make_pair: MakePair, state: str
) -> None:
    """Nobody else is a member, as the arbiter knows."""
    pair = moving(make_pair, f"--crash-at state:{state}")
    assert pair.process("primary").wait_exit() == KILLED
    assert pair.process("migrate").wait_exit() == 1
    assert pair.process("there").wait_exit() == 1
    assert said(pair, "there", "before it had taken this replica in")
    assert not pair.process("there").count("live")


@pytest.mark.parametrize("state", some(["binding"], "taking_in", "holding", "handed_over"))
def test_another_member_goes_on_if_the_source_dies(make_pair: MakePair, state: str) -> None:
    pair = moving(make_pair, f"--crash-at state:{state}", lone=False)
    assert pair.process("primary").wait_exit() == KILLED
    assert pair.process("migrate").wait_exit() == 1
    check(pair, "secondary", "there")
    assert pair.process("secondary").exit_status == 0


def test_what_is_no_way_to_move_is_refused(make_pair: MakePair) -> None:
    stop = ["--stop-at", "entry:20"]
    pair = make_pair("ledger", GUEST, reachable=True, primary_options=stop)
    pair.receive("there")
    move = pair.migrate("there", "--downtime", 5)
    assert move.wait_exit() == 2
    assert said(pair, "migrate", "--downtime and --no-throttle are for --method precopy")
    move = pair.migrate("there", *PRECOPY, source="secondary")
    assert move.wait_exit() == 1
    assert said(pair, "migrate", "this replica is a secondary")
    run = RunDirectory(pair.specs["primary"].run_directory)
    for wrong, why in WRONG:
        with closing(GuestClient(run, "primary")) as guest, pytest.raises(HostError, match=why):
            guest.ask("migrate", to=pair.endpoint_of("there"), **wrong)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"method": "post"}, "a migration is by log or precopy"),
    ({"method": "precopy", "downtime_ms": 0.5}, "a migration is by log or precopy"),
    ({"method": "precopy", "throttle": 1}, "a migration is by log or precopy"),
    ({"method": "precopy", "downtime_ms": 0}, "1 ms to 60 s"),
]


# One that writes faster than the link

WRITER = ("--touch=2", "--rewrite=1", "--rounds=0", "--beat=50")
SLOW_LINK = ("--max-bandwidth", 2)
SHORT = (*PRECOPY, "--downtime", 10)


def writing(make_pair: MakePair, *options: object) -> Pair:
    """A lone guest that begins to move while it writes without end."""
    pair = make_pair("writer", WRITER, primary_options=SLOW_LINK, reachable=True)
    pair.crash("secondary")
    pair.wait_live("primary")
    pair.receive("there")
    pair.migrate("there", *options)
    return pair


def test_a_guest_that_writes_faster_than_the_link_does_not_move_unthrottled(
    make_pair: MakePair,
) -> None:
    pair = writing(make_pair, *SHORT, "--no-throttle")
    assert pair.process("migrate").wait_exit() == 1, pair.process("migrate").report()
    assert said(pair, "migrate", "still more left than can be sent in 10 ms")
    assert said(pair, "migrate", "move it by the method log")
    assert not pair.process("migrate").count("migrating", throttle=20)
    assert pair.process("there").wait_exit() == 1
    pair.receive("elsewhere")
    pair.migrate("elsewhere")
    assert pair.process("migrate").wait_exit() == 0, pair.process("migrate").report()


def test_but_it_does_if_it_is_slowed(make_pair: MakePair) -> None:
    pair = writing(make_pair, *SHORT)
    assert pair.process("migrate").wait_exit() == 0, pair.process("migrate").report()
    report = pair.process("migrate").wait_event("migrated")
    assert report["throttle"] >= 20
    there = pair.process("there")
    entries = there.wait_status(lambda status: status["role"] == "primary")["entries"]
    there.wait_status(lambda status: status["entries"] > entries + 1000)
    assert b"does not hold" not in pair.transcript, "its memory is what it wrote"

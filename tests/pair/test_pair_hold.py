"""Replicas that hold the guest's outputs while nobody else has it: nothing comes meanwhile, and
everything once somebody has joined."""

from __future__ import annotations

import signal
from contextlib import closing
from dataclasses import replace

import pytest
from pair_checks import check_output

from vlockstep.supervise.client import GuestClient
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair

WRITES = 2000
PLENTY = (f"--lines={WRITES}", "--pause=0")
"""More than a MiB of outputs."""
HOLDING = ("--hold", "--max-log", "1")
"""The guest waits, too, then: so it comes to no end before somebody has joined."""


def asked(pair: Pair, name: str) -> GuestClient:
    return GuestClient(RunDirectory(pair.directory / "run"), name)


def alone(make_pair: MakePair, arguments: tuple[str, ...] = PLENTY) -> Pair:
    """A primary that begins without another replica, and holds."""
    pair = make_pair("ledger", arguments, start=False)
    pair.specs["primary"] = replace(pair.specs["primary"], secondaries=0)
    pair.start_primary(*HOLDING)
    pair.process("primary").wait_event("holding")
    return pair


def test_who_takes_over_emits_nothing_until_another_one_has_joined(make_pair: MakePair) -> None:
    pair = make_pair(
        "ledger", PLENTY, reachable=True, crash_at="write:40", secondary_options=HOLDING
    )
    secondary = pair.process("secondary")
    secondary.wait_event("holding")
    before = pair.transcript
    secondary.wait_status(lambda status: status["holding"] and status["outputs_held"] > 20)
    assert pair.transcript == before and before.count(b"\n") < WRITES
    third = pair.join("third", to="secondary")
    secondary.wait_event("holding_over")
    assert secondary.wait_exit() == third.wait_exit() == 0
    check_output(pair, WRITES)


def test_as_many_wait_as_may_and_all_go_to_who_joins(make_pair: MakePair) -> None:
    pair = alone(make_pair)
    primary = pair.process("primary")
    primary.wait_status(lambda status: status["outputs_held"] > 1500)
    assert not pair.transcript
    third = pair.join("third")
    assert primary.wait_exit() == third.wait_exit() == 0
    check_output(pair, WRITES)


def test_it_can_be_asked_to_hold_no_longer(make_pair: MakePair) -> None:
    pair = alone(make_pair)
    with closing(asked(pair, "primary")) as client:
        assert client.ask("status")["holding"]
        assert client.ask("hold", hold=False)["hold"] is False
    assert pair.process("primary").wait_exit() == 0
    check_output(pair, WRITES)


@pytest.mark.parametrize("how", ["stop", "terminate"])
def test_whoever_waits_can_be_ended(make_pair: MakePair, how: str) -> None:
    """What waits is lost."""
    pair = alone(make_pair)
    primary = pair.process("primary")
    primary.wait_status(lambda status: status["outputs_held"] > 20)
    if how == "stop":
        with closing(asked(pair, "primary")) as client:
            client.ask("stop")
    else:
        primary.signal(signal.SIGTERM)
    assert primary.wait_exit() == (0 if how == "stop" else 1)
    assert not pair.transcript


def test_a_guest_that_has_ended_waits_for_nobody(make_pair: MakePair) -> None:
    pair = alone(make_pair, arguments=("--lines=3", "--pause=0"))
    assert pair.process("primary").wait_exit() == 0
    check_output(pair, 3)

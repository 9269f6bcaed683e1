"""An operator swaps the roles of a healthy pair."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from commands import run_command
from pair_checks import ENDLESS, check_stopped

from vlockstep.errors import HostError
from vlockstep.sim.sides import SIDES, Side
from vlockstep.supervise.operator import request_switchover
from vlockstep.testing import Pair, Relay
from vlockstep.testing.faults.outside import other
from vlockstep.testing.faults.trial import RECONNECTING_MS
from vlockstep.testing.plugin import MakePair
from vlockstep.testing.process import TIMEOUT

PREEMPTED = "--work=4000000000"
"""Of a guest that counts until it is stopped."""


def finish(pair: Pair) -> None:
    pair.stop()
    check_stopped(pair)


def goes_on(pair: Pair, *, entries: int) -> None:
    """The guest of both makes so many more."""
    before = pair.process("secondary").wait_status(lambda status: True)["entries"]
    for side in SIDES:
        pair.process(side).wait_status(lambda status: status["entries"] > before + entries)


@pytest.mark.parametrize("keys", [False, True], ids=["without keys", "with keys"])
def test_back_and_forth(make_pair: MakePair, keys: bool) -> None:
    pair = make_pair("ledger", ENDLESS, keys=keys)
    assert pair.switchover() == 2
    assert pair.wait_live("secondary") == 2
    assert pair.process("primary").wait_event("following")["generation"] == 2
    assert pair.switchover() == 3
    assert pair.wait_live("primary") == 3
    finish(pair)


def test_one_after_the_other(make_pair: MakePair) -> None:
    """Without waiting for the new primary to be live."""
    pair = make_pair("ledger", ENDLESS)
    assert [pair.switchover() for _ in range(8)] == list(range(2, 10))
    finish(pair)


def go(pair: Pair) -> None:
    """The old primary comes to the place where it was held again, as a secondary."""
    pair.go()
    pair.go("primary")


def test_two_operators_at_once(make_pair: MakePair) -> None:
    """The second one joins the first, or comes when the roles are swapped."""
    pair = make_pair("ledger", ENDLESS, stop_at=["entry:50"])
    pair.wait_reached("primary")
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(pair.switchover) for _ in range(2)]
        pair.process("primary").wait_status(lambda s: s["state"] == "holding")
        go(pair)
        assert sorted(one.result() for one in asked) in ([2, 2], [2, 3])
    finish(pair)


def test_an_operator_who_loses_the_connection_does_not_ask_again(make_pair: MakePair) -> None:
    """The roles would be swapped back."""
    pair = make_pair("ledger", ENDLESS, stop_at=["entry:50"])
    pair.wait_reached("primary")
    with closing(Relay()) as relay, ThreadPoolExecutor() as pool:
        relay.forward_to(pair.endpoint)
        asked = pool.submit(request_switchover, relay.endpoint, None, TIMEOUT)
        pair.process("primary").wait_status(lambda s: s["state"] == "holding")
        relay.drop()
        with pytest.raises(HostError, match="was lost before the answer: see who is primary"):
            asked.result()
        go(pair)
    assert pair.wait_live("secondary") == 2
    finish(pair)
    assert len(list(pair.process("primary").generations())) == 0


def test_command(make_pair: MakePair) -> None:
    pair = make_pair("ledger", ENDLESS)
    done = run_command("switchover", pair.endpoint, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"generation": 2}
    finish(pair)


@pytest.mark.parametrize("dies", SIDES)
def test_crash_after_it(make_pair: MakePair, dies: Side) -> None:
    """Whoever survives goes on as the third generation."""
    pair = make_pair("ledger", ENDLESS)
    assert pair.switchover() == 2
    pair.process("primary").wait_event("following")
    pair.crash(dies)
    left = other(dies)
    pair.process(left).wait_status(
        lambda status: (status["generation"], status["state"]) == (3, "alone")
    )
    pair.stop(left)
    check_stopped(pair, left)


def test_connection_lost_after_it(make_pair: MakePair) -> None:
    """The new primary connects again, and the replica that listens finds it under another name."""
    pair = make_pair("ledger", ENDLESS, heartbeat_ms=RECONNECTING_MS, misses=5)
    assert pair.switchover() == 2
    assert pair.wait_live("secondary") == 2
    pair.process("primary").wait_event("following")
    pair.drop()
    secondary = pair.process("secondary")
    lost = secondary.wait_event("notice", text="the connection to the secondary was lost")
    secondary.wait_status(
        lambda status: status["time"] > lost["time"] and status["state"] == "protected"
    )
    goes_on(pair, entries=10)
    finish(pair)


def test_preempted_guest(make_pair: MakePair) -> None:
    """The guest is held between two instructions, with a timer armed."""
    pair = make_pair("preempt", ["--tsc=1", PREEMPTED, "--period=500000"])
    assert pair.switchover() == 2
    goes_on(pair, entries=500)
    pair.stop()
    check_stopped(pair, ledger=False)


def test_preempted_guest_that_was_held_late(make_pair: MakePair) -> None:
    """The new primary, which stands still for a while, interrupts its guest earlier after the last
    entry than where the old one's was held: the old one must not have run ahead."""
    pair = make_pair("preempt", [PREEMPTED, "--period=800000000"])
    primary = pair.process("primary")
    start = primary.wait_event("started")["time"]
    primary.wait_status(lambda status: status["time"] > start + 0.4)
    assert pair.switchover() == 2
    pair.pause("secondary")
    held = primary.wait_event("following")["time"]
    primary.wait_status(lambda status: status["time"] > held + 0.8)
    pair.resume("secondary")
    goes_on(pair, entries=1)
    pair.stop()
    check_stopped(pair, ledger=False)


def test_guest_that_makes_no_exit(make_pair: MakePair) -> None:
    """It cannot be held: the pair says so and goes on as it was, still protected."""
    pair = make_pair("sort", ["--n=200000", "--rounds=1000000"])
    with pytest.raises(HostError, match="the guest made no exit within 2 s"):
        pair.switchover()
    primary = pair.process("primary")
    refused = primary.wait_event("switchover")
    assert refused["generation"] == 0
    status = primary.wait_status(lambda status: status["time"] > refused["time"])
    assert (status["state"], status["generation"]) == ("protected", 1)


def test_lone_primary(make_pair: MakePair) -> None:
    pair = make_pair("ledger", ENDLESS)
    pair.crash("secondary")
    pair.wait_live("primary")
    with pytest.raises(HostError, match=r"did not swap roles: .*alone"):
        pair.switchover()


def test_nobody_there(make_pair: MakePair) -> None:
    pair = make_pair("hello")
    pair.wait_finished()
    with pytest.raises(HostError, match="no answer from"):
        pair.switchover(wait=0.2)

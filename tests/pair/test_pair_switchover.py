"""An operator swaps the roles of a healthy pair."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from commands import run_command
from pair_checks import KILLED, check_equal, check_log, check_output

from vlockstep.errors import HostError
from vlockstep.supervise.operator import request_switchover
from vlockstep.testing import Pair, Relay
from vlockstep.testing.faults.trial import RECONNECTING_MS
from vlockstep.testing.plugin import MakePair
from vlockstep.testing.process import TIMEOUT

LINES = 200
GUEST = [f"--lines={LINES}", "--pause=10", "--work=500"]


def finish(pair: Pair) -> None:
    assert pair.wait_finished() == (0, 0)
    check_output(pair, LINES)
    check_equal(pair)
    check_log(pair, "primary")
    check_log(pair, "secondary")


@pytest.mark.parametrize("keys", [False, True], ids=["without keys", "with keys"])
def test_back_and_forth(make_pair: MakePair, keys: bool) -> None:
    pair = make_pair("ledger", GUEST, keys=keys)
    assert pair.switchover() == 2
    assert pair.wait_live("secondary") == 2
    assert pair.process("primary").wait_event("following")["generation"] == 2
    assert pair.switchover() == 3
    assert pair.wait_live("primary") == 3
    finish(pair)


def test_one_after_the_other(make_pair: MakePair) -> None:
    """Without waiting for the new primary to be live."""
    pair = make_pair("ledger", GUEST)
    assert [pair.switchover() for _ in range(8)] == list(range(2, 10))
    finish(pair)


def go(pair: Pair) -> None:
    """The old primary comes to the place where it was held again, as a secondary."""
    pair.go()
    pair.go("primary")


def test_two_operators_at_once(make_pair: MakePair) -> None:
    """The second one joins the first, or comes when the roles are swapped."""
    pair = make_pair("ledger", GUEST, stop_at=["entry:50"])
    pair.wait_reached("primary")
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(pair.switchover) for _ in range(2)]
        pair.process("primary").wait_status(lambda s: s["state"] == "holding")
        go(pair)
        assert sorted(one.result() for one in asked) in ([2, 2], [2, 3])
    finish(pair)


def test_an_operator_who_loses_the_connection_does_not_ask_again(make_pair: MakePair) -> None:
    """The roles would be swapped back."""
    pair = make_pair("ledger", GUEST, stop_at=["entry:50"])
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
    pair = make_pair("ledger", GUEST)
    done = run_command("switchover", pair.endpoint, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"generation": 2}
    finish(pair)


@pytest.mark.parametrize("which", ["primary", "secondary"])
def test_crash_after_it(make_pair: MakePair, which: str) -> None:
    """Whoever survives goes on as the third generation."""
    pair = make_pair("ledger", GUEST)
    assert pair.switchover() == 2
    pair.process("primary").wait_event("following")
    if which == "primary":
        pair.crash("primary")
        assert pair.wait_finished() == (KILLED, 0)
        check_log(pair, "secondary")
    else:
        pair.crash("secondary")
        assert pair.wait_live("primary") == 3
        assert pair.wait_finished() == (0, KILLED)
        check_log(pair, "primary")
    check_output(pair, LINES)


def test_connection_lost_after_it(make_pair: MakePair) -> None:
    """The new primary connects again, and the replica that listens finds it under another name."""
    pair = make_pair("ledger", GUEST, heartbeat_ms=RECONNECTING_MS, misses=5)
    assert pair.switchover() == 2
    assert pair.wait_live("secondary") == 2
    pair.process("primary").wait_event("following")
    pair.drop()
    pair.process("secondary").wait_event("notice", text="the connection to the secondary was lost")
    finish(pair)


def test_preempted_guest(make_pair: MakePair) -> None:
    """The guest is held between two instructions, with a timer armed."""
    arguments = ["--tsc=1", "--work=4000000", "--period=500000"]
    pair = make_pair("preempt", arguments)
    assert pair.switchover() == 2
    assert pair.wait_finished() == (0, 0)
    check_equal(pair)
    check_log(pair, "primary")
    check_log(pair, "secondary")


def test_preempted_guest_that_was_held_late(make_pair: MakePair) -> None:
    """The new primary, which stands still for a while, interrupts its guest earlier after the last
    entry than where the old one's was held: the old one must not have run ahead."""
    arguments = ["--work=6000000", "--period=800000000"]
    pair = make_pair("preempt", arguments)
    primary = pair.process("primary")
    start = primary.wait_event("started")["time"]
    primary.wait_status(lambda status: status["time"] > start + 0.4)
    assert pair.switchover() == 2
    pair.pause("secondary")
    held = primary.wait_event("following")["time"]
    primary.wait_status(lambda status: status["time"] > held + 0.8)
    pair.resume("secondary")
    assert pair.wait_finished() == (0, 0)
    check_equal(pair)


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
    pair = make_pair("ledger", GUEST)
    pair.crash("secondary")
    pair.wait_live("primary")
    with pytest.raises(HostError, match=r"did not swap roles: .*alone"):
        pair.switchover()


def test_nobody_there(make_pair: MakePair) -> None:
    pair = make_pair("hello")
    pair.wait_finished()
    with pytest.raises(HostError, match="no answer from"):
        pair.switchover(wait=0.2)

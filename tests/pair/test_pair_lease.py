"""A guest that is started again, by who was none of its replicas, when its owner has not renewed
its lease: it is silent by then, whether it is dead, stopped or cannot reach the arbiter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pair_checks import ENDLESS, LINES, SHORT, check_output, check_stopped

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.testing import Pair, check_ledger
from vlockstep.testing.plugin import MakePair

LEASE = 1000
LONG_LINES = 200
LONG = [f"--lines={LONG_LINES}", "--pause=20"]
PLACE = "entry:40"
WAITS = r"waiting for the lease of generation 1 to run out \(owner primary-"
TAKEN = r"the lease of generation 1 was taken from it, since it had run out"
SILENT = r"the lease of generation 1 could not be renewed in time"


def leased(make_pair: MakePair, secondaries: int = 0, **options: object) -> Pair:
    pair = make_pair("ledger", SHORT, start=False, **options)
    spec = pair.specs["primary"]
    pair.specs["primary"] = replace(spec, lease=LEASE, secondaries=secondaries)
    return pair


def alone(make_pair: MakePair, **options: object) -> Pair:
    """A primary whose guest has begun, without another replica."""
    pair = leased(make_pair, **options)
    pair.start_primary()
    pair.process("primary").wait_event("started")
    return pair


def check_restarted(pair: Pair, before: bytes, lines: int = LINES) -> None:
    """What was on the console stays, and behind it is all that the guest prints from boot on."""
    assert pair.process("outsider").wait_exit() == 0
    text = pair.transcript
    assert text.startswith(before)
    begins = text.index(b"ledger 000001", 1)
    check_ledger(text[begins:], pair.disk(), lines)
    assert begins >= len(before)
    [first, second] = DirectoryArbiter(pair.arbiter, "test").reigns()
    assert (first.ended, second.ended) == (False, True)
    assert first.record.lease == second.record.lease == LEASE * 1_000_000


def test_a_guest_whose_owner_died_is_started_again(make_pair: MakePair) -> None:
    pair = alone(make_pair, crash_at=PLACE)
    assert pair.process("primary").wait_exit() == -9
    before = pair.transcript
    assert before
    outsider = pair.restart("outsider")
    check_restarted(pair, before)
    names = [event["event"] for event in outsider.events]
    assert outsider.wait_notice(WAITS) and names.index("notice") < names.index("started")


def test_an_owner_that_slept_emits_nothing_more(make_pair: MakePair) -> None:
    """It has an output in its hands that it was just permitted to make."""
    pair = alone(make_pair, pause_at="release:40")
    pair.process("primary").wait_paused()
    before = pair.transcript
    assert before
    outsider = pair.restart("outsider")
    outsider.wait_event("started")
    pair.resume()
    assert pair.process("primary").wait_exit() == 1
    assert pair.process("primary").count("stopped") == 1
    stopped = pair.process("primary").wait_event("stopped")
    assert "the lease of generation 1 was taken from it" in stopped["reason"]
    check_restarted(pair, before)


def with_a_way(pair: Pair, tmp_path: Path) -> Path:
    """The arbiter as the primary alone reaches it, which can be taken away."""
    pair.arbiter.mkdir()
    way = tmp_path / "way"
    way.symlink_to(pair.arbiter, target_is_directory=True)
    pair.specs["primary"] = replace(pair.specs["primary"], arbiter=way)
    pair.start_primary()
    pair.process("primary").wait_event("started")
    return way


def test_an_owner_that_cannot_reach_the_arbiter_falls_silent_until_it_can(
    make_pair: MakePair, tmp_path: Path
) -> None:
    pair = leased(make_pair)
    pair.arguments = LONG
    way = with_a_way(pair, tmp_path)
    primary = pair.process("primary")
    way.rename(tmp_path / "elsewhere")
    primary.wait_notice(SILENT)
    before = pair.transcript
    primary.wait_status(lambda status: status["outputs_held"] > 5)
    assert pair.transcript == before
    (tmp_path / "elsewhere").rename(way)
    primary.wait_notice("the lease of generation 1 is renewed")
    assert primary.wait_exit() == 0
    check_output(pair, LONG_LINES)


def test_the_guest_of_an_owner_that_cannot_reach_the_arbiter_is_started_elsewhere(
    make_pair: MakePair, tmp_path: Path
) -> None:
    """The owner runs all the time."""
    pair = leased(make_pair)
    pair.arguments = LONG
    way = with_a_way(pair, tmp_path)
    primary = pair.process("primary")
    way.unlink()
    pair.specs["primary"] = replace(pair.specs["primary"], arbiter=pair.arbiter)
    outsider = pair.restart("outsider")
    started = outsider.wait_event("started")
    primary.wait_notice(SILENT)
    [silent] = [e for e in primary.events if "could not be renewed" in e.get("text", "")]
    assert silent["time"] < started["time"]
    way.symlink_to(pair.arbiter, target_is_directory=True)
    assert primary.wait_exit() == 1
    assert "was taken from it" in primary.wait_event("stopped")["reason"]
    check_restarted(pair, b"ledger", LONG_LINES)


@pytest.mark.parametrize("lease", [0, LEASE])
def test_a_lone_primary_is_joined_and_followed(make_pair: MakePair, lease: int) -> None:
    pair = leased(make_pair, stop_at=["entry:20"])
    pair.specs["primary"] = replace(pair.specs["primary"], lease=lease)
    pair.arguments = LONG
    pair.start_primary()
    assert pair.process("primary").wait_event("alone")["generation"] == 1
    assert pair.process("primary").count("unprotected") == 0
    pair.wait_reached("primary")
    third = pair.join("third", wait=False)
    third.wait_event("loading")
    pair.go("primary")
    pair.process("primary").wait_event("joined")
    pair.crash()
    assert third.wait_live() == 3
    assert third.wait_exit() == 0
    check_output(pair, LONG_LINES)
    reigns = DirectoryArbiter(pair.arbiter, "test").reigns()
    assert [reign.record.lease for reign in reigns] == [lease * 1_000_000] * 3


def test_a_protected_pair_takes_over_and_swaps_with_a_lease(make_pair: MakePair) -> None:
    pair = leased(make_pair, 1)
    pair.arguments = ENDLESS
    pair.start()
    assert pair.switchover() == 2
    pair.crash("secondary")
    assert pair.wait_live("primary") == 3
    pair.stop()
    check_stopped(pair, "primary")
    reigns = DirectoryArbiter(pair.arbiter, "test").reigns()
    assert [reign.record.lease for reign in reigns] == [LEASE * 1_000_000] * 3

"""Keyframes in the log of a replica."""

from __future__ import annotations

import json
import resource
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from commands import run_command
from pair_checks import check_equal

from vlockstep.replay.logfile import LogReader
from vlockstep.sim.sides import Side
from vlockstep.testing import Pair, check_ledger, replay
from vlockstep.testing.plugin import MakePair

EVERY = ["--keyframes", "0.05"]
LINES = 150
LEDGER = [f"--lines={LINES}", "--pause=5"]
GUESTS = {
    "ledger": ["--lines=2000", "--pause=10"],
    "preempt": ["--work=100000000000"],
    "clock": ["--reads=1000000000"],
}
"""Until they are stopped."""


def told(*arguments: object) -> dict[str, Any]:
    done = run_command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def keyframes(log: Path) -> list[int]:
    """Before which entries there are some."""
    with closing(LogReader(log)) as reader:
        return [keyframe.sequence for _, keyframe in reader.keyframes()]


def wait_keyframes(pair: Pair, side: Side, count: int) -> None:
    """Until there are so many in its log."""
    log = pair.log(side)
    pair.process(side).wait_status(
        lambda status: status["log_bytes"] > 0 and len(keyframes(log)) >= count
    )


def check_log(log: Path, end: str = "log") -> list[int]:
    """It is the guest's execution, and its keyframes are what the guest was there: a replay, which
    compares itself with each, begins at the nearest."""
    found = keyframes(log)
    whole = told("replay", log)
    passed = [sequence for sequence in found if sequence < whole["entries"]]
    assert (whole["end"], whole["first"], whole["keyframes"]) == (end, 0, len(passed))
    until = f"entry:{whole['entries'] - 1}"
    near = told("replay", log, "--until", until)
    assert near["first"] == max(passed, default=0)
    there = replay(log, until=until)
    assert near["memory_digest"] == there.memory_digest.hex()
    assert near["position"] == str(there.position)
    return passed


@pytest.mark.parametrize("guest", GUESTS)
def test_a_secondarys_log_has_them(make_pair: MakePair, guest: str) -> None:
    pair = make_pair(guest, GUESTS[guest], primary_options=EVERY, secondary_options=EVERY)
    wait_keyframes(pair, "secondary", 3)
    pair.stop()
    pair.wait_finished()
    assert len(check_log(pair.log("secondary"))) >= 2
    assert keyframes(pair.log("primary")) == [], "its guest shall not wait for them"


def test_a_guest_that_ends(make_pair: MakePair) -> None:
    """Wherever it is with its last keyframe then."""
    pair = make_pair("ledger", LEDGER, secondary_options=EVERY)
    assert pair.wait_finished() == (0, 0)
    check_equal(pair)
    check_ledger(pair.transcript, pair.disk(), LINES)
    check_log(pair.log("secondary"), "halt")


def test_they_follow_the_roles(make_pair: MakePair) -> None:
    """There are some in the log of who follows, of the time in which it does."""
    both = {"primary_options": EVERY, "secondary_options": EVERY}
    pair = make_pair("ledger", GUESTS["ledger"], **both)
    wait_keyframes(pair, "secondary", 2)
    assert pair.switchover() == 2
    wait_keyframes(pair, "primary", 2)
    pair.stop()
    pair.wait_finished()
    first, second = check_log(pair.log("secondary")), check_log(pair.log("primary"))
    assert first[-1] < second[0]


def test_who_is_killed_leaves_a_log_that_can_be_replayed(make_pair: MakePair) -> None:
    pair = make_pair("ledger", GUESTS["ledger"], secondary_options=EVERY)
    wait_keyframes(pair, "secondary", 2)
    pair.crash("secondary")
    check_log(pair.log("secondary"))
    assert pair.wait_live("primary") == 2


def test_a_file_that_takes_no_more_of_them(make_pair: MakePair) -> None:
    """It ends, as without keyframes, and the guest goes on protected."""
    pair = make_pair("ledger", GUESTS["ledger"], secondary_options=EVERY)
    wait_keyframes(pair, "secondary", 1)
    process = pair.process("secondary")
    size = pair.log("secondary").stat().st_size
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))
    assert "the log file ends here" in process.wait_notice("cannot write the log")
    exits = process.wait_status(lambda status: True)["exits"]
    process.wait_status(lambda status: status["exits"] > exits)
    assert pair.process("primary").count("alone") == 0
    pair.stop()
    pair.wait_finished()


@pytest.mark.parametrize("command", ["primary", "secondary"])
@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--keyframes", "1"], "there is none: name its file (--keyframes SECONDS, --log FILE)"),
        (["--keyframes", "0", "--log", "x"], "--keyframes takes seconds, up to 86400, or off"),
        (["--keyframes", "soon", "--log", "x"], "or off, not 'soon'"),
    ],
)
def test_what_is_refused(tmp_path: Path, command: str, options: list[str], why: str) -> None:
    refused = run_command(command, "hello", "--arbiter", tmp_path / "arbiter", *options)
    assert refused.returncode == 2 and why in refused.stderr, refused.stderr
    assert not (tmp_path / "arbiter").exists()

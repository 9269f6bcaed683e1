"""Real gdb on a recording of each bundled guest; what it sees is what a straight replay has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bundled_guests import ARGUMENTS, record
from recordings import LOOKED_AT, Straight, straight
from support import needs_kvm, sample

from vlockstep.debug.mark import Mark
from vlockstep.machine import bundled
from vlockstep.machine.position import Position

SESSION = Path(__file__).with_name("guest_session.gdb")
FUNCTIONS = {
    "clock": "put_number", "echo": "tcp_output", "kv": "reply_flush", "kv-disk": "journal_commit",
    "preempt": "tick", "stream": "tcp_output", "tally": "memcpy", "web": "http_parse",
}  # fmt: skip
"""That is called late; of others `print_text`."""
EARLY = ("begin", "before the beginning", "guest_main", "step 0", "step 1", "step 2")


@pytest.mark.external("gdb")
@pytest.mark.parametrize("guest", bundled.names())
def test_gdb_sees_what_a_straight_replay_has(guest: str, tmp_path: Path) -> None:
    agree(record(tmp_path / "guest.vlog", guest, sample(guest)), guest)


@needs_kvm
@pytest.mark.external("gdb")
@pytest.mark.parametrize("guest", ["clock", "web"])
def test_gdb_sees_what_the_processor_executed(guest: str, tmp_path: Path) -> None:
    agree(record(tmp_path / "guest.vlog", guest, sample(guest), "kvm"), guest)


def test_each_guest_is_recorded_with_arguments_of_its_own() -> None:
    assert sorted(ARGUMENTS) == bundled.names()


def agree(log: Path, guest: str) -> None:
    batch, answer = log.with_suffix(".gdb"), log.with_suffix(".json")
    function = FUNCTIONS.get(guest, "print_text")
    lines = (f"python FUNCTION, ANSWER = {function!r}, {str(answer)!r}", f"source {SESSION}")
    batch.write_text("\n".join(lines))
    words = [sys.executable, "-m", "vlockstep", "debug", str(log), "--batch", str(batch)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and answer.exists(), done
    found = json.loads(answer.read_text())
    compare(log, found["seen"], found["watched"])


def compare(log: Path, seen: list[dict[str, Any]], watched: int) -> None:
    places = {each["name"]: _mark(each) for each in seen}
    early = [each for each in seen if each["name"] in (*EARLY, "step 1 again")]
    late = [each for each in seen if each not in early]
    behind = Position(places["step 2"].exits, places["step 2"].blocks + 1)
    at_begin = _same(straight(log, watched, end=behind), early)
    assert at_begin["begin"] == at_begin["before the beginning"] == 0
    called = at_begin["guest_main"]
    assert [at_begin[f"step {n}"] for n in range(3)] == [called + 1, called + 2, called + 3]
    assert at_begin["step 1 again"] == called + 2
    whole = straight(log, watched, min(map(_mark, late)).boundary)
    at, end = _same(whole, late), len(whole.marks) - 1
    assert at["why-ended"] == at["behind the end"] == at["seek end"] == end
    assert [at[f"back {n}"] for n in range(3)] == [end - 1, end - 2, end - 3]
    address = whole.addresses[at["function"]]
    assert address not in whole.addresses[at["function"] + 1 : end - 3]
    assert at["in the function"] == at["function"] + 1
    changes = [n for n in whole.accesses["change"] if n < at["in the function"]]
    assert at["writer"] == at["writer again"] == changes[-1] == at["before the writer"] + 1
    assert at["behind the writer"] == changes[-1] + 1


def _mark(each: dict[str, Any]) -> Mark:
    mark = Mark.parse(each["mark"])
    assert mark is not None
    return mark


def _same(replay: Straight, seen: list[dict[str, Any]]) -> dict[str, int]:
    """The index of each mark, at which all that was seen is the same in the replay."""
    found = {}
    for each in seen:
        at = found[each["name"]] = replay.marks.index(_mark(each))
        registers = tuple(each["registers"][name] for name in LOOKED_AT)
        assert registers == replay.registers[at], each
        assert replay.stacks[at].hex().startswith(each["stack"]), each
    return found

"""Places at which a replica is to crash, to stop or to diverge, and does or never comes to."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from pair_checks import END, KILLED, SHORT, check_output

from vlockstep.testing import LocalPair, Pair
from vlockstep.testing.plugin import MakePair
from vlockstep.testing.process import command, environment


def test_beyond_the_last_block_of_an_exit_means_the_next_exit(make_pair: MakePair) -> None:
    """Of two such places, too."""
    places = ["exits:40+100000", "exits:40+200000"]
    pair = make_pair("ledger", SHORT, stop_at=places, crash_at="exits:50+100000")
    for place in places:
        for side in ("primary", "secondary"):
            assert pair.wait_reached(side).place == place
        reached = [e["position"] for e in pair.events("primary") if e["event"] == "reached"]
        assert set(reached) == {"exits:41"}
        pair.go()
    assert pair.wait_finished() == (KILLED, 0)
    check_output(pair)


@pytest.mark.parametrize("option", ["--crash-at", "--pause-at", "--stop-at", "--diverge-at"])
def test_a_place_that_is_never_reached_is_told(make_pair: MakePair, option: str) -> None:
    options = [option, "exits:99999"]
    pair = make_pair("hello", primary_options=options, secondary_options=options)
    assert pair.wait_finished() == (0, 0)
    for side in ("primary", "secondary"):
        notice = {"text": "this replica never came to exits:99999"}
        assert pair.process(side).count("notice", **notice) == 1


def test_a_secondary_that_diverges_is_found_by_the_next_digest(make_pair: MakePair) -> None:
    """Of the RAM in which the bit was flipped. The primary goes on alone."""
    pair = make_pair("clock", ["--reads=200000"], diverge_at="entry:100")
    report = pair.process("secondary").wait_event("diverged")["report"]
    assert "the memory from 0x0 on differs" in report
    assert pair.wait_live("primary") == 2
    assert pair.wait_finished() == (0, 1)


@pytest.mark.parametrize("place", ["entry:0", "exits:40+3", f"entry:{END - 1}"])
def test_a_secondary_that_diverged_never_goes_live(make_pair: MakePair, place: str) -> None:
    """The primary dies when the last digest has arrived."""
    pair = make_pair("ledger", SHORT, diverge_at=place, crash_at=f"release:{END}")
    assert pair.wait_finished() == (KILLED, 1)
    (diverged,) = (e for e in pair.events("secondary") if e["event"] == "diverged")
    assert f"divergence at entry {END}" in diverged["report"]
    assert "ended here with other memory than logged" in diverged["report"]
    assert not pair.process("secondary").count("live")


def test_a_primary_that_diverges_is_left_by_its_secondary(make_pair: MakePair) -> None:
    """Nobody can tell who is right; who follows leaves."""
    pair = make_pair("ledger", SHORT, primary_options=["--diverge-at", "exits:7"])
    assert pair.wait_finished() == (0, 1)
    assert pair.process("secondary").count("diverged") == 1


def test_a_simulated_secondary_that_diverged_never_goes_live() -> None:
    with LocalPair() as pair:
        pair.run_to("entry:7")
        pair.diverge("secondary")
        assert pair.wait_live("primary") == 2
        assert pair.wait_finished() == (0, 1)
        assert not pair.secondary.happened("live") and pair.secondary.happened("diverged")


def test_a_stop_shows_people_the_registers(tmp_path: Path) -> None:
    """And RAM, when asked."""
    pair = Pair("hello", directory=tmp_path, stop_at=["exits:1"])
    common = ["--arbiter", pair.arbiter, "--console", pair.console, "--misses", 40]
    endpoint = f"ipc://{tmp_path}/socket"
    asked = "memory 0x100000 20\nmemory\nwhat 1 2\nmemory -1 5\nmemory 0x10 999999999\n\n"
    with subprocess.Popen(
        command("secondary", "hello", *common, "--connect", endpoint),
        env=environment(),
        stderr=subprocess.DEVNULL,
    ) as secondary:
        primary = subprocess.run(
            command("primary", "hello", *common, "--listen", endpoint, "--stop-at", "exits:1"),
            env=environment(),
            input=asked,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert secondary.wait(20) == 0
    pair.close()
    assert primary.returncode == 0
    shown = primary.stderr.partition("the guest stops at exits:1, at exits:1\n\n   rax ")[2]
    assert re.search(r" rip 0000000000[0-9a-f]{6}  rflags [0-9a-f]{16}  \[", shown)
    assert "press Enter to go on, or write: memory ADDRESS LENGTH\n" in shown
    rows = re.findall(r"^ +([0-9a-f]{6})  ((?:[0-9a-f]{2} ?)+)$", shown, re.M)
    assert [(at, len(row.split())) for at, row in rows] == [("100000", 16), ("100010", 4)]
    assert shown.count("write an empty line to let the guest go on") == 2
    assert "5 bytes at -0x1 are not in the guest's RAM" in shown
    assert "999999999 bytes are too many" in shown

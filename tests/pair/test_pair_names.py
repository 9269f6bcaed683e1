"""The two kinds of pairs are spoken to in the same words, and refuse others."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pair_checks import KILLED

from vlockstep.errors import UsageError
from vlockstep.testing import LocalPair, Pair, PairError, Relay, check_ledger
from vlockstep.testing.plugin import MakePair
from vlockstep.testing.process import environment

OF_A_SIDE = (
    *("crash", "pause", "resume", "wait_live"),
    *("log", "events", "registers", "memory_digest"),
)
COMMON = (*OF_A_SIDE, "cut", "heal", "drop", "switchover", "memory", "wait_finished", "disk")


@pytest.fixture(params=["processes", "virtual time"])
def pair(request: pytest.FixtureRequest, make_pair: MakePair, tmp_path: Path) -> Iterator[Any]:
    """Either kind, with its guest at entry 12 or on the way there."""
    if request.param == "processes":
        yield make_pair("ledger", ["--lines=5"], stop_at=["entry:12"])
        return
    with LocalPair("ledger", ["--lines=5"], logs=tmp_path) as local:
        yield local


@pytest.fixture(scope="module", params=["processes", "virtual time"])
def untouched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """Either kind, for those to whom it refuses what they want."""
    directory = tmp_path_factory.mktemp("untouched")
    if request.param == "virtual time":
        with LocalPair("ledger", ["--lines=5"], logs=directory) as local:
            yield local
        return
    with Pair("ledger", ["--lines=5"], directory=directory, stop_at=["entry:12"]) as processes:
        yield processes


def parameters(method: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(method).parameters)[1:]


@pytest.mark.parametrize("name", COMMON)
def test_the_methods_have_the_same_names(name: str) -> None:
    ours, local = (parameters(getattr(kind, name)) for kind in (Pair, LocalPair))
    if name in OF_A_SIDE:
        assert ours[0] == local[0] == "side"
    elif name not in ("switchover", "disk"):
        assert ours[: len(local)] == local[: len(ours)]
    for kind in (Pair, LocalPair):
        assert kind.__doc__ is not None
        assert f"`{name}`" in kind.__doc__


@pytest.mark.parametrize("name", OF_A_SIDE)
def test_a_side_that_there_is_not(untouched: Any, name: str) -> None:
    with pytest.raises(UsageError, match="'primry' is no side of a pair: write primary or second"):
        getattr(untouched, name)("primry")


@pytest.mark.parametrize("direction", ["primary", "to_primry", "", "towards"])
def test_a_direction_that_there_is_not(untouched: Any, direction: str) -> None:
    expected = "is no direction: write one of both, to_primary, to_secondary"
    with pytest.raises(UsageError, match=expected):
        untouched.cut(direction)


def test_directions_of_a_relay() -> None:
    with closing(Relay()) as relay:
        for method in (relay.cut, relay.flip, relay.truncate):
            with pytest.raises(UsageError, match="'secondary' is no direction"):
                method("secondary")  # type: ignore[arg-type]


def test_a_side_that_was_not_started(make_pair: MakePair) -> None:
    with pytest.raises(UsageError, match="the secondary was not started"):
        make_pair("hello", start=False).crash("secondary")


def test_one_test_for_either_kind(pair: Any) -> None:
    """The same calls, the same answers."""
    if isinstance(pair, LocalPair):
        pair.run_to("entry:12")
    else:
        pair.wait_reached("primary")
    magic = pair.memory("primary", 0x100000, 4)
    assert magic == pair.memory("primary", 0x100000, 64)[:4] != bytes(4)
    with pytest.raises(UsageError, match="not in the guest's RAM"):
        pair.memory("primary", 1 << 40, 4)
    with pytest.raises(UsageError, match="not in the guest's RAM"):
        pair.memory("primary", 0, -1)
    pair.crash("primary")
    if isinstance(pair, Pair):
        pair.go("secondary")
    assert pair.wait_live("secondary") == 2
    assert pair.wait_finished() == (KILLED, 0)
    assert pair.registers("secondary")["rip"] > 0x100000
    assert len(pair.memory_digest("secondary")) == 16
    assert pair.log("secondary").stat().st_size > 0
    check_ledger(pair.transcript, pair.disk(), lines=5)


def test_memory_of_a_guest_that_runs(make_pair: MakePair) -> None:
    pair = make_pair("ledger", ["--lines=5"], stop_at=["entry:12"])
    pair.wait_reached("primary")
    with pytest.raises(UsageError, match="too many: ask for at most 1048576"):
        pair.memory("primary", 0, (1 << 20) + 1)
    assert len(pair.memory("primary", 0, 1 << 20)) == 1 << 20
    pair.go()
    with pytest.raises(PairError, match="the primary's guest is not stopped"):
        pair.memory("primary", 0, 4)
    assert pair.wait_finished() == (0, 0)
    with pytest.raises(PairError, match="the primary's guest is not stopped"):
        pair.memory("primary", 0, 4)


def test_places_as_text() -> None:
    with LocalPair() as pair:
        pair.run_to("entry:7")
        assert pair.primary.replica.made == 7
        pair.run_to("exits:12")
        assert str(pair.primary.position) == "exits:12"
        pair.run_to("exits:14+2")
        assert str(pair.primary.position) == "exits:15"
        for text in ("12", "entry:x", "sent:4"):
            with pytest.raises(UsageError, match=r"is not a position|names no entry"):
                pair.run_to(text)


def test_a_pair_that_cannot_go_on() -> None:
    with LocalPair() as pair:
        pair.run_to_entry(7)
        pair.pause("primary")
        pair.pause("secondary")
        with pytest.raises(PairError, match="the primary is PROTECTED, paused"):
            pair.wait_finished()
        with pytest.raises(PairError, match="the secondary never goes live"):
            pair.wait_live()


@pytest.mark.parametrize("side", ["primary", "secondary"])
def test_who_goes_on_alone_is_live(side: Any) -> None:
    with LocalPair() as pair:
        pair.run_to_entry(7)
        pair.crash("secondary" if side == "primary" else "primary")
        assert pair.wait_live(side) == 2
        assert sorted(pair.wait_finished()) == [KILLED, 0]


def test_a_failure_is_shown_in_the_line_of_the_test(tmp_path: Path) -> None:
    """And not in the helper that found it."""
    (tmp_path / "test_mine.py").write_text(
        "from vlockstep.testing import LocalPair, check_ledger\n"
        "def test_wait(make_pair):\n"
        "    pair = make_pair('hello')\n"
        "    pair.wait_live(timeout=5)\n"
        "def test_wait_finished(make_pair):\n"
        "    pair = make_pair('ledger', stop_at=['entry:2'])\n"
        "    pair.wait_finished(timeout=0.1)\n"
        "def test_name(make_pair):\n"
        "    make_pair('hello').cut('primry')\n"
        "def test_local_name():\n"
        "    LocalPair().pause('primry')\n"
        "def test_local():\n"
        "    with LocalPair() as pair:\n"
        "        pair.pause('primary')\n"
        "        pair.wait_finished()\n"
        "def test_ledger():\n"
        "    check_ledger(b'', b'', 1)\n"
    )
    run = [sys.executable, "-m", "pytest", "--tb=short", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run(
        run, env=environment(), capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert "6 failed" in done.stdout, done.stdout + done.stderr
    report = done.stdout.partition("= FAILURES =")[2].partition("short test summary")[0]
    frames = [line.split(":")[:2] for line in report.splitlines() if ": in " in line]
    assert frames == [["test_mine.py", line] for line in ("4", "7", "9", "11", "15", "17")]


def test_a_text_is_no_list_of_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"arguments takes a list of words: write \['--lines=5'\]"):
        LocalPair("ledger", "--lines=5")
    with pytest.raises(UsageError, match="arguments takes a list of words"):
        Pair("ledger", "--lines=5", directory=tmp_path)
    with pytest.raises(UsageError, match="stop_at takes a list of words"):
        Pair("ledger", stop_at="entry:5", directory=tmp_path)


def test_a_guest_without_arguments_gets_none() -> None:
    with LocalPair("hello") as pair:
        pair.run()
        assert b"--lines" not in pair.transcript

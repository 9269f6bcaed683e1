"""Pairs whose guest is executed by the processor itself, on both hosts or on one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pair_checks import LINES, SHORT, check_output
from support import needs_kvm

from vlockstep.machine.kvm import device
from vlockstep.machine.registers import Registers
from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair

pytestmark = needs_kvm

BOTH = ["kvm", "unicorn"]
LONG_LINES = 100
LONG = (f"--lines={LONG_LINES}", "--pause=20", "--work=500")


def paired(
    make_pair: MakePair,
    secondary: str,
    arguments: tuple[str, ...] = SHORT,
    guest: str = "ledger",
    **options: object,
) -> Pair:
    pair = make_pair(guest, arguments, start=False, **options)
    for side, engine in (("primary", "kvm"), ("secondary", secondary)):
        pair.specs[side] = replace(pair.specs[side], engine=engine)
    pair.start()
    return pair


def check_end(pair: Pair, names: tuple[str, str], kin: str = "") -> None:
    """Both are at the same end, but for what engines, or equal processors, may do as they like."""
    for name in names:
        assert pair.process(name).wait_exit() == 0, pair.process(name).report()
    ours, theirs = (pair.registers(name) for name in names)
    assert Registers(ours, kin) == Registers(theirs, kin)
    assert len({pair.memory_digest(name) for name in names}) == 1


def check_like(pair: Pair, names: tuple[str, str], lines: int, kin: str = "") -> None:
    check_end(pair, names, kin)
    check_output(pair, lines)


@pytest.mark.parametrize("secondary", BOTH)
def test_a_guest_is_protected_to_its_end(make_pair: MakePair, secondary: str) -> None:
    pair = paired(make_pair, secondary)
    assert pair.wait_finished() == (0, 0)
    kin = device.processor() if secondary == "kvm" else ""
    check_like(pair, ("primary", "secondary"), LINES, kin)


@pytest.mark.parametrize("secondary", BOTH)
@pytest.mark.parametrize("place", ["entry:40", "sent:80", "write:60", "release:60"])
def test_nothing_is_lost_wherever_the_primary_dies(
    make_pair: MakePair, secondary: str, place: str
) -> None:
    pair = paired(make_pair, secondary, crash_at=place)
    assert pair.wait_live() == 2
    assert pair.process("secondary").wait_exit() == 0
    check_output(pair)


@pytest.mark.parametrize("engines", [("kvm", "unicorn", "kvm"), ("unicorn", "kvm", "unicorn")])
def test_replicas_join_whatever_executes_the_guest(
    make_pair: MakePair, engines: tuple[str, ...]
) -> None:
    stops = ["entry:100", "entry:200"]
    pair = paired(make_pair, engines[0], LONG, reachable=True, stop_at=stops)
    pair.wait_reached("primary")
    pair.crash("primary")
    pair.wait_reached("secondary")
    join(pair, "third", "secondary", "--engine", engines[1], "--stop-at", stops[1])
    pair.wait_reached("secondary")
    pair.crash("secondary")
    pair.wait_reached("third")
    join(pair, "fourth", "third", "--engine", engines[2])
    check_like(pair, ("third", "fourth"), LONG_LINES)


def join(pair: Pair, name: str, to: str, *options: str) -> None:
    """While the guest there runs, which waits until then."""
    newcomer = pair.join(name, *options, to=to, wait=False)
    newcomer.wait_event("loading")
    pair.go(to)
    pair.process(to).wait_event("joined")


def test_a_guest_that_makes_no_exit_can_be_joined(make_pair: MakePair) -> None:
    """It is stopped anywhere."""
    pair = make_pair("sort", ("--rounds=300", "--n=100000"), start=False, stop_at=["exits:0"])
    spec = replace(pair.specs["primary"], engine="kvm", secondaries=0)
    pair.specs["primary"] = spec
    pair.start_primary()
    pair.wait_reached("primary")
    join(pair, "third", "primary")
    check_end(pair, ("primary", "third"))
    assert pair.transcript.count(b"sort n=") == 1


@pytest.mark.parametrize("engine", BOTH)
def test_a_guest_moves_to_another_engine(make_pair: MakePair, engine: str) -> None:
    pair = paired(make_pair, "kvm", LONG, reachable=True, stop_at=["entry:100"])
    pair.wait_reached("primary")
    third = pair.receive("third", "--engine", engine)
    pair.migrate("third")
    third.wait_event("loading")
    pair.go()
    assert pair.process("migrate").wait_exit() == 0, pair.process("migrate").report()
    assert pair.process("primary").wait_exit() == 0
    check_like(pair, ("third", "secondary"), LONG_LINES)


def test_a_guest_that_needs_a_timer_says_what_to_do(make_pair: MakePair) -> None:
    pair = make_pair("preempt", (), start=False)
    for side in ("primary", "secondary"):
        pair.specs[side] = replace(pair.specs[side], engine="kvm")
    pair.start()
    for side in ("primary", "secondary"):
        process = pair.process(side)
        assert process.wait_exit() == 1
        assert "the engine unicorn" in process.report()


def test_a_secondary_that_emulates_lets_it_go_on(make_pair: MakePair) -> None:
    """And who joins it has Unicorn, too, and says why."""
    options = {"reachable": True, "stop_at": ["entry:20"]}
    pair = paired(make_pair, "unicorn", ("--work=1000000",), "preempt", **options)
    assert pair.wait_live() == 2
    pair.wait_reached("secondary")
    join(pair, "third", "secondary", "--engine", "auto")
    assert "has interrupts enabled" in pair.process("third").wait_event("notice")["text"]
    for name in ("secondary", "third"):
        assert pair.process(name).wait_exit() == 0, pair.process(name).report()
    assert b"preempt hash=" in pair.transcript

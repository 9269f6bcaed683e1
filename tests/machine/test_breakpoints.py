"""Stopping at exact positions: repeatable states, and errors for positions there are none of."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import (
    DATA,
    LOAD_TABLES,
    TEXT,
    Console,
    ScriptedWorld,
    config_for,
    halt,
    hypercall,
    machine_of,
    make_image,
    sample,
    trap_tables,
)

from vlockstep.errors import UsageError
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers

PREEMPT, CLOCK = sample("preempt"), sample("clock")


def states(positions: list[Position]) -> dict[Position, tuple[Registers, bytes]]:
    """The state at each of `positions`, all seen in one run."""
    found: dict[Position, tuple[Registers, bytes]] = {}
    config = config_for(PREEMPT, "--work=30000")
    with machine_of(PREEMPT, config, count_blocks=True) as machine:
        waiting = sorted(positions)

        def note() -> None:
            assert machine.position == waiting[0]
            found[waiting.pop(0)] = machine.registers(), machine.memory.digest()
            if waiting:
                machine.break_at(waiting[0], note)

        machine.break_at(waiting[0], note)
        machine.run(SimulatedWorld(11, Console()))
    return found


def test_two_runs_stopped_elsewhere_agree_at_common_positions() -> None:
    chosen = random.Random(1)
    common = [Position(0, 0), Position(0, 12), Position(1, 0)]
    common += [Position(1, chosen.randint(1, 50_000)) for _ in range(12)]
    others = [Position(1, chosen.randint(1, 50_000)) for _ in range(12)]
    first, second = states([*common]), states([*common, *(set(others) - set(common))])
    assert all(first[p] == second[p] for p in common)
    assert len(set(first.values())) == len(common)


def test_exits_need_no_counting() -> None:
    seen: list[tuple[Position, bool]] = []
    config = config_for(CLOCK, "--reads=50", "--walltime=50")
    with machine_of(CLOCK, config) as machine:
        for_later = [Position(n) for n in (20, 55, 100)]

        def note() -> None:
            seen.append((machine.position, machine.engine.counting))
            if for_later:
                machine.break_at(for_later.pop(0), note)

        machine.break_at(Position(0), note)
        assert machine.run(ScriptedWorld()).status == 0
    assert seen == [(Position(n), False) for n in (0, 20, 55, 100)]


def test_behind_an_exit_rip_is_that_of_the_next_instruction() -> None:
    """Also behind HLT, after which the CPU itself is already there."""
    arm, hlt = hypercall(0x40, DATA), b"\xf4"
    code = LOAD_TABLES + arm + b"\xeb\x00" + b"\xfb" + hlt + b"\x0f\x31" + b"\x90"
    behind = [code.index(b) + len(b) for b in (arm, hlt, b"\x0f\x31")]
    image = make_image(
        {0: code + halt(), 0x400: b"\x48\xcf"},  # iretq
        {DATA: struct.pack("<QII", 1_000_000, 0x20, 0), **trap_tables({0x20: TEXT + 0x400})},
    )
    seen: list[int] = []
    with machine_of(image) as machine:
        for exits in (1, 2, 3):
            machine.break_at(Position(exits), lambda: seen.append(machine.registers()["rip"]))
        machine.run(ScriptedWorld())
    assert seen == [TEXT + offset for offset in behind]


def test_between_exits_rip_is_that_of_the_block_that_follows() -> None:
    loop = bytes.fromhex("b903000000 ffc9 75fc")  # mov ecx, 3; L: dec ecx; jnz L
    seen: list[tuple[int, int]] = []
    with machine_of(make_image(loop + halt()), count_blocks=True) as machine:

        def look() -> None:
            registers = machine.registers()
            seen.append((registers["rip"] - TEXT, registers["rcx"]))

        for blocks in range(4):
            machine.break_at(Position(0, blocks), look)
        machine.run(ScriptedWorld())
    assert seen == [(0, 0), (5, 2), (5, 1), (len(loop), 0)]


def test_an_action_that_fails_ends_the_execution() -> None:
    def fail() -> None:
        raise UsageError("enough")

    with machine_of(CLOCK) as machine:
        machine.break_at(Position(7), fail)
        with pytest.raises(UsageError, match="enough"):
            machine.run(ScriptedWorld())
        assert machine.position == Position(7)
        with pytest.raises(UsageError, match="has ended"):
            machine.run(ScriptedWorld())


def breaking_again(at: Position, then: Position, **options: bool) -> None:
    def again(machine: Machine) -> None:
        machine.break_at(then, lambda: None)

    with machine_of(CLOCK, config_for(CLOCK, "--reads=20"), **options) as machine:
        machine.break_at(at, lambda: again(machine))
        machine.run(ScriptedWorld())


def test_a_position_that_has_passed_is_refused() -> None:
    with pytest.raises(UsageError, match=r"exits:5 has passed; the guest is at exits:9"):
        breaking_again(Position(9), Position(5))
    with pytest.raises(UsageError, match=r"exits:0\+3"):
        breaking_again(Position(0, 5), Position(0, 3), count_blocks=True)


def test_a_position_between_exits_needs_counting_from_the_start() -> None:
    with machine_of(CLOCK) as machine, pytest.raises(UsageError, match="count blocks"):
        machine.break_at(Position(3, 1), lambda: None)


def test_a_position_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"exits:3\+1000 does not exist: .* exits:4"):
        breaking_again(Position(1), Position(3, 1000), count_blocks=True)


def test_counting_changes_nothing_but_the_blocks() -> None:
    outcomes = []
    for options in ({}, {"count_blocks": True}):
        with machine_of(CLOCK, config_for(CLOCK, "--reads=30"), **options) as machine:
            outcome = machine.run(ScriptedWorld())
            outcomes.append((outcome.registers, outcome.memory_digest, outcome.position.exits))
    assert outcomes[0] == outcomes[1]


def test_a_machine_runs_once() -> None:
    with machine_of(make_image(halt())) as machine:
        machine.run(ScriptedWorld())
        with pytest.raises(UsageError, match="has ended"):
            machine.run(ScriptedWorld())


def test_a_position_that_does_not_exist_may_mean_the_next_boundary() -> None:
    seen: list[tuple[Position, Position]] = []
    with machine_of(CLOCK, config_for(CLOCK, "--reads=20"), count_blocks=True) as machine:
        for wanted in (Position(3, 2000), Position(3, 1), Position(3, 1000), Position(4)):
            machine.break_at(
                wanted, lambda wanted=wanted: seen.append((wanted, machine.position)), exact=False
            )
        machine.run(ScriptedWorld())
    assert seen == [
        (Position(3, 1), Position(3, 1)),
        (Position(3, 1000), Position(4)),
        (Position(3, 2000), Position(4)),
        (Position(4), Position(4)),
    ]


def test_breakpoints_do_not_replace_each_other() -> None:
    seen: list[Position] = []
    with machine_of(CLOCK, config_for(CLOCK, "--reads=20")) as machine:

        def every_exit() -> None:
            machine.break_at(Position(machine.exits + 1), every_exit)

        machine.break_at(Position(1), every_exit)
        for exits in (7, 2, 5):
            machine.break_at(Position(exits), lambda: seen.append(machine.position))
        machine.run(ScriptedWorld())
    assert seen == [Position(2), Position(5), Position(7)]


_NUMBERS = st.integers(0, (1 << 64) - 1)


@given(_NUMBERS, _NUMBERS)
def test_positions_are_read_as_they_are_written(exits: int, blocks: int) -> None:
    position = Position(exits, blocks)
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "exits",
            "exits:",
            "exits:-1",
            "exits:1+",
            "1",
            "exits:1+2+3",
            "exits:1 ",
            "blocks:3",
        ),
        *(f"exits:{1 << 64}", f"exits:1+{1 << 64}"),
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write exits:N or exits:N"):
        Position.parse(text)


def test_an_error_shows_no_more_than_a_line_of_what_was_written() -> None:
    with pytest.raises(UsageError, match=r"^'exits:9{54}…' is not a position") as error:
        Position.parse("exits:" + "9" * 5000)
    assert len(str(error.value)) < 200


def test_positions_order_as_time_does() -> None:
    assert Position(1) < Position(1, 1) < Position(2) < Position(10)

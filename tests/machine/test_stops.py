"""`Machine.run` returns before the guest's end if it is to, and goes on as if it had not."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

import pytest
from support import (
    DATA,
    LOAD_TABLES,
    TEXT,
    Console,
    MemoryDisk,
    Recording,
    ScriptedWorld,
    config_for,
    disk_config,
    halt,
    hypercall,
    machine_of,
    make_image,
    record,
    sample,
    trap_tables,
)

from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Cause, NoAnswer, Stop, World
from vlockstep.replay.entry import Entry
from vlockstep.replay.recorder import Recorder

GUESTS = {
    "clock": (sample("clock"), ("--reads=300", "--walltime=200", "--puts=20")),
    "preempt": (sample("preempt"), ("--work=30000", "--tsc=1")),
    "abi": (sample("abi"), ("--timer=1",)),
    "fault": (sample("fault"), ("--kind=resume",)),
}
TIMER = DATA + 64
State = tuple[Registers, bytes]


def world() -> World:
    return SimulatedWorld(7, Console(), {1: MemoryDisk(4096)})


def config_of(name: str) -> tuple[Image, GuestConfig]:
    image, arguments = GUESTS[name]
    blocks = disk_config(4096) if name == "abi" else {}
    return image, config_for(image, *arguments, blocks=blocks)


def stopping(
    name: str, positions: Sequence[Position], *, stop: bool, **options: bool
) -> tuple[Recording, dict[Position, State]]:
    """Run and look around at these positions: with a stop, or without one."""
    image, config = config_of(name)
    entries: list[Entry] = []
    found: dict[Position, State] = {}
    with machine_of(image, config, **options) as machine:

        def look() -> None:
            found[machine.position] = machine.registers(), machine.memory.digest()

        for position in positions:
            machine.break_at(position, machine.stop if stop else look, exact=False)
        recorder = Recorder(world(), machine, entries.append)
        while isinstance(end := machine.run(recorder), Stop):
            assert end == Stop(machine.position, Cause.REQUEST)
            look()
    return Recording(entries, end), found


@pytest.mark.parametrize("count_blocks", [False, True], ids=["exits", "blocks"])
@pytest.mark.parametrize("name", GUESTS)
def test_stops_change_nothing(name: str, count_blocks: bool) -> None:
    straight = record(*config_of(name), world(), count_blocks=count_blocks)
    exits = straight.outcome.position.exits
    chosen = random.Random(name)
    positions = {Position(chosen.randrange(exits)) for _ in range(60)}
    if count_blocks:
        positions |= {Position(chosen.randrange(exits), chosen.randrange(400)) for _ in range(60)}
    stopped, seen = stopping(name, sorted(positions), stop=True, count_blocks=count_blocks)
    assert len(seen) > min(40, exits // 2)
    assert stopped == straight
    looked, expected = stopping(name, sorted(positions), stop=False, count_blocks=count_blocks)
    assert seen == expected and looked == straight


class Hesitant:
    """A world that has no answer when it is asked something for the first time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: set[tuple[str, object]] = set()
        self.refusals = 0

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            question = name, arguments[0]
            if name != "timer" and question not in self._asked:
                self._asked.add(question)
                self.refusals += 1
                raise NoAnswer
            return getattr(self._world, name)(*arguments)

        return call


@pytest.mark.parametrize("count_blocks", [False, True], ids=["exits", "blocks"])
@pytest.mark.parametrize("name", GUESTS)
def test_a_world_without_an_answer_is_asked_again_by_the_next_run(
    name: str, count_blocks: bool
) -> None:
    straight = record(*config_of(name), world())
    hesitant = Hesitant(world())
    stops = 0
    with machine_of(*config_of(name), count_blocks=count_blocks) as machine:
        while isinstance(end := machine.run(hesitant), Stop):
            assert end == Stop(machine.position, Cause.NO_ANSWER)
            stops += 1
    assert end == straight.outcome
    assert stops == hesitant.refusals > 0


def test_a_guest_error_that_the_world_does_not_take_yet_is_told_to_the_next() -> None:
    image = make_image(b"\xe4\x80")  # in al, 0x80
    with machine_of(image) as machine:
        stop = machine.run(Hesitant(ScriptedWorld()))
        assert stop == Stop(Position(0), Cause.NO_ANSWER)
        taker = ScriptedWorld()
        with pytest.raises(GuestError, match="IN from port 0x80"):
            machine.run(taker)
        assert taker.outcome is not None and taker.outcome.reason.startswith("IN from port")


STORES = b"\x48\xff\x04\x25" + struct.pack("<I", DATA)  # inc qword ptr [DATA]
CALL = b"\xe8\x00\x00\x00\x00"
RDTSC = b"\x0f\x31"


def counted(machine: Machine) -> int:
    return int.from_bytes(machine.memory.peek(DATA, 8), "little")


def test_the_rest_of_a_block_that_is_left_is_executed_once() -> None:
    """It stores, pushes and reads the clock behind the exit at which the guest stops."""
    rest = STORES + RDTSC + STORES + b"\x50" + CALL
    image = make_image((hypercall(1, DATA + 64) + rest) * 3 + halt())
    world = ScriptedWorld()
    with machine_of(image) as machine:
        for exits, stores in enumerate((0, 0, 1, 2, 3, 4, 5)):
            machine.break_at(Position(exits), machine.stop)
            assert machine.run(world) == Stop(Position(exits), Cause.REQUEST)
            assert counted(machine) == stores
        assert machine.run(world).status == 0
        assert counted(machine) == 6


def test_a_world_may_ask_for_a_stop_within_its_call() -> None:
    class Stopping(ScriptedWorld):
        def cycles(self, at: int) -> int:
            machine.stop()
            return super().cycles(at)

    config = config_for(sample("clock"), "--reads=5", "--walltime=5")
    with machine_of(sample("clock"), config) as machine:
        world = Stopping()
        stops = []
        while isinstance(end := machine.run(world), Stop):
            stops.append(end)
    with machine_of(sample("clock"), config) as other:
        assert end == other.run(ScriptedWorld())
    assert len(stops) >= 5 and {stop.cause for stop in stops} == {Cause.REQUEST}


def test_a_guest_that_waits_for_an_interrupt_stops_there() -> None:
    wait = b"\xfb\xf4" * 3  # sti; hlt
    code = LOAD_TABLES + hypercall(0x40, TIMER) + b"\xeb\x00" + wait + halt()
    pieces = {0: code, 0x100: b"\x48\xcf"}  # iretq
    request = {TIMER: struct.pack("<QIi", 1_000_000, 0x20, -1)}
    image = make_image(pieces, trap_tables({0x20: TEXT + 0x100}) | request)
    with machine_of(image) as machine:
        straight = machine.run(ScriptedWorld())
    assert straight.status == 0
    stops = []
    with machine_of(image) as machine:
        hesitant = Hesitant(ScriptedWorld())
        for exits in (2, 3, 4):
            machine.break_at(Position(exits), machine.stop)
        while isinstance(end := machine.run(hesitant), Stop):
            stops.append((end, machine.registers()["rip"] - TEXT))
    assert end == straight
    hlt = len(code) - len(wait + halt()) + 2
    for number, exits in enumerate((2, 3, 4)):
        for cause in Cause:
            assert (Stop(Position(exits), cause), hlt + 2 * number) in stops


ENDLESS = {
    "loop": "e2fe",
    "a jump": "e9fbffffff",
    "rep lodsb": "f3ac",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_guest_that_executes_one_instruction_without_end_can_be_stopped(name: str) -> None:
    """Wherever its registers point: here to that very instruction."""
    # or rcx, -1; lea rsi, [rip + 16]; lea rdi, [rip + 9]; lea rsp, [rip + 10]; jmp $ + 2
    start = bytes.fromhex("4883c9ff 488d3510000000 488d3d09000000 488d250a000000 eb00")
    image = make_image(start + bytes.fromhex(ENDLESS[name]))
    at = Position(0, 5)

    def pass_by() -> None:
        raise AssertionError(f"it went on to {machine.position}")

    with machine_of(image, count_blocks=True) as machine:
        machine.break_at(at, machine.stop)
        machine.break_at(Position(0, 50), pass_by)
        assert machine.run(ScriptedWorld()) == Stop(at, Cause.REQUEST)
        assert machine.capture().position == at

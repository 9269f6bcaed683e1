"""Code that rewrites itself: positions and states are those of an execution that nobody watches."""

from __future__ import annotations

import random
import struct
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import pytest
from support import HALT, ScriptedWorld, config_for, halt, machine_of, make_image
from user_mode import MAP_FOR_USERS, MAPS, user_guest

from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.state import MachineState
from vlockstep.machine.world import Outcome, Stop

ROUNDS = 20
# mov ecx, ROUNDS; L: mov [rip + 1], cl; mov al, 0; add ebx, eax; dec ecx; jnz L
REWRITING = b"\xb9" + struct.pack("<I", ROUNDS) + bytes.fromhex("880d01000000 b000 01c3 ffc9 75f2")
# lea rdi, [rip + 12]; mov ecx, 12; mov eax, 0x90; rep stosb; and twelve times hlt
OVERWRITING = bytes.fromhex("488d3d0c000000 b90c000000 b890000000 f3aa") + b"\xf4" * 12
# lea rdi, [rip + 12]; lea rsi, [rip + 5]; mov ecx, 2; rep movsb, over itself; nop
ITSELF = bytes.fromhex("488d3d0c000000 488d3505000000 b902000000 f3a4 90")


def rewriting() -> Image:
    code = MAP_FOR_USERS + b"\x31\xc0" + REWRITING + halt()
    return make_image(code, {**MAPS, HALT: struct.pack("<Qi", 0, 0)})


class Watched(ScriptedWorld):
    """Keeps where the guest ends, in blocks. Kicks it now and then without a reason."""

    def __init__(
        self, machine: Machine, interrupts: Sequence[Position] = (), kicks: int | None = None
    ) -> None:
        super().__init__(interrupts)
        self._machine = machine
        self._chosen = None if kicks is None else random.Random(kicks)

    def stop_at(self, position: Position) -> int | None:
        stop = super().stop_at(position)
        if self._chosen is None:
            return stop
        kick = position.blocks + self._chosen.randint(1, 9)
        return kick if stop is None else min(stop, kick)

    def end(self, outcome: Outcome) -> None:
        self.at = self._machine.position


def run(stops: Sequence[Position], native: bool) -> tuple[Outcome, Position, list[Position]]:
    seen: list[Position] = []
    with machine_of(rewriting(), count_blocks=True, native=native) as machine:
        for stop in stops:
            machine.break_at(stop, lambda: seen.append(machine.position), exact=False)
        world = Watched(machine)
        outcome = machine.run(world)
        assert isinstance(outcome, Outcome)
        return outcome, world.at, seen


@pytest.mark.parametrize("native", [True, False])
def test_looking_at_code_that_rewrites_itself_changes_nothing(native: bool) -> None:
    outcome, end, _ = run([], native)
    assert outcome.registers["rbx"] == sum(range(ROUNDS + 1))
    every = [Position(0, n) for n in range(end.blocks)]
    assert run(every, native) == (outcome, end, every)


State = tuple[Registers, bytes]


@dataclass
class Run:
    """What can be known of an execution."""

    outcome: Outcome
    end: Position
    interrupts: list[tuple[object, ...]]
    states: dict[Position, State]


def watch(
    program: bytes,
    interrupts: Sequence[Position],
    looks: Collection[Position] = (),
    kicks: int | None = None,
    native: bool = True,
    stop: bool = False,
) -> Run:
    """Look at some positions, from within or with a `stop` there or a block later."""
    states: dict[Position, State] = {}
    with machine_of(user_guest(program), count_blocks=True, native=native) as machine:

        def look() -> None:
            states[machine.position] = machine.registers(), machine.memory.digest()

        for position in looks:
            machine.break_at(position, machine.stop if stop else look, exact=False)
        world = Watched(machine, interrupts, kicks)
        while isinstance(outcome := machine.run(world), Stop):
            look()
        return Run(outcome, world.at, world.seen, states)


CALL, LEAVE, HLT = b"\xcd\x80", b"\xcd\x81", b"\xf4"
PROGRAMS = {
    "rewriting": REWRITING + CALL + REWRITING + HLT + LEAVE,
    "overwriting": OVERWRITING + CALL + HLT + OVERWRITING + REWRITING + LEAVE,
    "itself": (ITSELF + CALL) * 3 + LEAVE,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("program", PROGRAMS)
def test_stops_anywhere_change_nothing(program: str, seed: int) -> None:
    """Looks, stops, kicks without a reason, and the portable counter: interrupts land on the same
    instructions, and all states are equal."""
    chosen = random.Random(seed)
    code = PROGRAMS[program]
    last = watch(code, []).end.blocks

    def some() -> list[Position]:
        return [Position(1, n) for n in sorted(chosen.sample(range(last), 10))]

    interrupts = some()
    alone = watch(code, interrupts)
    everywhere = [Position(1, n) for n in range(alone.end.blocks)]
    states = watch(code, interrupts, everywhere).states
    assert len(alone.interrupts) > 1 and list(states) == everywhere
    for native in (True, False):
        for stop in (True, False):
            looks, kicks = some(), chosen.randint(0, 99)
            other = watch(code, interrupts, looks, kicks, native, stop)
            assert replace(other, states={}) == alone
            assert other.states.items() <= states.items()
            assert stop or list(other.states) == looks


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_machine_restored_anywhere_goes_on_alike(program: str) -> None:
    """Wherever a guest can be stopped, its state is all of it."""
    image = user_guest(PROGRAMS[program])
    interrupts = [Position(1, n) for n in range(2, 90, 7)]
    alone = watch(PROGRAMS[program], interrupts)
    taken: list[MachineState] = []
    with machine_of(image, count_blocks=True) as machine:
        for blocks in range(0, alone.end.blocks, 3):
            machine.break_at(Position(1, blocks), machine.stop, exact=False)
        world = Watched(machine, interrupts)
        while isinstance(outcome := machine.run(world), Stop):
            taken.append(machine.capture())
    assert (outcome, world.at) == (alone.outcome, alone.end) and len(taken) > 5
    for state in taken:
        with closing(
            Machine.restore(image, config_for(image), state, count_blocks=True)
        ) as restored:
            waiting = [p for p in interrupts if p >= state.position]
            world = Watched(restored, waiting)
            assert (restored.run(world), world.at) == (alone.outcome, alone.end)

"""Code that rewrites itself: positions and states are those of an execution that nobody watches."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import pytest
from support import (
    DATA,
    HALT,
    ScriptedWorld,
    config_for,
    halt,
    hypercall,
    machine_of,
    make_image,
)
from user_mode import MAP_FOR_USERS, MAPS, user_guest

from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.state import MachineState
from vlockstep.machine.world import Outcome, Stop
from vlockstep.testing.usage import Usage

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


def test_code_written_without_end_takes_little_memory_and_is_counted_as_ever() -> None:
    """More of it is translated than is kept, and forgotten wherever it happens to be full."""
    rounds = 6_000
    body = REWRITING + bytes.fromhex("ffcd")  # dec ebp
    program = b"\xbd" + struct.pack("<I", rounds) + body  # mov ebp, rounds
    program += b"\x0f\x85" + struct.pack("<i", -len(body) - 6)  # jnz
    code = MAP_FOR_USERS + b"\x31\xc0" + program + halt()
    image = make_image(code, {**MAPS, HALT: struct.pack("<Qi", 0, 0)})
    with machine_of(image, count_blocks=True) as machine:
        world = Watched(machine)
        before = Usage.of(os.getpid()).overhead
        outcome = machine.run(world)
        assert isinstance(outcome, Outcome)
        grown = Usage.of(os.getpid()).overhead - before
    assert outcome.registers["rbx"] == sum(range(ROUNDS + 1)) * rounds
    assert world.at == Position(0, 61 * rounds + 2)
    assert grown < 64e6


HEAP = DATA + 0x20000
FIRST, SECOND, TIME, TIMER = (DATA + 0x100 * n for n in (1, 2, 3, 4))


def call_at_heap(code: int, size: int) -> bytes:
    """Copy code to the heap, and call it."""
    copy = b"\xbe" + struct.pack("<I", code) + b"\xbf" + struct.pack("<I", HEAP)  # mov esi; mov edi
    copy += b"\xb9" + struct.pack("<I", size) + b"\xf3\xa4"  # mov ecx; rep movsb
    return copy + b"\xb8" + struct.pack("<I", HEAP) + b"\xff\xd0"  # mov eax; call rax


def test_what_was_executed_before_does_not_cut_blocks() -> None:
    """An instruction that is executed in Unicorn's stead, and is overwritten by others: a machine
    that has executed it, and one that has not, count blocks alike from the same place on."""
    # inc ebx; fsin; jmp; ret. inc ebx; inc ebp; jmp; ret
    first = hypercall(1, TIME) + bytes.fromhex("ffc3 d9fe eb00 c3")
    second = hypercall(0x40, TIMER) + bytes.fromhex("ffc3 ffc5 eb00 c3")
    # mov ecx, 20; dec ecx; jnz
    loop = bytes.fromhex("b914000000 ffc9 75fc")
    code = call_at_heap(FIRST, len(first)) + hypercall(1, TIME) + b"\xeb\x00"
    code += call_at_heap(SECOND, len(second)) + loop + halt()
    data = {FIRST: first, SECOND: second, TIMER: struct.pack("<QII", 1_000_000, 0x20, 0)}
    image = make_image(code, {**data, HALT: struct.pack("<Qi", 0, 0)}, stack=7)
    config = config_for(image)
    with machine_of(image, config) as machine:
        machine.break_at(Position(2, 0), machine.stop)
        assert isinstance(machine.run(ScriptedWorld()), Stop)
        state = machine.capture()
        here = machine.run(ScriptedWorld())
        assert isinstance(here, Outcome)
    with closing(Machine.restore(image, config, state)) as other:
        there = other.run(ScriptedWorld())
        assert isinstance(there, Outcome)
    assert (there.position, there.registers) == (here.position, here.registers)
    assert here.position.exits == 3 and here.position.blocks > 20

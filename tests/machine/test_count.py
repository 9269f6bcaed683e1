"""Blocks that are counted though a guest has no timer: it can be visited between exits."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from contextlib import closing

import pytest
from support import DATA, TEXT, computing_image, config_for, halt, hypercall, make_image

from vlockstep.host.devices import ConsoleStream
from vlockstep.host.live import LiveWorld
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.state import MachineState, Where
from vlockstep.machine.world import Outcome

_WALLTIME = DATA + 0x100
_ROUNDS = b"\xb9" + bytes(4)  # mov ecx, how many


class World(LiveWorld):
    """In which each reading of the clock shows as much."""

    def __init__(self, read: Callable[[int], None] = lambda at: None) -> None:
        super().__init__(ConsoleStream())
        self._read = read

    def walltime(self, at: int) -> int:
        self._read(at)
        return 1000 + at


def run(
    image: Image,
    read: Callable[[Machine, int], None] = lambda machine, at: None,
    loop: int = 0,
    amid: Callable[[Machine], None] = lambda machine: None,
) -> Outcome:
    """`amid` is called at the thousandth round of the first loop, at this offset of the code."""
    rounds = itertools.count(1)
    with closing(Machine(image, config_for(image), engine="unicorn")) as made:
        if loop:
            in_time = lambda _: next(rounds) == 1000 and amid(made)  # noqa: E731
            made.engine.watch_block(TEXT + loop, in_time)
        end = made.run(World(lambda at: read(made, at)))
        assert isinstance(end, Outcome)
        return end


@pytest.mark.parametrize(
    "between",
    [b"", b"\xeb\x00", hypercall(1, _WALLTIME), b"\x0f\xa2"],
    ids=["at once", "a jump", "an exit in the block", "cpuid"],
)
def test_a_guest_is_visited_where_it_computes(between: bytes) -> None:
    """At an exact position: whoever goes there finds the state that the visitor saw."""
    image, seen = computing_image(between, rounds=5000), list[tuple[MachineState, Registers]]()

    def read(machine: Machine, at: int) -> None:
        if at == 1:
            machine.count(True)
        elif at == 3 + bool(between.startswith(b"\xba")):
            machine.count(False)

    def amid(machine: Machine) -> None:
        machine.visit(lambda: seen.append((machine.capture(), machine.registers())))

    loop = 2 * len(hypercall(1, _WALLTIME)) + len(between) + len(_ROUNDS)
    end = run(image, read, loop, amid)
    ((state, registers),) = seen
    assert state.where is Where.BOUNDARY and not state.timed and state.position.blocks >= 999
    assert end == run(image), "it is the same in the end"

    config = config_for(image)
    with closing(Machine(image, config, count_blocks=True, engine="unicorn")) as there:
        there.break_at(state.position, there.stop)
        there.run(World())
        assert there.position == state.position and there.registers() == registers
        assert there.capture().memory == state.memory
    with closing(Machine.restore(image, config, state)) as again:
        assert again.run(World()) == end


def test_who_wants_it_in_the_midst_has_no_wrong_count() -> None:
    """It stops for other reasons than exits, too, and counts from the next one on alone."""
    faulting = b"\x0f\xae\xe8" + b"\xd9\xfe"  # lfence; fsin, which is done at a stop
    loop = faulting + b"\xff\xc9\x75" + struct.pack("b", -len(faulting) - 4)
    read, rounds = hypercall(1, _WALLTIME), b"\xb9" + struct.pack("<I", 5000)
    image, seen = make_image(2 * (read + rounds + loop) + read + halt(), {}), list[Position]()

    def amid(machine: Machine) -> None:
        machine.count(True)
        machine.visit(lambda: seen.append(machine.position))

    run(image, loop=len(read) + len(rounds), amid=amid)
    assert seen == [Position(2, 0)], "behind the next exit, where counting begins"

"""Somebody looks at a running guest from another thread, where its state can be taken."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable

from support import (
    DATA,
    MIB,
    Console,
    ScriptedWorld,
    config_for,
    halt,
    hypercall,
    machine_of,
    make_image,
    sample,
)

from vlockstep.host.live import LiveWorld
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import BOOT, Position
from vlockstep.machine.state import MachineState, Where
from vlockstep.machine.world import Cause, NoAnswer, Stop


def test_a_visitor_comes_behind_the_next_exit() -> None:
    image = sample("clock")
    seen: list[MachineState] = []
    with machine_of(image, config_for(image, "--reads=10")) as machine:
        world = Visited(machine, 4, lambda: seen.append(machine.capture()))
        machine.run(world)
    assert [(state.position, state.where) for state in seen] == [(Position(5), Where.BEHIND)]


def test_a_guest_that_counts_blocks_is_visited_between_them() -> None:
    image = sample("preempt")
    seen: list[MachineState] = []
    config = config_for(image, "--work=4000", "--tsc=1", memory=16 * MIB)
    with machine_of(image, config) as machine:
        world = SimulatedWorld(3, Console())
        visited = Visited(machine, 8, lambda: seen.append(machine.capture()), world)
        outcome = machine.run(visited)
    with machine_of(image, config) as machine:
        unseen = machine.run(SimulatedWorld(3, Console()))
    assert unseen == outcome, "the guest sees nothing of the visitor"
    (state,) = seen
    assert state.where is Where.BOUNDARY and state.position > Position(8)


def test_a_visitor_who_comes_first_finds_the_guest_at_boot() -> None:
    image = sample("hello")
    seen: list[MachineState] = []
    with machine_of(image) as machine:
        machine.visit(lambda: seen.append(machine.capture()))
        machine.run(ScriptedWorld())
    assert [(state.position, state.where) for state in seen] == [(BOOT, Where.BOUNDARY)]


def test_whoever_else_comes_has_a_turn_and_nobody_is_called_twice() -> None:
    seen: list[tuple[str, Position]] = []
    with machine_of(sample("hello")) as machine:

        def look() -> None:
            seen.append(("again", machine.position))
            if len(seen) == 1:
                machine.visit(look)  # which is not asked before the others, nor at this place

        machine.visit(look)
        machine.visit(look)
        for n in range(3):
            machine.visit(lambda n=n: seen.append((str(n), machine.position)))  # type: ignore[misc]
        machine.visit(machine.stop)
        machine.call_off(machine.stop)
        machine.run(ScriptedWorld())
    here = [("again", BOOT), *((str(n), BOOT) for n in range(3))]
    assert seen == [*here, ("again", Position(1))]


def test_a_guest_that_waits_is_visited_in_its_exit() -> None:
    """It polls for an hour, and would again."""
    request = DATA + 0x100
    image = make_image(
        hypercall(3, request) + halt(), {request: struct.pack("<QQi", 3_600_000_000_000, 0, 0)}
    )
    seen: list[MachineState] = []
    with machine_of(image) as machine:
        polling = threading.Event()

        def pause() -> None:
            polling.set()
            machine.let_in()
            if seen:
                machine.stop()
                raise NoAnswer

        world = LiveWorld(Console(), pause=pause)

        def visit() -> None:
            polling.wait()
            machine.visit(lambda: seen.append(machine.capture()))
            world.wake()

        visitor = threading.Thread(target=visit)
        visitor.start()
        assert machine.run(world) == Stop(BOOT, Cause.REQUEST)
        visitor.join()
    assert [(state.position, state.where) for state in seen] == [(BOOT, Where.EXIT)]


class Visited:
    """A world that is `world`, and has the machine visited from another thread in exit `at`."""

    def __init__(
        self, machine: Machine, at: int, action: Callable[[], None], world: object = None
    ) -> None:
        self._world = world or ScriptedWorld()
        self._at = at

        def visit() -> None:
            thread = threading.Thread(target=machine.visit, args=(action,))
            thread.start()
            thread.join()

        self._visit = visit

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            if arguments[0] == self._at and name != "stop_at":
                self._at = -1
                self._visit()
            return getattr(self._world, name)(*arguments)

        return call

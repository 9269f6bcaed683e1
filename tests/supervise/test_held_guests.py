"""Holding a guest that runs: where it comes, and where it does not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from support import Console, config_for, halt, make_image, sample

from vlockstep.errors import HostError, StateError
from vlockstep.host.live import LiveWorld
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.world import Outcome
from vlockstep.supervise.visits import Visit

RDTSC = b"\x0f\x31"


@pytest.fixture
def machine() -> Iterator[Machine]:
    image = sample("clock")
    with closing(Machine(image, config_for(image, "--reads=100"))) as made:
        yield made


def nothing() -> None:
    pass


def run(machine: Machine) -> Outcome | None:
    machine.run(LiveWorld(Console(), pause=machine.let_in))
    return machine.outcome


def test_it_goes_on_when_it_was_seen(machine: Machine) -> None:
    visit = Visit(machine, nothing, lambda: machine.position, stay=False)
    assert run(machine) and visit.result() == Position(0) and visit.pause > 0


def test_one_that_stays_is_held(machine: Machine) -> None:
    visit = Visit(machine, nothing, machine.capture, stay=True)
    thread = threading.Thread(target=run, args=(machine,))
    thread.start()
    state = visit.result()
    assert machine.position == state.position and thread.is_alive() and machine.outcome is None
    visit.go_on()
    thread.join()
    assert machine.outcome is not None


def test_where_its_state_cannot_be_taken_it_is_tried_at_the_next_place() -> None:
    """It uses the breakpoints of its CPU up to its third exit."""
    on, off = (bytes.fromhex(f"b8{value:02x}000000 0f23f8") for value in (3, 0))
    image = make_image(on + RDTSC * 3 + off + RDTSC + halt())
    with closing(Machine(image, config_for(image))) as machine:
        first: list[Visit[Position]] = []

        def look() -> Position:
            return machine.capture().position

        def come() -> None:
            first.append(Visit(machine, nothing, look, stay=False))

        machine.break_at(Position(1), come)
        run(machine)
        assert first[0].result() == Position(4)


def test_a_guest_that_does_not_come(machine: Machine) -> None:
    """And is not looked at any more when it does."""
    seen: list[Position] = []
    visit = Visit(machine, nothing, lambda: seen.append(machine.position), stay=True)
    with pytest.raises(HostError, match=r"within 0\.01 s .* computes without asking"):
        visit.result(0.01)
    assert run(machine) and not seen


def test_why_there_was_no_place(machine: Machine) -> None:
    def refuse() -> None:
        raise StateError("not here")

    visit = Visit(machine, nothing, refuse, stay=True)
    assert run(machine), "it was never held"
    with pytest.raises(HostError, match="there was no place for it: not here"):
        visit.result(0.01)


def test_what_goes_wrong_is_no_matter_of_the_guest(machine: Machine) -> None:
    visit = Visit(machine, nothing, lambda: 1 // 0, stay=False)
    assert run(machine)
    with pytest.raises(ZeroDivisionError):
        visit.result()

"""Holding a guest that runs: where it comes, and where it does not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from support import MIB, Console, config_for, halt, make_image, sample

from vlockstep.errors import HostError, StateError
from vlockstep.host.live import LiveWorld
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.ramcopy import RamCopy
from vlockstep.supervise.visits import Visit

RDTSC = b"\x0f\x31"


@pytest.fixture
def machine() -> Iterator[Machine]:
    image = sample("clock")
    with closing(Machine(image, config_for(image, "--reads=100"))) as made:
        yield made


def nothing() -> None:
    pass


@contextmanager
def running(machine: Machine) -> Iterator[threading.Thread]:
    """In a thread of its own, to its end."""
    world = LiveWorld(Console(), pause=machine.let_in)
    thread = threading.Thread(target=machine.run, args=(world,))
    thread.start()
    yield thread
    thread.join()
    assert machine.outcome is not None and machine.outcome.status == 0


def test_a_guest_is_held_where_it_is_looked_at(machine: Machine) -> None:
    visit = Visit(machine, nothing, machine.capture)
    with running(machine) as thread:
        with visit:
            state = visit.result()
            assert machine.position == state.position and thread.is_alive()
            assert machine.outcome is None and visit.pause == 0
        assert visit.pause > 0


def test_where_its_state_cannot_be_taken_it_is_tried_at_the_next_place() -> None:
    """It uses the breakpoints of its CPU up to its third exit."""
    on, off = (bytes.fromhex(f"b8{value:02x}000000 0f23f8") for value in (3, 0))
    image = make_image(on + RDTSC * 3 + off + RDTSC + halt())
    with closing(Machine(image, config_for(image))) as machine:
        visits: list[Visit[Position]] = []
        coming = threading.Event()

        def come() -> None:
            visits.append(Visit(machine, nothing, lambda: machine.capture().position))
            coming.set()

        machine.break_at(Position(1), come)
        with running(machine):
            coming.wait()
            with visits[0] as visit:
                assert visit.result() == Position(4)


def test_a_guest_that_does_not_come(machine: Machine) -> None:
    """And is not looked at any more when it does."""
    seen: list[Position] = []
    with Visit(machine, nothing, lambda: seen.append(machine.position)) as visit:
        with pytest.raises(HostError, match=r"within 0\.01 s .* computes without asking"):
            visit.result(0.01)
        with running(machine):
            pass
    assert not seen


def test_why_there_was_no_place(machine: Machine) -> None:
    def refuse() -> None:
        raise StateError("not here")

    with Visit(machine, nothing, refuse) as visit:
        with running(machine):
            pass
        with pytest.raises(HostError, match="there was no place for it: not here"):
            visit.result(0.01)


def test_who_gives_up_does_not_wait(machine: Machine) -> None:
    """Nor is the guest looked at when it comes; once it has come it is too late for that."""
    seen: list[Position] = []
    with Visit(machine, nothing, lambda: seen.append(machine.position)) as visit:
        visit.give_up(HostError("it has gone"))
        with pytest.raises(HostError, match="it has gone"):
            visit.result()
        with running(machine):
            pass
    assert not seen


def test_who_has_come_is_not_given_up(machine: Machine) -> None:
    visit = Visit(machine, nothing, lambda: machine.position)
    with running(machine), visit:
        position = visit.result()
        visit.give_up(HostError("it has gone"))
        assert visit.result() == position


def test_what_goes_wrong_is_no_matter_of_the_guest(machine: Machine) -> None:
    visit = Visit(machine, nothing, lambda: 1 // 0)
    with running(machine), visit, pytest.raises(ZeroDivisionError):
        visit.result()


def test_a_copy_of_ram_that_is_written_meanwhile() -> None:
    """By a guest that fills it with what it computes."""
    image = sample("preempt")
    config = config_for(image, "--work=4000000", memory=16 * MIB)
    with (
        closing(Machine(image, config)) as machine,
        running(machine),
        closing(RamCopy(machine)) as copy,
    ):
        copy.approach()
        with Visit(machine, nothing, machine.memory.digest) as visit:
            digest = visit.result()
            copy.complete()
        assert copy.memory.digest() == digest

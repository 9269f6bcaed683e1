"""Executions that are left at some place and go on in another process.

`leave` follows a log and takes the guest's state at many places; `go_on` restores one of them, in
whatever process it is called, and follows what is left of the log. What either sees is compared.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice

from fuzz.bounded import bound

from vlockstep.errors import StateError
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import NAMES, Registers
from vlockstep.machine.report import GuestError
from vlockstep.machine.state import MachineState
from vlockstep.machine.world import Outcome, Stop, World
from vlockstep.replay.entry import Checkpoint, End, Entry, Kind
from vlockstep.replay.recorder import Cadence, Recorder
from vlockstep.replay.replayer import Divergence, Replayer
from vlockstep.replay.replayer import Sequence as LogSequence

State = tuple[Registers, bytes]
ALL = Registers(dict.fromkeys(NAMES, 0))


@dataclass(frozen=True)
class Guest:
    """What is followed: `entries` are its log. It counts blocks for who looks between exits. One
    that is `endless` is given up at some place."""

    image: Image
    config: GuestConfig
    entries: Sequence[Entry]
    count_blocks: bool = True
    endless: bool = False
    engine: str = "auto"


@dataclass(frozen=True)
class Left:
    """A place: the machine's state there, and where Recorder and Replayer stand."""

    position: Position
    state: bytes
    sequence: int
    clock: tuple[int, int]
    cadence: Cadence


@dataclass
class Course:
    """What was seen: the guest's state at positions, the entries that it made, and how it ended."""

    seen: dict[Position, State] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    end: Outcome | Stop | str = ""


def leave(
    guest: Guest, within: Iterable[int], at: Iterable[Position], looks: Iterable[Position]
) -> tuple[Course, list[Left], list[str]]:
    """Take its state in the exits `within` and at positions; also what was said where it was
    refused."""
    left: list[Left] = []
    refused: list[str] = []
    with closing(_machine(guest)) as machine:
        course = Course()
        replayer = Replayer(LogSequence(iter(guest.entries)), machine)
        recorder = Recorder(replayer, machine, course.entries.append)

        def take() -> None:
            try:
                state = machine.capture().pack()
            except StateError as error:
                refused.append(str(error))
                return
            place = machine.position
            left.append(Left(place, state, replayer.sequence, replayer.clock, recorder.cadence))

        if guest.endless:
            bound(machine)
        for position in at:
            machine.break_at(position, take, exact=False)
        _run(machine, _Watching(recorder, frozenset(within), take), course, looks)
    return course, left, refused


def _machine(guest: Guest) -> Machine:
    options = {"count_blocks": guest.count_blocks, "engine": guest.engine}
    return Machine(guest.image, guest.config, **options)  # type: ignore[arg-type]


def restored(guest: Guest, state: MachineState) -> Machine:
    options = {"count_blocks": guest.count_blocks, "engine": guest.engine}
    return Machine.restore(guest.image, guest.config, state, **options)  # type: ignore[arg-type]


def filled(guest: Guest, state: MachineState) -> Machine:
    """As `restored`, but its RAM is written piece by piece."""
    machine = _machine(guest)
    machine.memory.clear()
    for address, content in reversed(state.memory):
        for offset in range(0, len(content), mmap.PAGESIZE):
            machine.memory.write(address + offset, content[offset : offset + mmap.PAGESIZE])
    machine.load(replace(state, memory=()))
    return machine


def go_on(
    guest: Guest,
    left: Left,
    looks: Iterable[Position],
    make: Callable[[Guest, MachineState], Machine] = restored,
) -> Course:
    """Go on from where it was left.

    A look at the very position where it was left may be still to come: an exit lies in the block
    behind which the boundary of that position would be, so the look is due behind the exit.
    """
    course = Course()
    machine = make(guest, MachineState.unpack(left.state))
    try:
        if guest.endless:
            bound(machine)
        rest = islice(guest.entries, left.sequence, None)
        replayer = Replayer(LogSequence(rest), machine, sequence=left.sequence, clock=left.clock)
        recorder = Recorder(replayer, machine, course.entries.append, cadence=left.cadence)
        _run(machine, recorder, course, (p for p in looks if p >= left.position))
    finally:
        machine.close()
    return course


def go_on_all(guest: Guest, places: Sequence[Left], looks: Sequence[Position]) -> list[Course]:
    return [go_on(guest, left, looks) for left in places]


def rest_of(course: Course, left: Left) -> Course:
    """What of a whole course should be seen from a place on."""
    seen = {p: state for p, state in course.seen.items() if p > left.position}
    return Course(seen, course.entries[left.sequence :], course.end)


def difference(expected: Course, found: Course, across: bool = False) -> str:
    """What is not equal; nothing if all is. `across` engines less is compared."""
    for position, (registers, memory) in sorted(expected.seen.items()):
        if position not in found.seen:
            return f"it does not come to {position}"
        other, other_memory = found.seen[position]
        if registers != other:
            return f"registers at {position}: {registers.difference(other)}"
        if memory != other_memory:
            return f"memory at {position}"
    if decoded(found.entries, across) != decoded(expected.entries, across):
        return "its entries"
    return "" if found.end == expected.end else f"its end: {found.end} != {expected.end}"


def decoded(entries: Iterable[Entry], across: bool) -> list[object]:
    """With checkpoints and the end as they are compared."""
    told: list[object] = []
    for kind, *entry, checkpoint in entries:
        found = Checkpoint.unpack(checkpoint, ALL) if checkpoint else None
        if found and across:
            found = replace(found, registers=Registers(found.registers, kin=""))
        if kind == Kind.END and across:
            assert isinstance(entry[-1], bytes)
            end = End.unpack(entry[-1])
            entry[-1] = replace(end, registers=end.registers[:16]).pack()
        told.append((kind, entry, found))
    return told


def _run(machine: Machine, world: World, course: Course, looks: Iterable[Position]) -> None:
    def look() -> None:
        course.seen[machine.position] = machine.registers(), machine.memory.digest()

    for position in looks:
        machine.break_at(position, look, exact=False)
    try:
        course.end = machine.run(world)
    except GuestError as error:
        course.end = error.outcome
    except Divergence as error:
        course.end = error.report()


class _Watching:
    """A world that calls `take` in the exits `within`, before they are served."""

    def __init__(self, world: World, within: frozenset[int], take: Callable[[], None]) -> None:
        self._world = world
        self._within = within
        self._take = take
        self._taken: set[object] = set()

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            at = arguments[0]
            asked = at.exits if isinstance(at, Position) else at
            if asked in self._within and asked not in self._taken and name != "stop_at":
                self._taken.add(asked)
                self._take()
            return getattr(self._world, name)(*arguments)

        return call

"""Keyframes: made while a guest is recorded, begun from, and compared with where a replay passes.

A keyframe stands before an entry, and is the guest's state in the exit that makes the entry, or at
the boundary at which the interrupt comes. Of RAM it has the pages that were written since the
keyframe before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from vlockstep.errors import LogError, StateError
from vlockstep.machine.interface import GuestMachine, GuestMemory
from vlockstep.machine.machine import Machine
from vlockstep.machine.memory import Memory
from vlockstep.machine.position import Position
from vlockstep.machine.registers import agree
from vlockstep.machine.report import disassemble
from vlockstep.machine.state import MachineState, Where
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.pieces import PIECE, Unpacker, pack
from vlockstep.replay.recorder import Cadence, Recorder
from vlockstep.replay.replayer import Divergence
from vlockstep.replay.script import Goal, Script

_ENOUGH = 3
_FEW = 1 << 20
"""Bytes of keyframes that are read in no time."""
_INTERRUPT, _END = int(Kind.INTERRUPT), int(Kind.END)


class Clocked(Protocol):
    """The World that a Recorder passes on to."""

    console_offset: int

    def clock(self) -> tuple[int, int]: ...


class KeyframeMaker:
    """Makes keyframes of a guest that `recorder` records, in the guest's thread."""

    def __init__(self, machine: Machine, world: Clocked, recorder: Recorder) -> None:
        self.machine = machine
        self._world = world
        self._recorder = recorder
        self._pages = machine.track()
        self._wholes = Wholes()

    def before(self, entry: Entry, sequence: int) -> Keyframe | None:
        """That before an entry that is being made, with this sequence number; None where there can
        be none."""
        world = self._world
        left, *others = self._recorder.cadence  # behind the entry
        cadence = Cadence(left + 1, *others)
        found = state_before(
            entry, self.machine, sequence, cadence, world.clock(), world.console_offset
        )
        return self._with_memory(found)

    def here(self, sequence: int) -> Keyframe | None:
        """By who visits the machine: as `state_here`."""
        world = self._world
        found = state_here(self.machine, sequence, world.clock(), world.console_offset)
        if found is not None:
            found = replace(found, cadence=self._recorder.cadence)
        return self._with_memory(found)

    def _with_memory(self, found: Keyframe | None) -> Keyframe | None:
        if found is None:
            return None
        ranges = self._pages.scan()
        if self._wholes.due:
            ram = self.machine.memory
            memory = memory_of(ram.extents(), lambda start, end: ram.peek(start, end - start))
        else:
            memory = memory_of(ranges, self._pages.read)
        return self._wholes.note(replace(found, memory=memory))


class Counting:
    """Has the blocks of a guest counted that comes to no place for a keyframe in time, so that it
    can be visited where it computes, from its next exit on; and no more when it comes to places at
    entries again. It costs a tenth of the speed."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine = machine
        self._entries = 0

    def missed(self) -> None:
        self._entries = 0
        self._machine.count(True)

    def found(self, at_entry: bool) -> None:
        self._entries = self._entries + 1 if at_entry else 0
        if self._entries == _ENOUGH:
            self._machine.count(False)

    def stop(self) -> None:
        self._machine.count(False)


class Wholes:
    """Which keyframes are to be whole: the first one, and one after others that take twice as many
    bytes. So a log grows by half at most, and who begins at a keyframe has not to read more than
    three times what a whole one takes."""

    def __init__(self) -> None:
        self._whole = self._others = 0
        """Bytes of the last one that is whole, and of those behind it."""

    @property
    def due(self) -> bool:
        return not self._whole or self._others >= max(2 * self._whole, _FEW)

    def note(self, keyframe: Keyframe) -> Keyframe:
        """What has been made, as it is to be kept: whole, if that was `due`."""
        if not self.due:
            self._others += keyframe.size
            return keyframe
        self._whole, self._others = keyframe.size, 0
        return replace(keyframe, whole=True)


def state_before(
    entry: Entry,
    machine: GuestMachine,
    sequence: int,
    cadence: Cadence,
    clock: tuple[int, int],
    console: int,
) -> Keyframe | None:
    """A keyframe without RAM before an entry that the guest makes, or is fed; None where there can
    be none. A guest with a timer has exact states between blocks."""
    kind, *_, checkpoint = entry
    if kind == _END or checkpoint or (machine.timed and kind != _INTERRUPT):
        return None
    try:
        state = machine.save()
    except StateError:
        return None
    return Keyframe(
        sequence,
        machine.position,
        state,
        clock,
        console,
        cadence,
        machine.registers().digest(),
    )


def state_here(
    machine: GuestMachine, sequence: int, clock: tuple[int, int], console: int
) -> Keyframe | None:
    """A keyframe without RAM where a guest is that is visited, and makes or takes entry `sequence`
    next; None where there can be none. Who passes it is elsewhere when it comes to that entry, and
    does not compare it."""
    try:
        packed = machine.save()
    except StateError:
        return None
    state = MachineState.unpack(packed)
    if state.where is Where.BEHIND:
        return None
    return Keyframe(sequence, state.position, packed, clock, console, Cadence())


def memory_of(
    ranges: Iterable[tuple[int, int]], read: Callable[[int, int], bytes]
) -> tuple[bytes, ...]:
    """What RAM holds there, `(start, end)`, for a keyframe."""
    pieces = (
        (at, read(at, min(at + PIECE, end)))
        for start, end in ranges
        for at in range(start, end, PIECE)
    )
    return tuple(pack(pieces))


def begin_near(path: Path, machine: Machine, goal: Goal) -> tuple[Keyframe, int] | None:
    """Let a machine that has not run begin at the last keyframe in the log that lies before `goal`;
    and where in the file its entries begin. None if there is none that can be restored here."""
    chosen: tuple[Keyframe, int] | None = None
    places: list[int] = []
    with closing(LogReader(path)) as log:
        with suppress(LogError, StateError):  # met again, if at all
            for place, keyframe in log.keyframes():
                if not _lies_before(keyframe, goal):
                    break
                if keyframe.whole:
                    places.clear()
                places.append(place)
                chosen = keyframe, log.offset
        if chosen is None:
            return None
        machine.memory.clear()
        fill_from(log, places, machine.memory)
    machine.load(MachineState.unpack(chosen[0].machine))
    return chosen


def fill_from(log: LogReader, places: Iterable[int], memory: Memory) -> Keyframe:
    """Make `memory`, which is all zeros, what it was at the last one of the keyframes at these
    places, of which the first is whole; and return that."""
    found = None
    for place in places:
        found = log.keyframe_at(place)
        with suppress(StateError):  # another Unicorn's
            apply(found, memory)
    assert found is not None
    return found


def _lies_before(keyframe: Keyframe, goal: Goal) -> bool:
    """A position alone does not tell where between two exits the guest is, unless it counts."""
    counted = MachineState.unpack(keyframe.machine).timed or keyframe.position.blocks
    if isinstance(goal, Position):
        return keyframe.position.exits < goal.exits or bool(counted and keyframe.position < goal)
    return goal is not None and keyframe.sequence <= goal


def apply(keyframe: Keyframe, memory: Memory) -> None:
    """Make `memory`, which is as it was at the keyframe before, what it was at this one. Raises
    `StateError` if no state can be restored here from it, say since it is another Unicorn's."""
    if keyframe.whole:
        memory.clear()
    fill(keyframe, memory)
    whole = MachineState.unpack(keyframe.machine).memory
    if whole:
        address, content = whole[-1]
        if address + len(content) > memory.size:
            raise LogError(f"malformed keyframe before entry {keyframe.sequence} (too much RAM)")
        memory.replace(whole)


def fill(keyframe: Keyframe, memory: GuestMemory) -> None:
    """Write what was written since the keyframe before."""
    unpacker = Unpacker(memory.size)
    try:
        for group in keyframe.memory:
            for address, content in unpacker.unpack(group):
                memory.write(address, content)
    except ValueError as error:
        raise LogError(f"malformed keyframe before entry {keyframe.sequence} ({error})") from error


class Passing:
    """A `Source` that is `script`, and compares the guest with each keyframe that it passes, which
    `meet` is told of when it is read; none from the first on that cannot be restored here."""

    def __init__(self, machine: Machine) -> None:
        self.script: Script
        self.passed = 0
        """Keyframes that were compared."""
        self._machine = machine
        self._memory: Memory | None = None
        self._comparing = True
        self._next: Keyframe | None = None

    def meet(self, keyframe: Keyframe) -> None:
        if self._memory is None:
            self._memory = Memory(self._machine.memory.size)
        if self._comparing:
            try:
                apply(keyframe, self._memory)
            except StateError:
                self._comparing = False
                return
            self._next = keyframe

    def peek(self) -> Entry:
        return self.script.peek()

    def take(self) -> Entry:
        entry = self.script.take()
        keyframe = self._next
        if keyframe is not None and keyframe.sequence == self.script.taken - 1:
            self._next = None
            self._compare(keyframe)
            self.passed += 1
        return entry

    def _compare(self, keyframe: Keyframe) -> None:
        if not keyframe.registers:  # made where the guest does not stand now
            return
        different = ", ".join(self._differences(keyframe))
        if different:
            machine = self._machine
            registers = machine.registers()
            raise Divergence(
                f"the guest is not in the state of the keyframe here: other {different}",
                keyframe.sequence,
                machine.position,
                registers,
                None,
                disassemble(registers["rip"], machine.read_virtual, machine.image.symbol),
                "see a replay up to the keyframe before it",
            )

    def _differences(self, keyframe: Keyframe) -> Iterator[str]:
        machine = self._machine
        logged = MachineState.unpack(keyframe.machine)
        try:
            state = machine.capture(memory=False)
        except StateError as error:
            yield f"state, which cannot be taken ({error})"
            return
        for name in ("guest", "where", "timed", "timer", "handler", "unreached"):
            if getattr(state, name) != getattr(logged, name):
                yield name
        if keyframe.position != state.position and (
            logged.timed or keyframe.position.exits != state.position.exits
        ):
            yield f"position ({keyframe.position})"
        if not agree(machine.registers().digest(), keyframe.registers):
            yield "registers"
        assert self._memory is not None
        address = _first_difference(machine.memory, self._memory)
        if address is not None:
            yield f"memory from {address:#x} on"


def _first_difference(ours: Memory, logged: Memory) -> int | None:
    """The address of a chunk; None if they are equal."""
    places = {
        at
        for memory in (ours, logged)
        for start, end in memory.extents()
        for at in range(start - start % PIECE, end, PIECE)
    }
    for at in sorted(places):
        size = min(PIECE, ours.size - at)
        if ours.peek(at, size) != logged.peek(at, size):
            return at
    return None

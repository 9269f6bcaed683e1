"""Small guests' recordings, and a straight replay of one, instruction by instruction."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from support import Console, ScriptedWorld, config_for, machine_of, record_with_keyframes, sample

from vlockstep.debug.mark import Mark
from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.basis import basis
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.engines import UNICORN
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.report import GuestError
from vlockstep.machine.unicornengine import READS, WRITES, UnicornEngine
from vlockstep.machine.world import World
from vlockstep.replay.entry import Entry
from vlockstep.replay.logfile import LogReader, LogWriter
from vlockstep.replay.recorded import find_image
from vlockstep.replay.recorder import Recorder
from vlockstep.replay.replayer import Replayer
from vlockstep.replay.replayer import Sequence as LogSequence


def write_recording(path: Path, guest: str, *arguments: str, world: World | None = None) -> Path:
    """Of a bundled guest without devices."""
    image = sample(guest)
    config = config_for(image, *arguments)
    world = world or ScriptedWorld()
    with (
        machine_of(image, config) as machine,
        LogWriter(path, config, basis=basis()) as log,
        suppress(GuestError),
    ):
        machine.run(Recorder(world, machine, log.append))
    return path


def write_recording_with_keyframes(path: Path, guest: str, *arguments: str) -> None:
    """Of a bundled guest without devices, with a keyframe at a place behind each seventh entry."""
    image = sample(guest)
    config = config_for(image, *arguments)
    with machine_of(image, config) as machine, LogWriter(path, config, basis=basis()) as log:
        record_with_keyframes(machine, SimulatedWorld(2, Console(), {}), log)


LOOKED_AT = ("rip", "rsp", "rax", "rbx", "rflags")


class Interrupting(ScriptedWorld):
    """Interrupts a guest that has a timer every so many blocks."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self._every = every

    def stop_at(self, position: Position) -> int | None:
        return position.blocks - position.blocks % self._every + self._every

    def interrupt(self, position: Position, enabled: bool) -> int | None:
        return self.vector if enabled else None


@dataclass
class Straight:
    """All that a guest executes: each instruction's mark, its address, some registers before it
    and 64 bytes at RSP; and behind which instructions the watched bytes are written or
    read, and are others than before."""

    watched: int
    marks: list[Mark] = field(default_factory=list)
    addresses: list[int] = field(default_factory=list)
    registers: list[tuple[int, ...]] = field(default_factory=list)
    stacks: list[bytes] = field(default_factory=list)
    accesses: dict[str, list[int]] = field(
        default_factory=lambda: {"write": [], "read": [], "change": []}
    )


WATCHED = 8
"""Bytes."""


def straight(
    path: Path, watched: int, begin: Position | None = None, end: Position | None = None
) -> Straight:
    """Of all, or of what lies between two boundaries, at which the guest has to be stopped then."""
    found = Straight(watched)
    with closing(LogReader(path)) as log:
        image = find_image(log.config.image_digest, log.image, str(path))
        entries = list(log.entries())
        machine = Machine(image, log.config, count_blocks=True, engine=UNICORN)
    with closing(machine):
        engine = machine.engine
        assert isinstance(engine, UnicornEngine)

        switched = set[int]()
        known = [machine.read_virtual(watched, WATCHED)]

        def before(address: int, _size: int) -> None:
            if machine.passing:
                return
            content = machine.read_virtual(watched, WATCHED)
            at, written = len(found.marks) - 1, found.accesses["write"]
            if content != known[0] and at >= 0 and written[-1:] != [at]:
                written.append(at)  # by an exit, or an exception or interrupt before this
            if content != known[0]:
                found.accesses["change"].append(at)
            known[0] = content
            if machine.switched_behind is not None:
                switched.add(machine.switched_behind)
            boundary = machine.begun
            last = found.marks[-1] if found.marks else None
            steps = last.steps + 1 if last and last.boundary == boundary else 0
            found.marks.append(Mark.at(boundary, steps))
            found.addresses.append(address)
            found.registers.append(tuple(engine[name] for name in LOOKED_AT))
            found.stacks.append(machine.read_virtual(engine["rsp"], 64))

        def accessed(kind: str, address: int, size: int) -> None:
            at, listed = len(found.marks) - 1, found.accesses[kind]
            touches = address < watched + WATCHED and watched < address + size
            if touches and (not listed or listed[-1] != at):
                listed.append(at)

        world = Replayer(LogSequence(iter(entries)), machine)
        if begin is not None:
            _stop_at(machine, begin)
            machine.run(world)
            known[0] = machine.read_virtual(watched, WATCHED)
        if end is not None:
            _stop_at(machine, end)
        upper = watched + WATCHED
        hooks = [
            engine.watch_memory(lambda at, n, _: accessed("write", at, n), watched, upper, WRITES),
            engine.watch_memory(lambda at, n, _: accessed("read", at, n), watched, upper, READS),
            engine.watch_code(before),
        ]
        with suppress(GuestError):
            machine.run(world)
        del hooks
    for behind in sorted(switched):
        _rename(found, behind, _first_block(image, log.config, entries, behind))
    return found


def _stop_at(machine: Machine, place: Position) -> None:
    def stop() -> None:
        if machine.at_boundary:
            machine.stop()
        else:
            machine.stop_at_boundary()

    machine.break_at(place, stop)


def _first_block(image: Image, config: GuestConfig, entries: list[Entry], behind: int) -> int:
    """Where the first block behind an exit begins if nobody watches instructions."""
    found: list[int] = []
    with closing(Machine(image, config, count_blocks=True, engine=UNICORN)) as machine:
        _stop_at(machine, Position(behind, 0))
        machine.run(Replayer(LogSequence(iter(entries)), machine))
        found.append(machine.engine["rip"])
    return found[0]


def _rename(found: Straight, behind: int, first: int) -> None:
    """Whoever watches each instruction stops the engine right behind an exit that switches the
    timer, in the midst of its block. If others stop at its end, the rest is no block of its own."""
    at = next((n for n, mark in enumerate(found.marks) if mark == (behind, 0, 0)), None)
    if at is None or found.addresses[at] == first:
        return
    own = found.addresses.index(first, at)
    for n in range(at, own):
        before = found.marks[n - 1]
        found.marks[n] = Mark.at(before.boundary, before.steps + 1)
    for n in range(own, len(found.marks)):
        if found.marks[n].boundary != (behind, 0):
            break
        before = found.marks[n - 1]
        same = before.boundary == (behind, 0)
        found.marks[n] = Mark(behind, 0, before.steps + 1 if same else 0)

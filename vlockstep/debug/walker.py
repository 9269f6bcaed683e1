"""Instruction by instruction through one block, in an overlay of the guest's RAM.

A look between two boundaries costs the execution nothing and changes nothing in it: the block is
executed by another CPU on a private copy of the pages that it writes, which is thrown away. That
CPU is stopped before an instruction, where the one that goes on is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from vlockstep.debug.mark import Mark
from vlockstep.debug.recording import Entries, Recording
from vlockstep.debug.ring import Moment
from vlockstep.debug.stops import Stop
from vlockstep.debug.watches import Watches
from vlockstep.errors import VlockstepError
from vlockstep.machine.engines import UNICORN
from vlockstep.machine.errata.finder import find_in_block
from vlockstep.machine.machine import Machine
from vlockstep.machine.memory import Memory
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.unicornengine import UnicornEngine
from vlockstep.replay.replayer import Replayer


class Step(NamedTuple):
    """Before an instruction, with the exits so far and the boundary at which its block begins."""

    address: int
    exits: int
    boundary: Position


@dataclass
class Walk:
    """Through what is executed from a boundary on to the next one at which the guest can be
    stopped: a block, or some of which those that follow are cut short. And the steps at which stops
    were hit; -1 if that was an interrupt's before the first."""

    steps: list[Step] = field(default_factory=list)
    hits: list[tuple[int, Stop]] = field(default_factory=list)
    whole: bool = False
    """It went behind the last instruction."""
    torn: bool = False
    """There is an exit that switches the timer. Behind it the engine stops as soon as it can, which
    is sooner here than for who does not look at each instruction."""

    def mark(self, index: int) -> Mark:
        """Of the step with that index."""
        boundary = self.steps[index].boundary
        first = index
        while first and self.steps[first - 1].boundary == boundary:
            first -= 1
        return Mark.at(boundary, index - first)

    def find(self, mark: Mark) -> int | None:
        """The step that has this mark."""
        boundaries = [step.boundary for step in self.steps]
        count = boundaries.count(mark.boundary)
        return boundaries.index(mark.boundary) + mark.steps if mark.steps < count else None


class Walker:
    """In the RAM of the guest that stands at the moment from which one walks."""

    def __init__(self, recording: Recording, base: Memory) -> None:
        self._recording = recording
        self._memory = Memory(base.size, base)
        self.machine = Machine(
            recording.image,
            recording.config,
            count_blocks=True,
            engine=UNICORN,
            memory=self._memory,
        )
        assert isinstance(self.machine.engine, UnicornEngine)
        self._engine = self.machine.engine
        self._watch = self._engine.watch_code(self._step)
        self._walk = Walk()
        self._block = (0, 0)
        self._size = 0
        self._until: int | None = None
        self._rest_of: Position | None = None
        """The boundary of a block that was cut."""
        self._end: int | None = None
        self._world: Replayer

    def close(self) -> None:
        self.machine.close()

    @property
    def sequence(self) -> int:
        """The number of the entry that is made next."""
        return self._world.sequence

    def registers(self) -> Registers:
        return self._engine.registers()

    def walk(
        self,
        moment: Moment,
        until: int | None,
        stops: Iterable[Stop] = (),
        end: int | None = None,
    ) -> Walk:
        """From a moment until before step number `until`, or behind all of them. If the block is
        `torn`, it has to be told where the next one begins: at `end`."""
        machine = self.machine
        self._memory.revert()
        self._engine.forget_code()
        machine.rewind(moment.state)
        walk = self._walk = Walk()
        self._rest_of, self._end = None, end
        self._block, self._until = moment.block, until
        entries = Entries(self._recording, moment.sequence, whole=False)
        world = self._world = Replayer(
            entries, machine, sequence=moment.sequence, clock=moment.clock
        )
        self._await_boundary(moment.boundary)

        def hit(stop: Stop, _boundary: Position) -> None:
            walk.hits.append((len(walk.steps) - 1, stop))

        with Watches(machine, stops, hit):
            try:
                machine.run(world)
                while machine.at_boundary and self._cut():
                    self._rest_of = walk.steps[-1].boundary
                    machine.uncount_block()
                    self._await_boundary(machine.position)
                    machine.run(world)
            except VlockstepError:
                pass  # the recording ends in this block
        if not walk.steps and machine.at_boundary:  # the log ends with the interrupt here
            walk.steps.append(Step(self._engine["rip"], machine.exits, moment.boundary))
        switched = machine.switched_behind
        walk.torn = self._rest_of is not None and switched is not None
        walk.whole = until is None or len(walk.steps) <= until
        return walk

    def _step(self, address: int, size: int) -> None:
        if self.machine.passing:
            return
        steps = self._walk.steps
        if self._rest_of and address == self._end:
            self.machine.stop()
            self._engine.abandon()
            return
        boundary = self._rest_of or self.machine.begun
        steps.append(Step(address, self.machine.exits, boundary))
        self._size = size
        if self._until == len(steps) - 1:
            self.machine.stop()
            self._engine.abandon()

    def _await_boundary(self, position: Position) -> None:
        following = Position(position.exits, position.blocks + 1)
        self.machine.break_at(following, self._boundary, exact=False)

    def _boundary(self) -> None:
        if self.machine.at_boundary:
            self.machine.stop()
        else:
            self.machine.stop_at_boundary()

    def _cut(self) -> bool:
        """Whether the block is longer for who does not look at each instruction. Whoever does puts
        more into it, so that a long one is cut earlier."""
        if not self._walk.steps:
            return False
        address, size = self._block
        reached = self._walk.steps[-1].address + self._size
        if reached != self._engine.block[0] or not address < reached < address + size:
            return False
        last = self._walk.steps[-1].address
        return not find_in_block(self.machine.read_virtual(last, self._size))

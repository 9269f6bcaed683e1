"""A recording to walk in, forwards and backwards, instruction by instruction."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from vlockstep.debug.mark import Mark
from vlockstep.debug.pages import different
from vlockstep.debug.places import parse_place
from vlockstep.debug.player import INTERVAL
from vlockstep.debug.recording import Recording
from vlockstep.debug.ring import Moment
from vlockstep.debug.stops import Access, Breakpoint, Outside, Stop, Watchpoint, Why
from vlockstep.debug.view import View, translated
from vlockstep.errors import UsageError
from vlockstep.machine import paging
from vlockstep.machine.exceptions import Taken
from vlockstep.machine.image import Image
from vlockstep.machine.position import MAX_COUNT, Position
from vlockstep.replay.entry import Kind

_NEAR = 0.5
"""Seconds of execution that are searched backwards in one piece, at most."""
_NEAR_BLOCKS = 4
"""That are looked at one by one before the player is set up to run with stops."""
_KEYFRAMES = 8
"""So far back an exception is looked for: some seconds of execution."""
_FRAME = struct.Struct("<Q16xQ")
"""RIP and RSP in what an interrupt pushes."""


class Run(NamedTuple):
    """How a run ended. `stop` is what was hit, if anything."""

    why: Why
    stop: Stop | None = None


class Timeline(View):
    """Of one recording; at its `mark`, at first the beginning, one looks at registers and memory.

    A mark is before an instruction. History has an end: its last mark is before the instruction
    behind which nothing was recorded, such as the HLT, the OUT of the halt, or the one at fault.
    Only for one thread, but for `interrupt`.
    """

    def interrupt(self) -> None:
        """Let a run, forwards or backwards, or a seek end soon, or the next one at once. From any
        thread."""
        self._player.interrupt()

    def forget_interrupt(self) -> None:
        """What was to be interrupted has ended."""
        self._player.take_interrupt()

    def seek(self, target: Mark | Position | int | str) -> Mark:
        """Go to a mark, to right behind an exit or to a block boundary, or to where the entry of
        that number is made; or to a place as text, such as "entry:2" or "time:0.5" (`parse_place`).
        Raises `UsageError`, and stays, if there is no such place, or `Interrupted`."""
        if isinstance(target, str):
            parse_place(target)(self)
            return self.mark
        with self._seeking():
            if isinstance(target, Mark):
                self._seek_mark(target)
            elif isinstance(target, Position):
                self._seek_position(target)
            else:
                self._seek_entry(target)
        return self.mark

    def step(self) -> bool:
        """Over one instruction forwards; False at the end."""
        if not self._walk(self._steps + 1).whole:
            self._steps += 1
            return True
        if self._player.following() is None:
            return False
        self._steps = 0
        return True

    def step_back(self) -> bool:
        """Back before the last instruction; False at the beginning."""
        if self._steps:
            self._steps -= 1
            return True
        if self._player.preceding() is None:
            return False
        self._to_last_step()
        return True

    def to_begin(self) -> None:
        self._player.go(self._player.begin)
        self._steps = 0

    def to_end(self) -> None:
        """To the last mark. Raises `Interrupted`, and stays."""
        with self._seeking():
            self._player.go(self._player.last or Position(MAX_COUNT, 0))
            self._to_last_step()

    def exception(self, within: int) -> tuple[Mark, Taken] | None:
        """The last exception of the CPU in so many exits before the mark, but not before the last
        `_KEYFRAMES` keyframes, and the mark before what raised it. Raises `Interrupted`, and
        stays."""
        player, before = self._player, self.mark
        keys = [k.position for k in player.recording.keyframes if k.position < before.boundary]
        far = keys[-_KEYFRAMES] if len(keys) >= _KEYFRAMES else player.begin
        first = max(Position(max(0, self.exits - within), 0), player.begin, far)
        with self._seeking():
            player.hold(first)
            player.taken = None
            player.run(before.boundary)
            found = None if player.taken is None else self._raised_by(*player.taken)
        self._seek_mark(before)
        return found

    def _raised_by(self, boundary: Position, taken: Taken) -> tuple[Mark, Taken]:
        """The mark before what raised it, in the block at that boundary, and what it was."""
        self._player.hold(boundary)
        steps = self._walk().steps
        last = max((n for n, step in enumerate(steps) if step.boundary == boundary), default=0)
        return self._walked.mark(last), taken

    def run(self, stops: Iterable[Stop] = (), until: Mark | None = None) -> Run:
        """Forwards to the first stop, to before the instruction of a breakpoint behind the mark or
        to behind an access; or to `until`, or the end."""
        stops, player, start = list(stops), self._player, self.mark
        began = player.now.boundary
        for _ in range(_NEAR_BLOCKS if stops else 0):
            if player.interrupted or (until is not None and player.now.boundary >= until.boundary):
                break
            found = self._first_hit(stops, start, until)
            if found is not None:
                return self._pass(*found)
            if player.following() is None:
                break
        while True:
            goal = None if until is None else until.boundary
            for boundary in player.run(goal, stops, interruptible=True):
                player.hold(boundary)
                found = self._first_hit(stops, start, until)
                if found is not None:
                    return self._pass(*found)
            if player.take_interrupt():
                self._steps = self._steps if player.now.boundary == began else 0
                return Run(Why.INTERRUPTED)
            if until is not None and player.now.boundary >= until.boundary:
                found = self._first_hit(stops, start, until)
                if found is not None:
                    return self._pass(*found)
                self._seek_mark(until)
                return Run(Why.GOAL)
            if player.following() is None:
                found = self._first_hit(stops, start, until)
                if found is not None:
                    return self._pass(*found)
                self._to_last_step()
                return Run(Why.END)

    def step_through(self, start: int, end: int, stops: Iterable[Stop] = ()) -> Run:
        """Over the next instruction, and over all that follow from address `start` up to `end`.
        Interrupts that come meanwhile are no reason to end, but stops in their handlers are."""
        stops, outside = list(stops), Outside(start, end)
        while True:
            ended = self.run([*stops, outside])
            if ended.stop is not outside:
                return ended
            while (behind := self._behind_interrupt()) is not None:
                ended = self.run([*stops, behind])
                if ended.stop is not behind:
                    return ended
            if not start <= self.registers().rip < end:
                return Run(Why.GOAL)

    def _behind_interrupt(self) -> Breakpoint | None:
        """Where its handler returns to, if one begins here."""
        entry = self.recording.entry(self.sequence - 1)
        if entry is None or entry[0] != Kind.INTERRUPT or self.mark != (entry[1], entry[2], 0):
            return None
        frame = self.read(self.registers().rsp, _FRAME.size)
        if len(frame) < _FRAME.size:
            return None
        rip, rsp = _FRAME.unpack(frame)
        return Breakpoint(rip, lambda registers, _read: registers().rsp == rsp)

    def run_back(self, stops: Iterable[Stop] = (), until: Mark | None = None) -> Run:
        """Backwards to the last stop before the mark, to before the instruction of a breakpoint or
        of an access; or to `until`, or the beginning."""
        stops, player = list(stops), self._player
        lowest = until or Mark.at(self._player.begin)
        found = self._last_hit(stops, lowest, self._steps)
        upper, span = player.now, 0.0
        far = 0.0 if any(isinstance(stop, Watchpoint) for stop in stops) else _NEAR
        while found is None and upper.boundary > lowest.boundary and stops:
            lower = player.retreat(upper.boundary, span, lowest.boundary)
            if lower is None:
                break
            player.focus = upper.age
            if upper.age - lower.age > _NEAR + span:  # moments are made on the way
                player.run(upper.boundary, interruptible=True)
                lower = player.retreat(upper.boundary) or lower
            found = self._search(stops, lowest, lower, upper)
            player.focus = None
            if player.take_interrupt():
                player.go(upper.boundary)
                self._steps = 0
                return Run(Why.INTERRUPTED)
            upper, span = lower, min(2 * span + INTERVAL, far)
        if found is not None:
            self._steps = found[0]
            if self._steps < 0:  # before the interrupt
                player.preceding()
                self._to_last_step()
            return Run(Why.STOP, found[1])
        self._seek_mark(lowest)
        return Run(Why.BEGIN if until is None else Why.GOAL)

    def _search(
        self, stops: list[Stop], lowest: Mark, lower: Moment, upper: Moment
    ) -> tuple[int, Stop] | None:
        """The last hit between two moments, at the boundary of which the guest is then."""
        wanted = [stop for stop in stops if self._possible(stop, lower, upper)]
        goal = upper.boundary
        while wanted:
            hits = self._player.run(goal, wanted, first=False, interruptible=True)
            if self._player.interrupted:
                return None
            earlier = [hit for hit in hits if hit < goal]
            for boundary in reversed(earlier):
                self._player.hold(boundary)
                found = self._last_hit(stops, lowest, None)
                if found is not None:
                    return found
            if len(earlier) < 2048:  # of more, those before were not told
                break
            goal = earlier[0]
            self._player.go(lower.boundary)
        return None

    def _possible(self, stop: Stop, lower: Moment, upper: Moment) -> bool:
        """Whether it can be hit between two moments: not if its page was not written."""
        if not isinstance(stop, Watchpoint) or stop.access is not Access.WRITE:
            return True
        pages = set()
        for address in range(stop.address, stop.address + stop.length):
            physical = translated(self._player.machine, address)
            if physical is None:
                return True
            pages.add(physical // paging.PAGE * paging.PAGE)
        return any(at in pages for at, _ in different(lower.table, upper.table))

    def _first_hit(
        self, stops: list[Stop], start: Mark, until: Mark | None
    ) -> tuple[int, Stop] | None:
        """In the block that follows: the step of a breakpoint, or of an access."""
        if not stops:
            return None
        walk = self._walk(None, stops)
        for step, stop in walk.hits:
            behind = isinstance(stop, Watchpoint)
            mark = walk.mark(max(step, 0))
            late = mark < start if behind and step >= 0 else mark <= start
            if not late and (until is None or mark < until):
                return step, stop
        return None

    def _last_hit(
        self, stops: list[Stop], lowest: Mark, until: int | None
    ) -> tuple[int, Stop] | None:
        if not stops:
            return None
        walk = self._walk(until, stops)
        for step, stop in reversed(walk.hits):
            if walk.mark(step) >= lowest if step >= 0 else walk.mark(0) > lowest:
                return step, stop
        return None

    def _pass(self, step: int, stop: Stop) -> Run:
        """To a breakpoint, or behind an access."""
        self._steps = max(step, 0)
        if isinstance(stop, Watchpoint) and step >= 0:
            self.step()
        return Run(Why.STOP, stop)

    def _seek_position(self, position: Position) -> None:
        if not position.exits or position.blocks:
            try:
                self._seek_mark(Mark.at(position))
            except UsageError:
                raise UsageError(f"{position} does not exist in {self.recording.path}") from None
            return
        self._to_exit(position.exits)
        steps = enumerate(self._walk().steps)
        behind = (n for n, step in steps if step.exits >= position.exits)
        step = next(behind, None)
        self._steps = step or 0
        if step is None and self._player.following() is None:
            raise UsageError(f"{position} is behind the last instruction in {self.recording.path}")

    def _seek_entry(self, sequence: int) -> None:
        entry = self.recording.entry(sequence)
        if entry is None:
            raise UsageError(
                f"there is no entry {sequence} in {self.recording.path}, which has "
                f"{self.recording.count}"
            )
        kind, exits, blocks, *_ = entry
        if kind == Kind.INTERRUPT:
            self._seek_mark(Mark(exits, blocks, 0))
        elif kind == Kind.END:
            self.to_end()
        else:
            self._to_exit(exits + 1)
            steps = self._walk().steps
            behind = (n for n, step in enumerate(steps) if step.exits > exits)
            self._steps = max(0, next(behind, len(steps)) - 1)

    def _to_exit(self, number: int) -> None:
        """To the boundary of the block in which that exit is made, counted from 1."""
        self._expect(Position(number, 0))
        boundary = self._player.exit_block(Position(number, 0))
        self._player.hold(boundary)


def open_recording(path: str | Path, image: Image | None = None) -> Timeline:
    """The execution that is recorded in the log at `path`, to walk in. `image` is the guest's, if
    the log does not tell where that is.

    Who wrote to a variable last, in what `vlockstep record clock -o clock.vlog` has recorded?

        from vlockstep import Watchpoint, open_recording

        with open_recording("clock.vlog") as timeline:
            timeline.to_end()
            variable = timeline.image.find("line_used")
            timeline.run_back([Watchpoint(variable.address, variable.size)])
            print(timeline.mark, hex(timeline.registers().rip))

    Raises `LogError` or `UsageError`.
    """
    return Timeline(Recording(Path(path), image))

"""A recording to walk in, forwards and backwards, instruction by instruction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from vlockstep.debug.mark import Mark
from vlockstep.debug.pages import different
from vlockstep.debug.player import MOST_TEXT, Player
from vlockstep.debug.recording import Recording
from vlockstep.debug.ring import Moment
from vlockstep.debug.stops import Access, Stop, Watchpoint, Why
from vlockstep.debug.walker import Walk, Walker
from vlockstep.errors import UsageError
from vlockstep.machine import paging
from vlockstep.machine.image import Image
from vlockstep.machine.memory import Memory
from vlockstep.machine.position import MAX_COUNT, Position
from vlockstep.machine.registers import Registers
from vlockstep.replay.entry import Kind

_NEAR = 0.25
"""Seconds of execution that are searched backwards in one piece."""

_MOST_ENDS = 4096
_NEWLINE = ord("\n")


class Run(NamedTuple):
    """How a run ended. `stop` is what was hit, if anything."""

    why: Why
    stop: Stop | None = None


class Timeline:
    """Of one recording; at its `mark`, at first the beginning, one looks at registers and memory.

    A mark is before an instruction. History has an end: its last mark is before the instruction
    behind which nothing was recorded, such as the HLT, the OUT of the halt, or the one at fault.
    Only for one thread, but for `interrupt`.
    """

    def __init__(self, recording: Recording, most_text: int = MOST_TEXT) -> None:
        self.recording = recording
        self._player = Player(recording, most_text)
        self._walker = Walker(recording, self._player.machine.memory)
        self._steps = 0
        self._at: tuple[Moment, int] | None = None
        """Where the walker is."""
        self._ends: dict[Position, int | None] = {}
        """Where the block behind a torn one begins, by the boundary of that."""
        self._walked = Walk()
        """The last one; if the walker is somewhere, up to there."""

    def close(self) -> None:
        self._walker.close()
        self._player.close()
        self.recording.close()

    def __enter__(self) -> Timeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Looking

    @property
    def mark(self) -> Mark:
        self._look()
        return self._walked.mark(self._steps)

    @property
    def image(self) -> Image:
        return self.recording.image

    @property
    def ending(self) -> str:
        """How the recording ends; "" while that is not known."""
        return self._player.ending

    def registers(self) -> Registers:
        self._look()
        return self._walker.registers()

    def read(self, address: int, length: int) -> bytes:
        """Of virtual memory; fewer bytes where the mapping ends."""
        self._look()
        return self._walker.machine.read_virtual(address, length)

    @property
    def exits(self) -> int:
        """Exits that are complete."""
        self._look()
        return self._walker.machine.exits

    @property
    def sequence(self) -> int:
        """The number of the entry that is made next."""
        self._look()
        return self._walker.sequence

    def physical(self, address: int) -> int | None:
        """None if it is not mapped."""
        self._look()
        machine = self._walker.machine
        try:
            return paging.translate(machine.memory, machine.engine["cr3"], address)
        except paging.PageFault:
            return None

    @property
    def memory(self) -> Memory:
        """The guest's RAM here. Only to look at; until one goes on."""
        self._look()
        return self._walker.machine.memory

    def _look(self) -> None:
        """Let the walker be at the mark."""
        if self._at != (self._player.now, self._steps):
            found = self._walk(self._steps)
            assert not found.whole, "the guest has come elsewhere"

    def _walk(self, until: int | None = None, stops: Iterable[Stop] = ()) -> Walk:
        self._at = None
        now = self._player.now
        walk = self._walker.walk(now, until, stops, self._ends.get(now.boundary))
        if walk.torn and now.boundary not in self._ends:
            if len(self._ends) >= _MOST_ENDS:
                self._ends.clear()
            following = self._player.following()
            self._ends[now.boundary] = None if following is None else following.rip
            now = self._player.go(now.boundary)
            walk = self._walker.walk(now, until, stops, self._ends[now.boundary])
        self._walked = walk
        if until is not None and not walk.whole:
            self._at = self._player.now, until
        return walk

    @contextmanager
    def _seeking(self) -> Iterator[None]:
        """Be here again if there is no such place, or an interrupt comes before it is reached."""
        before = self.mark
        self._player.seeking = True
        try:
            yield
        except UsageError:
            self._player.seeking = False
            self._player.take_interrupt()
            self._seek_mark(before)
            raise
        finally:
            self._player.seeking = False

    def console(self) -> bytes:
        """The text that was printed before the mark, as far as it is kept; see `text_ends`. Raises
        `Interrupted`."""
        before = self.mark
        player, sequence = self._player, self.sequence
        if not player.knows_text(sequence):
            with self._seeking():
                player.replay_text(self._player.now.boundary)
            self._seek_mark(before)
        ends = sequence if player.untold is None else min(sequence, player.untold)
        return b"".join(player.text[at] for at in sorted(player.text) if at < ends)

    @property
    def text_ends(self) -> int | None:
        """The entry from which on text is not kept, since there is more than one keeps;
        None if there is none, as far as one knows."""
        return self._player.untold

    def line(self, number: int) -> int:
        """The entry with which line `number` of the console text, from 1 on, begins. Raises
        `UsageError` if there is none."""
        player, before = self._player, self.mark
        if not player.knows_text(self.recording.count):
            with self._seeking():
                player.replay_text(None)
            self._seek_mark(before)
        line, begins = 1, True
        for at in sorted(player.text):
            if player.untold is not None and at > player.untold:
                break
            for byte in player.text[at]:
                if begins and line == number:
                    return at
                begins = byte == _NEWLINE
                line += begins
        if player.untold is not None:
            raise UsageError(
                f"line {number} is not in the console text before entry {player.untold}, and what "
                "is printed from there on is too much to be looked through"
            )
        raise UsageError(f"the guest prints no line {number}")

    # Going

    def interrupt(self) -> None:
        """Let a run, forwards or backwards, or a seek end soon, or the next one at once. From any
        thread."""
        self._player.interrupt()

    def forget_interrupt(self) -> None:
        """What was to be interrupted has ended."""
        self._player.take_interrupt()

    def seek(self, target: Mark | Position | int) -> Mark:
        """Go to a mark, to right behind an exit or to a block boundary, or to where the entry of
        that number is made. Raises `UsageError`, and stays, if there is no such place, or
        `Interrupted`."""
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

    def run(self, stops: Iterable[Stop] = (), until: Mark | None = None) -> Run:
        """Forwards to the first stop, to before the instruction of a breakpoint behind the mark or
        to behind an access; or to `until`, or the end."""
        stops, player, start = list(stops), self._player, self.mark
        began = player.now.boundary
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

    def run_back(self, stops: Iterable[Stop] = (), until: Mark | None = None) -> Run:
        """Backwards to the last stop before the mark, to before the instruction of a breakpoint or
        of an access; or to `until`, or the beginning."""
        stops, player = list(stops), self._player
        lowest = until or Mark.at(self._player.begin)
        found = self._last_hit(stops, lowest, self._steps)
        upper = player.now
        while found is None and upper.boundary > lowest.boundary and stops:
            lower = player.retreat(upper.boundary)
            if lower is None:
                break
            player.focus = upper.age
            if upper.age - lower.age > _NEAR:  # moments are made on the way
                player.run(upper.boundary, interruptible=True)
                lower = player.retreat(upper.boundary) or lower
            found = self._search(stops, lowest, lower, upper)
            player.focus = None
            if player.take_interrupt():
                player.go(upper.boundary)
                self._steps = 0
                return Run(Why.INTERRUPTED)
            upper = lower
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
            physical = self._resolve(address)
            if physical is None:
                return True
            pages.add(physical // paging.PAGE * paging.PAGE)
        return any(at in pages for at, _ in different(lower.table, upper.table))

    def _resolve(self, address: int) -> int | None:
        machine = self._player.machine
        try:
            return paging.translate(machine.memory, machine.engine["cr3"], address)
        except paging.PageFault:
            return None

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

    def _to_last_step(self) -> None:
        self._steps = max(0, len(self._walk().steps) - 1)

    def _seek_mark(self, mark: Mark) -> None:
        self._expect(mark.boundary)
        self._player.hold(mark.boundary)
        step = self._walk().find(mark)
        if step is None:
            raise UsageError(f"{mark} does not exist in {self.recording.path}")
        self._steps = step

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

    def _expect(self, place: Position) -> None:
        if place < self._player.begin:
            raise UsageError(
                f"{place} is before {self._player.begin}, where {self.recording.path} begins"
            )

    def _to_exit(self, number: int) -> None:
        """To the boundary of the block in which that exit is made, counted from 1."""
        self._expect(Position(number, 0))
        boundary = self._player.exit_block(Position(number, 0))
        self._player.hold(boundary)


def open_recording(path: str | Path, image: Image | None = None) -> Timeline:
    """The execution that is recorded in the log at `path`, to walk in. `image` is the guest's, if
    the log does not tell where that is.

    Who wrote there last?

        from vlockstep import Watchpoint, open_recording

        with open_recording("clock.vlog") as timeline:
            timeline.to_end()
            timeline.run_back([Watchpoint(address, 8)])
            print(timeline.mark, hex(timeline.registers().rip))

    Raises `LogError` or `UsageError`.
    """
    return Timeline(Recording(Path(path), image))

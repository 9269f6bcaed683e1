"""The recorded guest, replayed from boundary to boundary at full speed.

It counts blocks from the start, so every boundary has a position, and it is always at one: for
what lies between two of them see `walker`. Where stops are watched for, it tells in which blocks
they may be. `Moment`s are kept on the way: whoever goes back begins at one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Event

from vlockstep.debug.pages import Pages
from vlockstep.debug.recording import Entries, Recording
from vlockstep.debug.ring import Moment, Ring
from vlockstep.debug.stops import Stop
from vlockstep.debug.ticker import Ticker
from vlockstep.debug.watches import Watches
from vlockstep.errors import LogError, StateError, UsageError, VlockstepError
from vlockstep.machine.engines import UNICORN
from vlockstep.machine.exceptions import Taken
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import BOOT, Position
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Cause, Outcome
from vlockstep.replay.entry import Kind
from vlockstep.replay.replayer import Replayer

INTERVAL = 0.03
"""Seconds between two moments that are kept of a run."""
MOST_TEXT = 16 << 20
_KEYFRAME = 1.0
"""Seconds of execution between two keyframes, as far as one knows."""
_MOST_HITS = 4096
_MOST_TRIES = 64
_DISTANCES = (4096, 512, 64, 8, 1)


class Interrupted(UsageError):
    """On the way to a place."""


class Player:
    """A recording's guest, at boot at first. For one thread, but for `interrupt`. Of its console
    text it keeps `most_text` bytes."""

    def __init__(self, recording: Recording, most_text: int = MOST_TEXT) -> None:
        self.recording = recording
        self.ring = Ring()
        self.last: Position | None = None
        """The boundary of the last block, once that is known."""
        self.ending = ""
        """How the recording ends, once that is known."""
        self.taken: tuple[Position, Taken] | None = None
        """The last exception of the CPU that was replayed, with the boundary of its block."""
        self.text: dict[int, bytes] = {}
        """Console text by the entry that is its output, of all that was replayed."""
        self.untold: int | None = None
        """The first entry whose text is not kept, since there is so much."""
        self._noted = recording.first
        """Up to that entry all were replayed, and their text noted."""
        self._useless: set[int] = set()
        """Keyframes that cannot be begun from, or behind which there is no boundary any more."""
        self._from = 0
        self.seeking = False
        """An interrupt ends whatever run there is, by `Interrupted`."""
        self.focus: float | None = None
        """Near which age moments are to be dense; if None where the guest is."""
        self._size, self._most_text = 0, most_text
        self._age = 0.0
        self._apart = False
        self._crashed = False
        self._interrupted = Event()
        self._watching = self._astray = False
        self._passed: Position | None = None
        self._ended: Position | None = None
        self._open()
        self._ticker = Ticker(INTERVAL, lambda: self.machine.stop_at_boundary())
        if recording.first:
            self._begin_at(0)
        else:
            self.now = self._keep()

    def _open(self) -> None:
        recording = self.recording
        self.machine = Machine(recording.image, recording.config, count_blocks=True, engine=UNICORN)
        self.machine.on_exception = self._take_exception
        self.pages = Pages(self.machine.memory)
        self._begin(0, (0, 0))

    def close(self) -> None:
        self._ticker.close()
        self.pages.close()
        self.machine.close()

    def interrupt(self) -> None:
        """Let a run end soon that can be interrupted, or the next one. From any thread."""
        self._interrupted.set()

    @property
    def interrupted(self) -> bool:
        return self._interrupted.is_set()

    def take_interrupt(self) -> bool:
        """Whether there was one, which is over then."""
        found = self._interrupted.is_set()
        self._interrupted.clear()
        return found

    @property
    def begin(self) -> Position:
        """The first boundary."""
        return self.ring.first.boundary

    # Going somewhere

    def go(self, boundary: Position, dense: bool = False) -> Moment:
        """Be at that boundary, or if there is none at the next, or the last one. If `dense`, keep
        moments before it."""
        found = self.ring.before(boundary)
        assert found is not None
        known = found.boundary
        if self.now.boundary <= boundary:
            known = max(known, self.now.boundary)
        key = self._nearest(boundary)
        if key is not None and self.recording.exact(key) > known:
            self._begin_at(key)
        if not known <= self.now.boundary <= boundary:
            self._restore(found)
        if dense:
            for goal in _before(boundary):
                if goal > self.now.boundary:
                    self.run(goal)
        if self.now.boundary < boundary:
            self.run(boundary)
        return self.now

    def hold(self, boundary: Position) -> Moment:
        """Be at the last boundary that is not behind this one. The guest cannot be stopped at some,
        since it may be overwriting its code there."""
        goal = boundary
        for _ in range(_MOST_TRIES):
            if self.go(goal).boundary <= boundary:
                break
            goal = Position(goal.exits, goal.blocks - 1) if goal.blocks else self.exit_block(goal)
        return self.now

    def following(self) -> Moment | None:
        """Be at the next boundary; None if there is none in this recording."""
        before = self.now.boundary
        self.run(Position(before.exits, before.blocks + 1))
        return None if self.now.boundary <= before else self.now

    def preceding(self) -> Moment | None:
        """Be at the boundary before; None if there is none."""
        here = self.now.boundary
        goal = here
        while goal > self.begin:
            goal = Position(goal.exits, goal.blocks - 1) if goal.blocks else self.exit_block(goal)
            if self.go(goal, dense=True).boundary < here:
                return self.now
        return None

    def exit_block(self, behind: Position) -> Position:
        """The boundary of the block in which exit number `behind.exits` is: that of a HLT, or of an
        instruction that is done at a stop, is the one behind."""
        self.retreat(behind)
        self._passed = None
        self.run(behind)
        return self._passed or self.now.boundary

    def retreat(
        self, boundary: Position, span: float = 0.0, lowest: Position = BOOT
    ) -> Moment | None:
        """Be at a moment before that boundary, as near as one is known, or `span` seconds of
        execution before that, but no further than it takes to be before `lowest`; None at boot."""
        found = self.ring.before(boundary, strictly=True)
        if found is None:
            return None
        key = self._nearest(boundary, strictly=True)
        if key is not None and self.recording.exact(key) > found.boundary:
            self._begin_at(key)
            if self.now.boundary < boundary:
                return self.now
        found = self.ring.earlier(found, span, lowest)
        self._restore(found)
        return found

    def run(
        self,
        goal: Position | None,
        stops: Iterable[Stop] = (),
        first: bool = True,
        interruptible: bool = False,
    ) -> list[Position]:
        """Run on to the boundary `goal` or the end, and be there, or at the last boundary before
        the end. The blocks are told in which something of `stops` may be, in order, but not more
        than a few thousand, the last ones; with `first` it runs on no further than behind one.
        """
        machine, stops = self.machine, list(stops)
        hits: list[Position] = []

        def hit(_stop: Stop, boundary: Position) -> None:
            if not hits or hits[-1] != boundary:
                hits.append(boundary)
                if len(hits) > _MOST_HITS:
                    del hits[: _MOST_HITS // 2]
            if first:
                machine.stop_at_boundary()

        def enough() -> bool:
            asked = (interruptible or self.seeking) and self._interrupted.is_set()
            return asked or bool(first and hits)

        ended = False
        self._watching = bool(stops)
        with Watches(machine, stops, hit), self._ticker:
            while not (ended or enough() or (goal is not None and self.now.boundary >= goal)):
                ended = self._advance(goal, enough)
        self._watching = False
        if self.seeking and self._interrupted.is_set():
            raise Interrupted("interrupted")
        if ended:
            self._return(goal)
        elif self._astray:
            there = self.now.boundary
            found = self.ring.before(there)
            assert found is not None
            self._restore(found)
            self.go(there)
        return hits

    def _return(self, goal: Position | None) -> None:
        """From the end to the last boundary."""
        if self.last is None:
            self.last = max(self._ended or self.machine.begun, self.begin)
        elif goal == self.last:  # where the guest cannot be stopped
            self.last = self._before_last(goal)
        found = self.ring.before(self.last)
        assert found is not None
        self._restore(found)
        self.go(self.last)

    def _before_last(self, last: Position) -> Position:
        """The boundary before, if there is one where the guest can be stopped."""
        if last.blocks:
            return Position(last.exits, last.blocks - 1)
        if self._passed is not None and self._passed < last:
            return self._passed
        found = self.ring.before(last, strictly=True)
        assert found is not None
        return found.boundary

    def _advance(self, goal: Position | None, enough: Callable[[], bool] = lambda: True) -> bool:
        """Run to the goal, or to where it is `enough`, or a moment is missing; whether it came to
        the end."""
        machine = self.machine
        if goal is not None:
            machine.break_at(goal, self._stop, exact=False)
        tries = 0
        while tries < _MOST_TRIES:
            began = time.perf_counter()
            if self._execute():
                return True
            self._age += time.perf_counter() - began
            here = machine.position
            if machine.at_boundary:
                known = self.ring.dense(here, 2 * INTERVAL)
                if known and not enough() and (goal is None or here < goal):
                    continue
                with suppress(StateError):
                    self.now = self._moment() if self._strayed() else self._keep()
                    return False
            tries += 1
            machine.break_at(Position(here.exits, here.blocks + 1), self._stop, exact=False)
        self.now = self._keep()
        return False

    def _execute(self) -> bool:
        """Until it stops; whether that is the end."""
        try:
            return self._run_machine()
        finally:
            if self._from <= self._noted:
                self._noted = max(self._noted, self._entries.sequence)

    def _run_machine(self) -> bool:
        try:
            found = self.machine.run(self._world)
        except GuestError as error:
            self.ending, self._crashed = str(error), not error.outcome.exact
            return True
        except VlockstepError as error:
            self.ending = str(error)
            return True
        if isinstance(found, Outcome):
            self.ending = found.reason or f"the guest ended with status {found.status}"
            return True
        if found.cause is Cause.NO_ANSWER:
            self.ending = "the log ends here; the guest had not ended"
            return True
        return False

    def _take_exception(self, boundary: Position, taken: Taken) -> None:
        if self.taken is None or boundary >= self.taken[0]:
            self.taken = boundary, taken

    def _stop(self) -> None:
        if self.machine.at_boundary:
            self.machine.stop()
        else:
            self._passed = self.machine.begun
            self.machine.stop_at_boundary()

    def knows_text(self, sequence: int) -> bool:
        """Whether all text before that entry was replayed."""
        return sequence <= self._noted

    def replay_text(self, boundary: Position | None) -> None:
        """From the beginning up to a boundary, or to the end."""
        self._restore(self.ring.first)
        self.run(boundary)

    # Moments

    def _keep(self) -> Moment:
        known = self.ring.at(self.machine.position)
        if known is not None and known.block[0] == known.rip:
            self.pages.know(known.table)
            self._age = known.age
            return known
        moment = self._moment()
        self._apart = False
        self.ring.add(moment, self._age if self.focus is None else self.focus)
        return moment

    def _strayed(self) -> bool:
        """Whether the position may be another than without watches."""
        machine = self.machine
        self._astray = self._watching and machine.switched_behind == machine.exits
        return self._astray

    def _moment(self) -> Moment:
        machine = self.machine
        state = machine.capture(memory=False)
        block = machine.engine.block
        return Moment(
            machine.position,
            state,
            self.pages.take(),
            self._entries.sequence,
            self._world.clock,
            block if block[0] == machine.engine["rip"] else (0, 0),
            machine.engine["rip"],
            self._age,
            self._apart,
        )

    def _restore(self, moment: Moment) -> None:
        self._reopen()
        self.pages.put(moment.table)
        self.machine.engine.forget_code()
        self.machine.rewind(moment.state)
        self._begin(moment.sequence, moment.clock)
        self.now, self._age = moment, moment.age
        self._astray = self._apart = False

    def _reopen(self) -> None:
        """Who has crashed cannot go on."""
        if self._crashed:
            self._crashed = False
            self.machine.close()
            self._open()

    def _begin_at(self, key: int) -> None:
        """At the first boundary of a keyframe from which on positions are exact."""
        self._reopen()
        exact = self.recording.exact(key)
        try:
            keyframe = self.recording.begin(key, self.machine)
        except (LogError, StateError):
            if not len(self.ring):
                raise
            self._useless.add(key)
            self._restore(self.now)
            return
        self._begin(keyframe.sequence, keyframe.clock)
        self._age, self._apart = key * _KEYFRAME, True
        if keyframe.position < exact:
            self.machine.break_at(exact, self._stop, exact=False)
        else:
            self.machine.stop_at_boundary()
        if self._execute():
            self._useless.add(key)
            if len(self.ring):
                self._return(None)
            else:
                self._begin_and_end()
        elif self.machine.at_boundary:
            self.now = self._keep()
        else:
            self._advance(None)

    def _nearest(self, boundary: Position, strictly: bool = False) -> int | None:
        """The last keyframe of use from which that can be found."""
        key = self.recording.nearest(boundary, strictly)
        while key is not None and key in self._useless:
            key = key - 1 if key else None
        return key

    def _begin_and_end(self) -> None:
        """At the first keyframe, behind which there is nothing, or next to nothing."""
        recording = self.recording
        if not recording.count_from_begin():
            raise LogError(
                f"{recording.path} ends where its guest cannot be stopped yet: {self.ending}"
            )
        self._reopen()
        keyframe = recording.begin(0, self.machine)
        self._begin(keyframe.sequence, keyframe.clock)
        self.now = self._keep()

    def _begin(self, sequence: int, clock: tuple[int, int]) -> None:
        self._entries, self._from = Entries(self.recording, sequence), sequence
        self._world = Replayer(
            self._entries,
            self.machine,
            sequence=sequence,
            clock=clock,
            suppressed=self._suppressed,
        )

    def _suppressed(
        self, sequence: int, kind: Kind, _handle: int, _offset: int, data: bytes
    ) -> None:
        if kind is Kind.END:
            self._ended = self.machine.begun
        elif kind is Kind.CONSOLE and sequence not in self.text:
            if self._size + len(data) <= self._most_text:
                self.text[sequence] = data
                self._size += len(data)
            elif self.untold is None or sequence < self.untold:
                self.untold = sequence


def _before(boundary: Position) -> list[Position]:
    """Places ever nearer before it."""
    exits, blocks = boundary
    if blocks:
        return [Position(exits, blocks - n) for n in _DISTANCES if n <= blocks]
    return [Position(exits - n, 0) for n in _DISTANCES if n <= exits]

"""A recorded guest at a mark, to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Self

from vlockstep.debug.mark import Mark
from vlockstep.debug.player import MOST_TEXT, Player
from vlockstep.debug.recording import Recording
from vlockstep.debug.ring import Moment
from vlockstep.debug.stops import Stop
from vlockstep.debug.walker import Walk, Walker
from vlockstep.errors import UsageError
from vlockstep.machine import paging
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.memory import Memory
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.replay.entry import Kind

_MOST_ENDS = 4096
_MOST_LOOKED_AT, _WIDEST = 1000, 200
_NEWLINE = ord("\n")


class View:
    """Of the guest at its `mark`, at first the beginning of the recording. The player is at the
    boundary before that; the walker is brought to the mark itself when somebody looks."""

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        return translated(self._walker.machine, address)

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

    def last_lines(self, most: int) -> list[str]:
        """The console's at the end of the recording, as far as that was replayed, and not long ago:
        at most so many, each of at most 200 characters."""
        recording, found, count = self.recording, list[bytes](), 0
        for number in range(recording.count - 1, recording.count - 1 - _MOST_LOOKED_AT, -1):
            entry = recording.entry(number)
            if entry is None or count > most:
                break
            if entry[0] == Kind.CONSOLE:
                if number not in self._player.text:
                    break
                found.append(self._player.text[number])
                count += found[-1].count(_NEWLINE)
        lines = b"".join(reversed(found)).decode(errors="replace").splitlines()[-most:]
        return ["".join(c if c.isprintable() else "?" for c in line[:_WIDEST]) for line in lines]

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

    def _to_last_step(self) -> None:
        self._steps = max(0, len(self._walk().steps) - 1)

    def _seek_mark(self, mark: Mark) -> None:
        self._expect(mark.boundary)
        self._player.hold(mark.boundary)
        step = self._walk().find(mark)
        if step is None:
            raise UsageError(f"{mark} does not exist in {self.recording.path}")
        self._steps = step

    def _expect(self, place: Position) -> None:
        if place < self._player.begin:
            raise UsageError(
                f"{place} is before {self._player.begin}, where {self.recording.path} begins"
            )


def translated(machine: Machine, address: int) -> int | None:
    """By the guest's page tables; None if it is not mapped."""
    try:
        return paging.translate(machine.memory, machine.engine["cr3"], address)
    except paging.PageFault:
        return None

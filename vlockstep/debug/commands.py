"""What gdb's own commands do not do: positions, entries, console text, and where one was."""

from __future__ import annotations

from collections.abc import Callable

from vlockstep.debug.mark import Mark
from vlockstep.debug.places import parse_place
from vlockstep.debug.stops import Watchpoint, Why
from vlockstep.debug.timeline import Timeline
from vlockstep.errors import UsageError
from vlockstep.machine.position import shown
from vlockstep.machine.report import disassemble
from vlockstep.replay.entry import describe, position

_MOST_MARKS = 1000
_ENTRIES, _MOST_ENTRIES = 10, 1000
_LAST_LINES = 5
_SHORTLY = 64
"""Exits before the end within which a handler that gives up is likely to."""


class Commands:
    """Of one who looks at a timeline. Each takes words and gives text."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._visited: list[Mark] = []
        self._left: list[Mark] = []
        self._checkpoints: dict[int, Mark] = {}
        self._numbered = 0
        self._by_name: dict[str, Callable[[list[str]], str]] = {
            "when": self._when,
            "seek": self._seek,
            "entries": self._entries,
            "console": self._console,
            "checkpoint": self._checkpoint,
            "back": self._back,
            "forward": self._forward,
            "who-wrote": self._who_wrote,
            "why-ended": self._why_ended,
            "help": self._help,
        }

    def carry_out(self, line: str) -> str:
        """Raises `VlockstepError`, most of all for what is no command."""
        name, *words = line.split() or ["help"]
        command = self._by_name.get(name)
        if command is None:
            raise UsageError(f"no command {shown(name)}; there are {', '.join(self._by_name)}")
        return command(words)

    def _help(self, _words: list[str]) -> str:
        return (
            "when                where this is\n"
            "seek PLACE          exits:N, exits:N+BLOCKS, a mark that `when` told, entry:N,\n"
            "                    time:S (seconds of the guest's clock), console:N (line N),\n"
            "                    checkpoint:N, begin or end\n"
            "entries [N]         N entries around this place\n"
            "console             the text so far\n"
            "checkpoint          give this place a number\n"
            "back, forward       between places that were left by a seek\n"
            "who-wrote ADDRESS [LENGTH]  back to the last write there\n"
            "why-ended           how the recording ends, and go there\n"
        )

    def _when(self, words: list[str]) -> str:
        _expect(words, 0, 0)
        timeline = self._timeline
        return f"{timeline.mark}, before entry {timeline.sequence}\n"

    def _seek(self, words: list[str]) -> str:
        _expect(words, 1, 1)
        return self._go(lambda: self._to(words[0]))

    def _to(self, place: str) -> None:
        if place.startswith("checkpoint:"):
            number = place.removeprefix("checkpoint:")
            known = number.isdecimal() and len(number) < 10
            mark = self._checkpoints.get(int(number) if known else -1)
            if mark is None:
                raise UsageError(f"no checkpoint {shown(number)}; `checkpoint` makes one")
            self._timeline.seek(mark)
        else:
            parse_place(place)(self._timeline)

    def _go(self, move: Callable[[], object]) -> str:
        before = self._timeline.mark
        move()
        self._visited = [*self._visited, before][-_MOST_MARKS:]
        self._left.clear()
        return self._when([])

    def _back(self, words: list[str]) -> str:
        _expect(words, 0, 0)
        return self._turn(self._visited, self._left)

    def _forward(self, words: list[str]) -> str:
        _expect(words, 0, 0)
        return self._turn(self._left, self._visited)

    def _turn(self, source: list[Mark], target: list[Mark]) -> str:
        if not source:
            raise UsageError("there is no such place: only a seek leaves one")
        target.append(self._timeline.mark)
        self._timeline.seek(source.pop())
        return self._when([])

    def _entries(self, words: list[str]) -> str:
        _expect(words, 0, 1)
        count = _ENTRIES
        if words:
            count = int(words[0]) if words[0].isdecimal() and len(words[0]) < 5 else 0
            if not 0 < count <= _MOST_ENTRIES:
                raise UsageError(f"{shown(words[0])} is no number from 1 to {_MOST_ENTRIES}")
        here = self._timeline.sequence
        lines = []
        for number in range(max(0, here - count // 2), here + (count + 1) // 2):
            entry = self._timeline.recording.entry(number)
            if entry is not None:
                arrow = "=>" if number == here else "  "
                lines.append(f"{arrow} {number:>8}  {position(entry)!s:<20} {describe(entry)}\n")
        return "".join(lines) or "there are no entries here\n"

    def _console(self, words: list[str]) -> str:
        _expect(words, 0, 0)
        timeline = self._timeline
        text = timeline.console().decode(errors="replace")
        ends = timeline.text_ends
        if ends is None or ends >= timeline.sequence:
            return text
        return f"{text}\n(what was printed from entry {ends} on is too much, and is not kept)\n"

    def _checkpoint(self, words: list[str]) -> str:
        _expect(words, 0, 0)
        if len(self._checkpoints) >= _MOST_MARKS:
            raise UsageError(f"there are {_MOST_MARKS} checkpoints; no more are kept")
        self._numbered += 1
        self._checkpoints[self._numbered] = self._timeline.mark
        return f"checkpoint:{self._numbered} is {self._timeline.mark}\n"

    def _who_wrote(self, words: list[str]) -> str:
        _expect(words, 1, 2)
        address, length = _number(words[0]), _number(words[1]) if words[1:] else 8
        if not 0 < length <= 4096:
            raise UsageError("a length is 1 to 4096 bytes")
        timeline, before = self._timeline, self._timeline.mark
        ended = timeline.run_back([Watchpoint(address, length)])
        if ended.why is not Why.STOP:
            timeline.seek(before)
            if ended.why is Why.INTERRUPTED:
                raise UsageError("interrupted")
            return f"nothing has written to {address:#x} before\n"
        self._visited = [*self._visited, before][-_MOST_MARKS:]
        return self._when([]) + self._code()

    def _why_ended(self, words: list[str]) -> str:
        _expect(words, 0, 0)
        timeline = self._timeline
        told = self._go(timeline.to_end)
        console = "".join(f"  {line}\n" for line in timeline.last_lines(_LAST_LINES))
        if console:
            console = f"the last lines of its console:\n{console}"
        return f"{timeline.ending}\n{console}{self._last_exception()}{told}{self._code()}"

    def _last_exception(self) -> str:
        """That may be why it ended: one that was taken shortly before."""
        timeline, found = self._timeline, self._timeline.exception()
        if found is None or found[0].exits < timeline.exits - _SHORTLY:
            return ""
        mark, taken = found
        inside = timeline.image.symbol(taken.rip)
        where = f" in {inside[1]}" if inside else ""
        return f"its last exception: {taken}, at {taken.rip:#x}{where}; `seek {mark}` goes there\n"

    def _code(self) -> str:
        timeline = self._timeline
        rip = timeline.registers().rip
        return disassemble(rip, timeline.read, timeline.image.symbol) + "\n"


def _expect(words: list[str], least: int, most: int) -> None:
    if not least <= len(words) <= most:
        raise UsageError(f"{len(words)} words where {least} to {most} belong; see `help`")


def _number(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise UsageError(f"{shown(text)} is no address or length of 64 bits")
    return value

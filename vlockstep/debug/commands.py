"""What gdb's own commands do not do: positions, entries, console text, and where one was."""

from __future__ import annotations

import textwrap
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
_WORD = 8
_SHORTLY = 64
"""Exits before the end within which a handler that gives up is likely to."""
_MOST_SHOWN = 32
"""Bytes of a value."""
_WIDTH, _INDENT = 100, 28
_USAGE = {
    "when": ("", "where this is"),
    "seek": (
        "PLACE",
        "go to exits:N, exits:N+BLOCKS, a mark that `when` told, entry:N, time:S (seconds of the "
        "guest's clock), console:N (line N), checkpoint:N, begin or end",
    ),
    "entries": ("[N]", "N entries around this place"),
    "console": ("", "the text so far"),
    "checkpoint": ("", "give this place a number"),
    "checkpoints": ("", "the places that have one"),
    "back": ("", "where one was before the last seek"),
    "forward": ("", "undo a `back`"),
    "who-wrote": (
        "ADDRESS|NAME [LENGTH]",
        "go back to the last write there; what was there, and then",
    ),
    "why-ended": ("", "how the recording ends, what came last, and go there"),
    "help": ("[COMMAND]", "what there is, or one of these"),
}


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
            "checkpoints": self._list,
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
            raise _no_command(name)
        return command(words)

    def _help(self, words: list[str]) -> str:
        _expect("help", words, 0, 1)
        for name in words:
            if name not in _USAGE:
                raise _no_command(name)
        return "".join(_help(name) + "\n" for name in words or _USAGE)

    def _when(self, words: list[str]) -> str:
        _expect("when", words, 0, 0)
        timeline = self._timeline
        return f"{timeline.mark}, before entry {timeline.sequence}\n"

    def _seek(self, words: list[str]) -> str:
        _expect("seek", words, 1, 1)
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
        _expect("back", words, 0, 0)
        return self._turn(self._visited, self._left)

    def _forward(self, words: list[str]) -> str:
        _expect("forward", words, 0, 0)
        return self._turn(self._left, self._visited)

    def _turn(self, source: list[Mark], target: list[Mark]) -> str:
        if not source:
            raise UsageError("there is no such place: only a seek leaves one")
        target.append(self._timeline.mark)
        self._timeline.seek(source.pop())
        return self._when([])

    def _entries(self, words: list[str]) -> str:
        _expect("entries", words, 0, 1)
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
        _expect("console", words, 0, 0)
        timeline = self._timeline
        text = timeline.console().decode(errors="replace")
        ends = timeline.text_ends
        if ends is None or ends >= timeline.sequence:
            return text
        return f"{text}\n(what was printed from entry {ends} on is too much, and is not kept)\n"

    def _checkpoint(self, words: list[str]) -> str:
        _expect("checkpoint", words, 0, 0)
        if len(self._checkpoints) >= _MOST_MARKS:
            raise UsageError(f"there are {_MOST_MARKS} checkpoints; no more are kept")
        self._numbered += 1
        self._checkpoints[self._numbered] = self._timeline.mark
        return f"checkpoint:{self._numbered} is {self._timeline.mark}\n"

    def _list(self, words: list[str]) -> str:
        _expect("checkpoints", words, 0, 0)
        lines = (f"checkpoint:{number} is {mark}\n" for number, mark in self._checkpoints.items())
        return "".join(lines) or "there are none; `checkpoint` makes one\n"

    def _who_wrote(self, words: list[str]) -> str:
        _expect("who-wrote", words, 1, 2)
        address, length = self._addressed(words[0])
        if words[1:]:
            length = _number(words[1])
        if not 0 < length <= 4096:
            raise UsageError(f"a length is 1 to 4096 bytes, not {length}")
        timeline, before = self._timeline, self._timeline.mark
        ended = timeline.run_back([Watchpoint(address, length)])
        if ended.why is not Why.STOP:
            timeline.seek(before)
            if ended.why is Why.INTERRUPTED:
                raise UsageError("interrupted")
            return f"nothing has written to {address:#x} before\n"
        self._visited = [*self._visited, before][-_MOST_MARKS:]
        return self._when([]) + self._code() + self._change(address, length)

    def _change(self, address: int, length: int) -> str:
        """What the instruction to come does to some bytes."""
        timeline = self._timeline
        told = f"Old value = {_value(timeline.read(address, length))}\n"
        if timeline.step():
            told += f"New value = {_value(timeline.read(address, length))}\n"
            timeline.step_back()
        return told

    def _addressed(self, word: str) -> tuple[int, int]:
        """An address, and how many bytes there are meant: of a variable, all of them."""
        if word[0].isdecimal():
            return _number(word), _WORD
        found = self._timeline.image.find(word)
        return found.address, found.size or _WORD

    def _why_ended(self, words: list[str]) -> str:
        _expect("why-ended", words, 0, 0)
        timeline = self._timeline
        told = self._go(timeline.to_end)
        console = "".join(f"  {line}\n" for line in timeline.last_lines(_LAST_LINES))
        if console:
            console = f"the last lines of its console:\n{console}"
        return f"{timeline.ending}\n{console}{self._last_exception()}{told}{self._code()}"

    def _last_exception(self) -> str:
        """That may be why it ended: one that was taken shortly before."""
        timeline, found = self._timeline, self._timeline.exception(_SHORTLY)
        if found is None:
            return ""
        mark, taken = found
        inside = timeline.image.symbol(taken.rip)
        where = f" in {inside[1]}" if inside else ""
        return f"its last exception: {taken}, at {taken.rip:#x}{where}; `seek {mark}` goes there\n"

    def _code(self) -> str:
        timeline = self._timeline
        rip = timeline.registers().rip
        return disassemble(rip, timeline.read, timeline.image.symbol) + "\n"


def _usage(name: str) -> str:
    return f"{name} {_USAGE[name][0]}".rstrip()


def _help(name: str) -> str:
    return textwrap.fill(
        _USAGE[name][1],
        _WIDTH,
        initial_indent=f"{_usage(name):<{_INDENT}}",
        subsequent_indent=" " * _INDENT,
    )


def _no_command(name: str) -> UsageError:
    return UsageError(f"no command {shown(name)}; there are {', '.join(_USAGE)}")


def _expect(name: str, words: list[str], least: int, most: int) -> None:
    how = f"{_usage(name)}: {_USAGE[name][1]}"
    if len(words) < least:
        raise UsageError(f"a word is missing; {how}")
    if len(words) > most:
        raise UsageError(f"{shown(words[most])} is one word too many; {how}")


def _value(content: bytes) -> str:
    """Of up to 8 bytes as a number, of more byte by byte."""
    if 0 < len(content) <= 8:
        return f"{int.from_bytes(content, 'little'):#x}"
    more = " ..." if len(content) > _MOST_SHOWN else ""
    return content[:_MOST_SHOWN].hex(" ") + more


def _number(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise UsageError(f"{shown(text)} is no address or length of 64 bits")
    return value

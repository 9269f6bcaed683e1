"""How results are printed: for people in columns, for programs as one line of JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from vlockstep.host.eventwriter import EventWriter
from vlockstep.program import say, voice, write_line

if TYPE_CHECKING:
    from vlockstep.cli.execution import Ending


def note(text: str) -> None:
    """A line on standard error, for people."""
    say(f"vlockstep: {text}")


def emit(data: Any, file: TextIO | None = None, *, flush: bool = False) -> None:
    """A line of JSON."""
    print(json.dumps(data), file=file, flush=flush)


def clock(seconds: float) -> str:
    """A time since the epoch as a clock here shows it."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def observer(lines: Mapping[str, str], as_json: bool) -> EventWriter:
    """Tells events on standard error, and waits for nobody: each as JSON, or those that
    `lines` has a format for, by their name, as a line for people, with the time."""
    lines = {"dropped": "{count} events are not told here: nobody read what came before", **lines}

    def write_json(event: dict[str, Any]) -> None:
        write_line(json.dumps(event))

    def write_text(event: dict[str, Any]) -> None:
        text = lines.get(event["event"])
        if text is not None:
            write_line(f"vlockstep: {clock(event['time'])} {text.format(**event)}")

    return EventWriter(voice(), write_json if as_json else write_text)


def fields(rows: Iterable[tuple[str, object]], file: TextIO | None = None) -> None:
    """Names and values, a line each."""
    for name, value in rows:
        print(f"{name:<11} {value}", file=file)


def hexdump(address: int, content: bytes) -> str:
    """Lines of 16 bytes, each with its address."""
    rows = range(0, len(content), 16)
    return "\n".join(f"{address + at:16x}  {content[at : at + 16].hex(' ')}" for at in rows)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns: with rules and colours in a terminal; elsewhere plain, and never wrapped."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        pretty = Table(*headers)
        for row in rows:
            pretty.add_row(*map(Text, row))
        Console().print(pretty)
        return
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    for row in (headers, *rows):
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def state(ending: Ending, file: TextIO | None = None) -> None:
    """Where a guest is: registers, digests and, if known, the code around RIP."""
    fields(
        [
            ("registers", ending.registers.digest().hex()),
            ("memory", ending.memory_digest.hex()),
        ],
        file,
    )
    print(f"\n{ending.registers}", file=file)
    if ending.code:
        print(f"\n{ending.code}", file=file)


def abort(ending: Ending) -> None:
    """What there is to say of a guest that did not end well, on standard error."""
    if ending.error:
        note(ending.error.report())
    elif ending.core:
        note(f"core written to {ending.core}")
    elif ending.core_problem:
        note(ending.core_problem)


def exit_status(status: int) -> int:
    """A guest's status as a process's: its low 8 bits, but never 0 for what is not 0."""
    return status & 0xFF or (1 if status else 0)

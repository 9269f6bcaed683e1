"""`vlockstep log diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import OTHER

if TYPE_CHECKING:
    from vlockstep.replay.entry import Entry

_SAME = "there is no entry that differs"
_ALIKE = "no register differs"
_SHORTER = 3
"""The exit status if one log is the beginning of the other."""


def diff(
    ours: Annotated[Path, typer.Argument(metavar="A", help="A log.")],
    theirs: Annotated[Path, typer.Argument(metavar="B", help="Another log of the same guest.")],
    image: options.LogImageOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=OTHER, help="Print the result as JSON.")
    ] = False,
) -> None:
    """Find where two executions of a guest part.

    That is the first entry that is not in both logs, and the instruction that makes it, to which
    both are replayed. The exit status is 0 if the logs hold the same entries, 1 if one differs, and
    3 if none does, but one log ends earlier than the other.
    """
    from vlockstep.debug.difference import part, parting
    from vlockstep.debug.timeline import Timeline, open_recording
    from vlockstep.machine import bundled
    from vlockstep.machine.registers import describe_difference

    found = None if image is None else bundled.open_image(image)

    def side(path: Path) -> Timeline:
        return open_recording(path, found)

    with side(ours) as first, side(theirs) as second:
        sequence = part(first.recording, second.recording)
        if sequence is None:
            counts = first.recording.count, second.recording.count
            begin = max(first.recording.first, second.recording.first)
            if as_json:
                output.emit({"differ": False, "entries": counts[0], "first": begin})
            elif begin:
                print(f"{_SAME}: {begin} to {counts[0] - 1} are in each")
            else:
                print(f"{_SAME}: {counts[0]} in each")
            return
        entries = [side.recording.entry(sequence) for side in (first, second)]
        lines = [_described(entry) for entry in entries if entry is not None]
        if None in entries:
            shorter = entries.index(None)
            logs = (ours, theirs) if shorter == 0 else (theirs, ours)
            begin = max(first.recording.first, second.recording.first)
            _tell_beginning(*logs, begin, sequence, lines[0], as_json)
            raise typer.Exit(_SHORTER)
        place = parting(first, second, sequence)
        if as_json:
            facts: dict[str, Any] = {"differ": True, "entry": sequence, "entries": lines}
            if place is not None:
                registers = place.registers[0].difference(place.registers[1])
                shown = {name: [f"{a:#x}", f"{b:#x}"] for name, (a, b) in registers.items()}
                facts |= {"mark": str(place.mark), "registers": shown, "code": place.code}
            output.emit(facts)
        else:
            print(f"entry {sequence} differs:\n  {ours}: {lines[0]}\n  {theirs}: {lines[1]}\n")
            if place is None:
                print("it is made before the place where one of the logs begins")
            else:
                print(f"they part at {place.mark}\n{place.code}\n")
                told = describe_difference(*place.registers)
                print(f"registers that differ then, A != B:\n{told}" if told else _ALIKE)
    raise typer.Exit(1)


def _tell_beginning(
    shorter: Path, longer: Path, begin: int, end: int, following: str, as_json: bool
) -> None:
    """Of two logs with the same entries up to number `end`, at which one ends."""
    if as_json:
        facts = {"differ": False, "entries": end, "first": begin}
        output.emit(facts | {"shorter": str(shorter), "following": following})
    else:
        has = f"has entries {begin} to {end - 1} of" if begin else f"is the first {end} entries of"
        print(f"{shorter} {has} {longer}, which goes on:\n  {following}")


def _described(entry: Entry) -> str:
    from vlockstep.replay.entry import describe, position

    return f"{position(entry)!s:<18} {describe(entry)}"

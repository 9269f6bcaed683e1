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
    both are replayed. The exit status is 0 if the logs hold the same entries, and 1 if not.
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
        place = parting(first, second, sequence)
        entries = [side.recording.entry(sequence) for side in (first, second)]
        ended, lines = None in entries, [_described(entry) for entry in entries]
        if as_json:
            facts: dict[str, Any] = {"differ": True, "entry": sequence, "entries": lines}
            if place is not None:
                registers = {} if ended else place.registers[0].difference(place.registers[1])
                shown = {name: [f"{a:#x}", f"{b:#x}"] for name, (a, b) in registers.items()}
                facts |= {"mark": str(place.mark), "registers": shown, "code": place.code}
            output.emit(facts)
        else:
            print(f"entry {sequence} differs:\n  {ours}: {lines[0]}\n  {theirs}: {lines[1]}\n")
            if place is None:
                print("it is made before the place where one of the logs begins")
            else:
                print(f"they part at {place.mark}\n{place.code}\n")
            if not ended and place is not None:
                told = describe_difference(*place.registers)
                print(f"registers that differ then, A != B:\n{told}" if told else _ALIKE)
    raise typer.Exit(1)


def _described(entry: Entry | None) -> str:
    from vlockstep.replay.entry import describe, position

    if entry is None:
        return "the log has ended"
    return f"{position(entry)!s:<18} {describe(entry)}"

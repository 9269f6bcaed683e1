"""`vlockstep trace`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import FILES, OTHER, REPLAY
from vlockstep.cli.signals import raised_on_request
from vlockstep.errors import HostError, UsageError
from vlockstep.program.progress import Progress

if TYPE_CHECKING:
    from vlockstep.debug.tracer import Edge, Event, Tracer

_BILLION = 1_000_000_000
_DEEPEST = 40
"""That is shown as such."""
_NO_CLOCK = (
    "the guest never reads its clock: each block and event counts as a nanosecond of its times"
)


def trace(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="A log that `record` wrote.")],
    image: options.LogImageOption = None,
    functions: Annotated[
        list[str] | None,
        typer.Option(
            "--function",
            metavar="NAME",
            rich_help_panel=REPLAY,
            help="Tell only of calls of this function. Repeat it for more.",
            show_default=False,
        ),
    ] = None,
    first: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="PLACE",
            rich_help_panel=REPLAY,
            help="Begin here: exits:N, exits:N+BLOCKS, a mark as `debug` tells it, entry:N, "
            "time:S, console:N, begin, end.",
        ),
    ] = "begin",
    last: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="PLACE",
            rich_help_panel=REPLAY,
            help="End before what is executed there.",
        ),
    ] = "end",
    chrome: Annotated[
        Path | None,
        typer.Option(
            "--chrome",
            metavar="FILE",
            rich_help_panel=FILES,
            help="Write it there, for https://ui.perfetto.dev or chrome://tracing, and print "
            "nothing. It holds what the guest's functions are given.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=OTHER, help="Print lines of JSON.")
    ] = False,
) -> None:
    """Show what a recorded guest does: calls, hypercalls, interrupts, CPU exceptions.

    Calls are those of the functions that the image has symbols for, with the six registers that
    hold arguments, and what they return. Times are those of the guest's own clock since it first
    read that; between two readings each block and event counts as a nanosecond, and so does each
    of a guest that never reads it.
    """
    from vlockstep.debug.calls import functions as find
    from vlockstep.debug.places import parse_place
    from vlockstep.debug.recording import Recording
    from vlockstep.debug.timeline import open_recording
    from vlockstep.debug.tracer import Edge, Tracer
    from vlockstep.machine import bundled
    from vlockstep.supervise.files import refuse_overwriting

    if chrome is not None and as_json:
        raise UsageError("what --chrome writes is JSON already: drop --json")
    if chrome is not None:
        refuse_overwriting(chrome, "trace", [log], ())

    def place(text: str) -> Edge:
        parse_place(text)(timeline)
        return Edge.at(timeline)

    found = None if image is None else bundled.open_image(image)
    with ExitStack() as stack:
        with open_recording(log, found) as timeline:
            wanted = find(timeline.image, functions or ())
            begin = place(first)
            end = None if last == "end" else place(last)
        recording = Recording(log, found)
        stack.callback(recording.close)
        tracer = stack.enter_context(Tracer(recording, wanted, begin, end))
        if chrome is None:
            if not as_json and recording.first_reading() is None:
                output.note(_NO_CLOCK)
            _follow(tracer, _print_json if as_json else _print)
            if not as_json:
                output.note(tracer.ending)
        else:
            count = _write(tracer, chrome, recording.image.name)
            output.note(f"{chrome}: {count} events; {tracer.ending}")


def _write(tracer: Tracer, path: Path, guest: str) -> int:
    """What is there is a whole file, whatever comes between."""
    from vlockstep.debug.chrome import ChromeTrace

    try:
        with path.open("w") as file:
            written = ChromeTrace(file.write, guest)
            try:
                return _follow(tracer, written.add)
            finally:
                written.close()
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from error


def _follow(tracer: Tracer, tell: Callable[[list[Event]], None]) -> int:
    """How many events there are."""
    progress, count = Progress(), 0
    try:
        with raised_on_request() as stop:
            for events in tracer.events():
                stop()
                if events:
                    progress.clear()
                    tell(events)
                count += len(events)
                progress.tell(f"{tracer.sequence} entries replayed, {count} events")
    finally:
        progress.clear()
    return count


def _print_json(events: list[Event]) -> None:
    for event in events:
        facts = {"time_ns": event.time, "position": str(event.position), "kind": event.what.value}
        output.emit(facts | {"name": event.name, "depth": event.depth, **event.details})


def _print(events: list[Event]) -> None:
    from vlockstep.debug.tracer import What

    for event in events:
        details = event.details
        if event.what is What.CALL:
            text = f"{event.name}({', '.join(f'{value:#x}' for value in details.values())})"
        elif event.what is What.RETURN:
            value = details.get("value")
            text = f"{event.name} = {value:#x}" if value is not None else f"{event.name} is left"
        elif event.what is What.EXCEPTION:
            _, *others = details.items()
            facts = [f"{name} {value:#x}" for name, value in others]
            text = f"exception {event.name}: {', '.join(facts)}"
        else:
            shown = [f"{k} {v!r}" if k == "text" else f"{k} {v}" for k, v in details.items()]
            text = f"{event.name}: {', '.join(shown)}"
        indent = "  " * min(event.depth, _DEEPEST)
        seconds = f"{event.time // _BILLION}.{event.time % _BILLION:09}"
        print(f"{seconds:>14}  {event.position!s:<18} {indent}{text}")

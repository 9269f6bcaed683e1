"""`vlockstep replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import FILES, OTHER, REPLAY
from vlockstep.errors import LogError, UsageError
from vlockstep.program.progress import Progress


def replay(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="A log that `record` wrote.")],
    image: options.LogImageOption = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="POSITION",
            rich_help_panel=REPLAY,
            help="Stop exactly at entry:N, exits:N or exits:N+BLOCKS and show the guest there.",
        ),
    ] = None,
    blocks: options.BlockOptions = None,
    console: Annotated[
        str | None,
        typer.Option(
            "--console",
            metavar="PATH",
            rich_help_panel=FILES,
            help="Write the console text to this file; - is stdout.",
        ),
    ] = None,
    dumpcore: Annotated[
        Path | None,
        typer.Option(
            "--dumpcore",
            metavar="DIR",
            rich_help_panel=FILES,
            help="Write a core file for gdb here if the guest aborts or is stopped.",
        ),
    ] = None,
    engine: options.EngineOption = options.AUTO,
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=OTHER, help="Print the result as JSON.")
    ] = False,
) -> None:
    """Replay a recorded execution exactly.

    The guest's state and its outputs are compared with those recorded. Nothing is repeated on the
    host, except in the files of local block devices: give copies. The exit status is 0 if the log
    was replayed as far as it goes, however the guest ended, and 1 if the log is damaged or the
    guest diverged from it.
    """
    from vlockstep.cli import playback
    from vlockstep.replay.keyframes import Passing, begin_near
    from vlockstep.replay.logfile import LogReader
    from vlockstep.replay.replayer import Divergence, Replayer
    from vlockstep.replay.script import Script, new_machine, parse_goal

    goal = None if until is None else parse_goal(until)
    reader = LogReader(log)
    found = playback.find_image(reader, image, engine)
    devices = playback.attach_local(found, reader.config, blocks or [])
    machine = new_machine(found, reader.config, goal, engine)
    machine.core_directory = dumpcore
    begun = None
    if until is not None and console is None and not devices.local:
        begun = begin_near(log, machine, goal)
    if begun is None and reader.first:
        begun = begin_near(log, machine, reader.first)
        if begun is None:
            raise LogError(f"{log} begins with a state that cannot be restored here")
    source = Passing(machine)
    if begun is None:
        first, clock = 0, (0, 0)
        entries = reader.entries(source.meet)
    else:
        reader.go_to(*begun)
        first, clock = begun[0].sequence, begun[0].clock
        entries = reader.entries()
    script = source.script = Script(entries, machine, goal, first)
    files = [log, *(disk.path for disk in devices.disks.values())]
    world = Replayer(
        source,
        machine,
        sequence=first,
        clock=clock,
        local={handle: devices.disks[handle] for handle in devices.local},
        suppressed=playback.console_printer(console, files),
    )
    progress = Progress()

    def tick() -> None:
        if console != options.STDOUT:
            progress.tell(f"{script.taken} entries replayed and verified")

    try:
        ending = playback.follow(reader, entries, machine, world, tick)
    except Divergence as error:
        output.note(error.report())
        raise typer.Exit(error.exit_status) from error
    except LogError as error:
        raise LogError(f"{error}; replayed and verified before it: {script.taken}") from error
    finally:
        progress.clear()
    if reader.truncated is not None:
        output.note(
            f"warning: {log} is cut off: the batch at offset {reader.truncated} is incomplete; "
            "replayed as far as it goes"
        )
    if until is not None and ending.end != "until":
        raise UsageError(f"{until} is not in {log}: {ending}, after {script.taken} entries")
    out = sys.stderr if console == options.STDOUT else sys.stdout
    if as_json:
        facts = {"log": str(log), "image": found.name, "image_digest": found.digest}
        counts: dict[str, object] = {"entries": script.taken, "first": first}
        counts |= {"keyframes": source.passed, "truncated_at": reader.truncated}
        output.emit(facts | counts | ending.to_dict(), out)
        return
    verified = f"{script.taken - first} replayed and verified"
    if begun is not None:
        verified += f", from the keyframe before entry {first} on"
    if source.passed:
        verified += f", and {source.passed} keyframes"
    rows: list[tuple[str, object]] = [("image", found.name), ("entries", verified), ("end", ending)]
    if ending.core or (ending.core_problem and not ending.error):  # which tells it itself
        rows.append(("core", ending.core or ending.core_problem))
    output.fields(rows, out)
    output.state(ending, out)

"""`vlockstep debug`."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread, Timer
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import GDB
from vlockstep.errors import HostError, UsageError

if TYPE_CHECKING:
    from vlockstep.debug.server import Server
    from vlockstep.debug.timeline import Timeline

_MAX_PORT = 65_535
_LONGEST_REPORT = 1 << 20
_COMPUTES = 1.0
"""Seconds for which a guest is followed that makes no entry any more."""
_PATIENCE = 5.0
"""Seconds for gdb to end when it has nothing to talk to any more."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def debug(
    log: Annotated[
        Path | None,
        typer.Argument(metavar="[LOG]", help="A log that `record` wrote.", show_default=False),
    ] = None,
    image: options.LogImageOption = None,
    live: Annotated[
        str | None,
        typer.Option(
            "--live",
            metavar="NAME",
            rich_help_panel=GDB,
            help="Instead of a LOG, a guest whose replica here has that name, as it is now; with "
            "its last minutes, if it was started with --on-error record. It goes on all the while.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="N",
            min=0,
            max=_MAX_PORT,
            rich_help_panel=GDB,
            help="Start no gdb, but wait for one at this port of this host, to which any of its "
            "users may come; 0 is any that is free.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(
            "--batch",
            metavar="FILE",
            rich_help_panel=GDB,
            help="Let gdb carry out the commands in this file, and leave.",
            show_default=False,
        ),
    ] = None,
    divergence: Annotated[
        Path | None,
        typer.Option(
            "--divergence",
            metavar="REPORT",
            rich_help_panel=GDB,
            help="Begin where a replica of this guest diverged, and tell how: a file with what it "
            "said then, as text or as JSON. LOG is that of its primary.",
            show_default=False,
        ),
    ] = None,
    run_directory: options.RunDirectoryOption = None,
) -> None:
    """Debug a recorded execution with gdb, forwards and backwards.

    gdb comes with the image's symbols, at the beginning of the recording, or where it ends if that
    is an error of the guest. All that goes forwards
    there has a counterpart: reverse-step, reverse-next, reverse-finish, reverse-continue. Further
    commands: when, seek, entries, console, checkpoint, checkpoints, back, forward, who-wrote,
    why-ended; `help seek` tells more. Nothing can be changed. The exit status is 1 if that of gdb
    is not 0.
    """
    from vlockstep.debug import gdb
    from vlockstep.debug.commands import Commands
    from vlockstep.debug.diverged import examine, parse_report
    from vlockstep.debug.server import Server
    from vlockstep.debug.timeline import open_recording
    from vlockstep.machine import bundled

    if (log is None) == (live is None):
        raise UsageError("name a LOG, or --live NAME, and not both")
    if port is not None and batch is not None:
        raise UsageError("--batch is for a gdb that is started, which --port is not")
    if batch is not None and not batch.is_file():
        raise UsageError(f"--batch {batch} is no file")
    program = gdb.find()
    if port is None and program is None:
        raise HostError("gdb is not installed: install it, or use --port and another client")
    found = None if image is None else bundled.open_image(image)
    report = None if divergence is None else parse_report(_read(divergence))
    with ExitStack() as stack:
        if live is not None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="vlockstep-")))
            log = _copy(live, run_directory, folder)
        assert log is not None
        timeline = stack.enter_context(open_recording(log, found))
        if report is not None:
            output.note(examine(timeline, report))
        elif live is not None:
            output.note(_go_to_now(timeline).rstrip())
        elif timeline.recording.failed:
            output.note(Commands(timeline).carry_out("why-ended").rstrip())
        if port is None and program is not None:
            status = _with_gdb(program, timeline, batch)
        else:
            with closing(Server(port or 0)) as server:
                status = _waiting(timeline, server)
    if status:
        raise typer.Exit(1)


def _go_to_now(timeline: Timeline) -> str:
    """To where a guest that runs was when it was copied; what there is to see. One that computes
    has no end: what it does without asking for anything is known."""
    from vlockstep.debug.commands import Commands
    from vlockstep.debug.player import Interrupted

    commands, recording = Commands(timeline), timeline.recording
    with suppress(UsageError):  # it may be made where the recording begins, or before
        timeline.seek(recording.count - 1)
    patience = Timer(_COMPUTES, timeline.interrupt)
    patience.start()
    try:
        timeline.to_end()
        ends = True
    except Interrupted:
        ends = False
    finally:
        patience.cancel()
        patience.join()
        timeline.forget_interrupt()
    if ends:
        return commands.carry_out("why-ended")
    told = "from here on the guest computes, and asks for nothing: `continue` follows it"
    return f"{told}\n{commands.carry_out('when')}"


def _copy(name: str, directory: Path | None, folder: Path) -> Path:
    """The last minutes of a guest that runs."""
    from vlockstep.cli.running import connect
    from vlockstep.program.progress import Progress
    from vlockstep.supervise.liverecording import NOT_KEPT

    path, progress = folder / f"{name}.vlog", Progress()
    with closing(connect(directory, name)) as guest:
        try:
            guest.request("recording", progress.tell, path=str(path))
        except HostError as error:
            if NOT_KEPT in str(error):
                raise HostError(
                    f"{error}: ask a secondary, or start it with --on-error record"
                ) from error
            raise
        finally:
            progress.clear()
    return path


def _read(path: Path) -> str:
    try:
        with path.open(errors="replace") as file:
            return file.read(_LONGEST_REPORT)
    except OSError as error:
        raise UsageError(f"cannot read the report {path}: {error.strerror}") from error


def _with_gdb(program: str, timeline: Timeline, batch: Path | None) -> int:
    """gdb's exit status. It gets Ctrl-C itself, but in a batch, which a signal ends."""
    from vlockstep.debug import gdb
    from vlockstep.debug.server import Server

    with (
        TemporaryDirectory(prefix="vlockstep-") as name,
        closing(Server(Path(name) / "gdb")) as server,
    ):
        directory = Path(name)
        image = directory / f"{Path(timeline.image.name).stem}.hvt"
        image.write_bytes(timeline.image.content)
        words = gdb.command_line(program, image, server.address, directory, batch)
        before = {each: signal.signal(each, lambda *_: server.stop()) for each in _SIGNALS}
        try:
            process = subprocess.Popen(words, start_new_session=batch is not None)
            if batch is None:
                signal.signal(signal.SIGINT, lambda *_: server.interrupt_command())
            watcher = Thread(target=_stop_behind, args=(process, server), daemon=True)
            watcher.start()
            while server.serve(timeline):
                pass
            if batch is None:  # it would stay at its prompt; of SIGTERM its Python complains
                process.send_signal(signal.SIGHUP)
            watcher.join(_PATIENCE)
            if watcher.is_alive():
                process.kill()
                watcher.join()
        finally:
            _restore(before)
    return process.returncode


def _stop_behind(process: subprocess.Popen[bytes], server: Server) -> None:
    process.wait()
    server.stop()


def _waiting(timeline: Timeline, server: Server) -> int:
    """For one gdb, or a signal."""

    def leave(*_: object) -> None:
        server.stop()

    before = {each: signal.signal(each, leave) for each in _SIGNALS}
    output.note(
        f"waiting for gdb: gdb -ex 'target remote {server.address}', and before that "
        f"`file` with the path of {timeline.image.name} for symbols; `monitor help` tells more"
    )
    try:
        server.serve(timeline)
    finally:
        _restore(before)
    return 0


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for each, handler in handlers.items():
        signal.signal(each, handler)

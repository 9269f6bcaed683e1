"""`vlockstep record`."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import FILES, OTHER
from vlockstep.errors import UsageError

if TYPE_CHECKING:
    from vlockstep.replay.entry import Entry
    from vlockstep.replay.keyframe import Keyframe
    from vlockstep.replay.keyframes import Counting, KeyframeMaker
    from vlockstep.replay.logfile import LogWriter

_SOON, _LATE = 0.5, 5.0
"""Seconds after which a keyframe that is due is made wherever the guest is visited, and after which
it is seen to it that it can be."""


class LogInProgress:
    """A log that the guest's thread appends to while the main thread sees to it that it gets to
    the file: from time to time, and in the end. `maker` makes a keyframe every `interval` seconds,
    if it is set."""

    def __init__(self, writer: LogWriter, interval: float | None) -> None:
        self.entries = self.keyframes = 0
        self.maker: KeyframeMaker | None = None
        self._writer = writer
        self._lock = threading.Lock()
        self._interval = interval
        self._next = time.monotonic() + (interval or 0)
        self._due = False
        self._counting: Counting | None = None

    @property
    def bytes(self) -> int:
        """In the file."""
        return self._writer.written

    def append(self, entry: Entry) -> None:
        with self._lock:
            if self._due:
                self._keep_state(entry)
            self._writer.append(entry)
            self.entries += 1

    def flush(self) -> None:
        with self._lock:
            self._writer.flush()
        late = time.monotonic() - self._next
        self._due = self._interval is not None and late >= 0
        if self._due and self.maker is not None:
            if late >= _SOON:
                self.maker.machine.visit(self._come)
            if late >= _LATE:
                self._counted.missed()

    @property
    def _counted(self) -> Counting:
        from vlockstep.replay.keyframes import Counting

        assert self.maker is not None
        self._counting = self._counting or Counting(self.maker.machine)
        return self._counting

    def _come(self) -> None:
        """The guest is visited, between two entries."""
        with self._lock:
            if self._due and self.maker is not None:
                self._keep(self.maker.here(self.entries), at_entry=False)

    def _keep_state(self, entry: Entry) -> None:
        assert self.maker is not None
        self._keep(self.maker.before(entry, self.entries), at_entry=True)

    def _keep(self, keyframe: Keyframe | None, at_entry: bool) -> None:
        if keyframe is not None:
            assert self._interval is not None
            self._writer.keyframe(keyframe)
            self.keyframes += 1
            self._due = False
            self._next = time.monotonic() + self._interval
            self._counted.found(at_entry)

    def seal(self) -> None:
        """Complete the file. A guest that still executes gets no further than its next entry."""
        self._lock.acquire()
        self._writer.close()


def record(
    ctx: typer.Context,
    image: options.ImageArgument,
    log: Annotated[
        Path,
        typer.Option(
            "--log",
            "-o",
            metavar="FILE",
            rich_help_panel=FILES,
            help="The log to write. It holds the guest's secrets; a new one is private.",
            show_default=False,
        ),
    ],
    arguments: options.GuestArguments = None,
    memory: options.MemoryOption = options.DEFAULT_MEMORY_MB,
    blocks: options.BlockOptions = None,
    block_sizes: options.BlockSizeOptions = None,
    nets: options.NetOptions = None,
    macs: options.MacOptions = None,
    keys: options.SwitchKeysOption = None,
    console: options.ConsoleOption = options.STDOUT,
    cpu: options.CpuOption = options.DEFAULT_CPU,
    cpu_limit: options.CpuLimitOption = None,
    engine: options.EngineOption = options.AUTO,
    dumpcore: options.DumpcoreOption = None,
    every: Annotated[
        str,
        typer.Option(
            "--keyframes",
            metavar="SECONDS",
            rich_help_panel=FILES,
            help="Keep the guest's state in the log every so often, so that `replay --until` need "
            "not begin at boot; or off.",
        ),
    ] = options.OFF,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", rich_help_panel=OTHER, help="Print the summary, on stderr, as JSON."
        ),
    ] = False,
) -> None:
    """Run a guest and record its execution.

    The exit status is the guest's, and 1 after a guest error. A recording that is interrupted
    leaves a log that can be replayed as far as it goes.
    """
    from vlockstep.cli.execution import execute
    from vlockstep.host.live import LiveWorld
    from vlockstep.machine import engines
    from vlockstep.machine.basis import basis
    from vlockstep.machine.machine import Machine
    from vlockstep.replay.keyframes import KeyframeMaker
    from vlockstep.replay.logfile import LogWriter
    from vlockstep.replay.recorder import Recorder
    from vlockstep.supervise import parts
    from vlockstep.supervise.files import open_empty_console, reserve_log
    from vlockstep.supervise.specfile import naming

    spec = options.replica_spec(ctx, None)
    interval = options.seconds_or_off("keyframes", every)
    with naming(spec.source, spec.elsewhere):
        if spec.role is not None:
            raise UsageError("a recording is of a guest that is no replica", key=("role",))
        with options.progress_of_disks() as tell:
            guest = parts.open_guest(spec, parts.load_keys(spec), tell=tell)
        assert guest.config is not None
        machine = Machine(guest.image, guest.config, engine=spec.engine)
        machine.core_directory = spec.cores
        reserve_log(log, guest.files)
        output_file = open_empty_console(spec.console, (*guest.files, log))
        world = LiveWorld(output_file, guest.devices.disks, guest.nics)
        processor = engines.processor(machine.engine_name)
        progress = LogInProgress(
            LogWriter(log, guest.config, guest.image.path, basis=basis(processor)), interval
        )
        recorder = Recorder(world, machine, progress.append, guest.devices.local)
        if interval is not None:
            progress.maker = KeyframeMaker(machine, world, recorder)
    start = time.monotonic()
    ending = None
    try:
        ending = execute(machine, recorder, progress.flush)
    finally:
        progress.seal()
        seconds = time.monotonic() - start
        summary = {
            "log": str(log),
            "entries": progress.entries,
            "bytes": progress.bytes,
            "seconds": round(seconds, 3),
            "keyframes": progress.keyframes,
        }
        if as_json:
            output.emit(summary | (ending.to_dict() if ending else {"end": None}), sys.stderr)
        else:
            if ending:
                output.abort(ending)
            output.note(
                f"{log}: {summary['entries']} entries in {summary['bytes']} bytes and "
                f"{seconds:.2f} s; {ending or 'the guest had not ended'}"
            )
    raise typer.Exit(output.exit_status(ending.status or 0))

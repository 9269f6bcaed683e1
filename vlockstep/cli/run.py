"""`vlockstep run`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import FILES
from vlockstep.errors import Left, UsageError

if TYPE_CHECKING:
    from vlockstep.cli.execution import Ending
    from vlockstep.host.eventwriter import EventWriter
    from vlockstep.host.live import LiveWorld
    from vlockstep.machine.machine import Machine
    from vlockstep.machine.world import World
    from vlockstep.replay.lastlog import LastLog
    from vlockstep.supervise.control import Told
    from vlockstep.supervise.origin import Origin
    from vlockstep.supervise.spec import ReplicaSpec

    Tell = Callable[[str], None]

_RECORD = "record"


def run(
    ctx: typer.Context,
    image: options.ImageArgument,
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
    on_error: Annotated[
        str | None,
        typer.Option(
            "--on-error",
            metavar="record",
            rich_help_panel=FILES,
            help="If the guest fails or aborts, leave a recording of its last minutes here, "
            "NAME-TIME.vlog, for `vlockstep debug`. Once a minute its memory is saved meanwhile.",
            show_default=False,
        ),
    ] = None,
    name: options.NameOption = None,
    run_directory: options.RunDirectoryOption = None,
    as_json: options.EndJsonOption = False,
) -> None:
    """Run a guest. The exit status is the guest's, and 1 after a guest error.

    A file NAME.toml may say that it is a replica; then it runs as `primary` or `secondary` would
    run it.
    """
    from vlockstep.supervise.specfile import naming

    if on_error not in (None, _RECORD):
        raise UsageError(f"--on-error knows only {_RECORD}, not {on_error!r}")
    spec = options.replica_spec(ctx, None)
    if on_error and spec.role is not None:
        raise UsageError("--on-error is for a guest that is no replica")
    if on_error and any(disk.local for disk in spec.disks):
        raise UsageError("--on-error cannot record what is read from a local disk")
    if spec.role is not None:
        from vlockstep.cli.pair import replicate

        replicate(spec, as_json)
    from vlockstep.supervise.origin import boot

    with naming(spec.source, spec.elsewhere):
        if spec.log is not None:
            raise UsageError("a guest that only runs keeps no log: record it", key=("log",))
        run_guest(spec, as_json, lambda tell: boot(spec, tell), recorded=on_error is not None)


def run_guest(
    spec: ReplicaSpec,
    as_json: bool,
    begin: Callable[[Tell], Origin],
    append: bool = False,
    recorded: bool = False,
) -> NoReturn:
    """Run what `begin` opens, to its end. Text goes on in the console file with `append`, and
    otherwise replaces what was there. If it fails and is `recorded`, a log of it remains."""
    from vlockstep.cli.execution import Interruptions, execute
    from vlockstep.host.devices import ConsoleFile
    from vlockstep.host.live import LiveWorld
    from vlockstep.supervise.files import open_console, open_empty_console
    from vlockstep.supervise.origin import LiveGuest
    from vlockstep.supervise.running import control_socket
    from vlockstep.supervise.unprotected import Later, UnprotectedCommands

    with control_socket(spec) as control:
        with options.progress_of_disks() as tell:
            origin = begin(tell)
        guest, machine = origin.guest, origin.machine
        machine.core_directory = spec.cores
        open_text = open_console if append else open_empty_console
        sharers = f"{origin.identity} console" if origin.identity else ""
        console = open_text(spec.console, (*guest.files, *origin.files), sharers)
        offset = console.size if isinstance(console, ConsoleFile) else 0
        world = LiveWorld(
            console,
            guest.devices.disks,
            guest.nics,
            start=origin.start,
            console_offset=offset,
            pause=machine.let_in,
        )
        files = guest.files if spec.console is None else (*guest.files, spec.console)
        before = origin.console - offset
        live = LiveGuest(
            control.name,
            guest,
            machine,
            world,
            origin.generation,
            before,
            files,
            console,
            origin.identity,
        )
        events = Interruptions()
        commands = UnprotectedCommands(live, spec, _teller(control.observe), events.put)
        control.serve(commands.by_name(), commands.close)
        control.observe(Later("started", lambda told: told.Started()))
        if origin.generation:
            for nic in guest.nics.values():
                nic.announce()
        last = _last_log(control.name, machine, world) if recorded else None
        through = world if last is None else last.recorder
        tick = (lambda: None) if last is None else last.flush
        try:
            with last or nullcontext():
                ending = execute(machine, through, tick, events)
                _keep(last, machine, through)
        except Left as error:
            why = str(error)
            control.observe(Later("left", lambda told: told.Left(why)))
            raise
        except (KeyboardInterrupt, SystemExit):
            commands.leave("this process was asked to end")
            raise
        commands.finish(ending.error or machine.outcome)
        control.observe(Later("finished", partial(_finished, ending)))
    if as_json:
        output.emit(ending.to_dict(), sys.stderr)
    else:
        output.abort(ending)
    raise typer.Exit(output.exit_status(ending.status or 0))


def _last_log(name: str, machine: Machine, world: LiveWorld) -> LastLog:
    from vlockstep.machine import engines
    from vlockstep.machine.basis import basis
    from vlockstep.replay.lastlog import LastLog

    path = Path(f"{name}-{time.strftime('%Y%m%dT%H%M%S')}.vlog")
    return LastLog(path, machine, world, basis(engines.processor(machine.engine_name)))


def _keep(last: LastLog | None, machine: Machine, world: World) -> None:
    """The log of a guest that failed, unless it has got replicas meanwhile."""
    outcome = machine.outcome
    failed = outcome is not None and (outcome.reason or outcome.aborted)
    if last is None or machine.world is not world or not failed:
        return
    if last.keep():
        output.note(f"what led to this was recorded: vlockstep debug {last.path}")
    else:
        output.note(f"what led to this was not recorded: {last.problem}")


def _teller(observe: Callable[[Told], None]) -> Callable[[Told], None]:
    """What befalls a guest that gets replicas is told as it is of a primary's."""
    from vlockstep.supervise.texts import EVENTS

    texts = {name: text for name, text in EVENTS.items() if name not in ("started", "finished")}
    shown: list[EventWriter] = []

    def tell(event: Told) -> None:
        observe(event)
        if event.name in texts:
            if not shown:
                shown.append(output.observer(texts, False))
            shown[0].observe(event.to_dict())

    return tell


def _finished(ending: Ending, told: ModuleType) -> Any:
    return told.Finished(
        1 if ending.status is None else ending.status,
        ending.error.reason if ending.error else "",
        ending.position,
        ending.registers,
        ending.memory_digest,
    )

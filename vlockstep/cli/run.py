"""`vlockstep run`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from vlockstep.cli import options, output
from vlockstep.errors import Left, UsageError, VlockstepError

if TYPE_CHECKING:
    from vlockstep.cli.execution import Ending
    from vlockstep.ft.lastminutes import LastMinutesAlone
    from vlockstep.host.eventwriter import EventWriter
    from vlockstep.host.live import LiveWorld
    from vlockstep.machine.machine import Machine
    from vlockstep.supervise.control import Told
    from vlockstep.supervise.origin import Origin
    from vlockstep.supervise.spec import ReplicaSpec

    Tell = Callable[[str], None]


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
    on_error: options.OnErrorOption = None,
    name: options.NameOption = None,
    run_directory: options.RunDirectoryOption = None,
    as_json: options.EndJsonOption = False,
) -> None:
    """Run a guest. The exit status is the guest's, and 1 after a guest error.

    A file NAME.toml may say that it is a replica; then it runs as `primary` or `secondary` would
    run it.
    """
    from vlockstep.supervise.specfile import naming

    spec = options.replica_spec(ctx, None)
    if spec.role is not None:
        from vlockstep.cli.pair import replicate

        replicate(spec, as_json)
    from vlockstep.supervise.origin import boot

    with naming(spec.source, spec.elsewhere):
        if spec.log is not None:
            raise UsageError("a guest that only runs keeps no log: record it", key=("log",))
        run_guest(spec, as_json, lambda tell: boot(spec, tell))


def run_guest(
    spec: ReplicaSpec,
    as_json: bool,
    begin: Callable[[Tell], Origin],
    append: bool = False,
    booted: bool = True,
) -> NoReturn:
    """Run what `begin` opens, to its end. Text goes on in the console file with `append`, and
    otherwise replaces what was there. If it fails a log of it may remain; that of a guest that was
    not `booted` begins with entry 1, or a later one."""
    from vlockstep.cli.execution import Interruptions, execute
    from vlockstep.ft.lastminutes import has_failed
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
        recorded = spec.on_error is not None
        last = _last_log(control.name, machine, world, 0 if booted else 1) if recorded else None
        commands = UnprotectedCommands(live, spec, _teller(control.observe), events.put, last)
        control.serve(commands.by_name(), commands.close)
        control.observe(Later("started", lambda told: told.Started()))
        if origin.generation:
            for nic in guest.nics.values():
                nic.announce()
        through = world if last is None else last.recorder

        def tick() -> None:
            if last is not None:
                if commands.protected and machine.world is not through:
                    last.leave()
                last.flush()

        ending: Ending | None = None
        try:
            try:
                ending = execute(machine, through, tick, events)
            finally:
                if last is not None:
                    tick()
                    end = machine.outcome if ending is None else ending.error or machine.outcome
                    last.end(has_failed(end))
        except Left as error:
            why = str(error)
            control.observe(Later("left", lambda told: told.Left(why)))
            raise
        except (KeyboardInterrupt, SystemExit):
            asked = "this process was asked to end"
            commands.leave(asked)
            control.observe(Later("left", lambda told: told.Left(asked)))
            raise
        except VlockstepError as error:
            failure = str(error)
            control.observe(Later("stopped", lambda told: told.Stopped(failure)))
            raise
        commands.finish(ending.error or machine.outcome)
        control.observe(Later("finished", partial(_finished, ending)))
    if as_json:
        output.emit(ending.to_dict(), sys.stderr)
    else:
        output.abort(ending)
    raise typer.Exit(output.exit_status(ending.status or 0))


def _last_log(name: str, machine: Machine, world: LiveWorld, next: int) -> LastMinutesAlone:
    from vlockstep.ft.lastminutes import LastMinutesAlone, new_path
    from vlockstep.host.background import BackgroundThread
    from vlockstep.machine import engines
    from vlockstep.machine.basis import basis

    described = basis(engines.processor(machine.engine_name))
    path = new_path(name)
    return LastMinutesAlone(
        path, machine, world, BackgroundThread, output.note, described, next=next
    )


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

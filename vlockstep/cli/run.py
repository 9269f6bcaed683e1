"""`vlockstep run`."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import OTHER
from vlockstep.errors import Left, UsageError

if TYPE_CHECKING:
    from vlockstep.cli.execution import Ending
    from vlockstep.supervise.spec import ReplicaSpec


def run(
    ctx: typer.Context,
    image: options.ImageArgument,
    arguments: options.GuestArguments = None,
    memory: options.MemoryOption = options.DEFAULT_MEMORY_MB,
    blocks: options.BlockOptions = None,
    nets: options.NetOptions = None,
    macs: options.MacOptions = None,
    keys: options.SwitchKeysOption = None,
    console: options.ConsoleOption = options.STDOUT,
    cpu: options.CpuOption = options.DEFAULT_CPU,
    cpu_limit: options.CpuLimitOption = None,
    dumpcore: options.DumpcoreOption = None,
    name: options.NameOption = None,
    run_directory: options.RunDirectoryOption = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", rich_help_panel=OTHER, help="Tell how the guest ended as JSON on stderr."
        ),
    ] = False,
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
    with naming(spec.source, spec.elsewhere):
        if spec.log is not None:
            raise UsageError("a guest that only runs keeps no log: record it", key=("log",))
        _run(spec, as_json)


def _run(spec: ReplicaSpec, as_json: bool) -> None:
    from vlockstep.cli.execution import Interruptions, execute
    from vlockstep.host.live import LiveWorld
    from vlockstep.machine.machine import Machine
    from vlockstep.supervise import parts
    from vlockstep.supervise.files import open_empty_console
    from vlockstep.supervise.running import control_socket
    from vlockstep.supervise.unprotected import Later, UnprotectedCommands

    with control_socket(spec) as control:
        with options.progress_of_disks() as tell:
            guest = parts.open_guest(spec, parts.load_keys(spec), tell=tell)
        assert guest.config is not None
        machine = Machine(guest.image, guest.config)
        machine.core_directory = spec.cores
        console = open_empty_console(spec.console, guest.files)
        events = Interruptions()
        commands = UnprotectedCommands(guest, machine, lambda why: events.put(Left(why)))
        control.serve(commands.by_name())
        control.observe(Later("started", lambda told: told.Started()))
        world = LiveWorld(console, guest.devices.disks, guest.nics)
        try:
            ending = execute(machine, world, events=events)
        except Left as error:
            why = str(error)
            control.observe(Later("left", lambda told: told.Left(why)))
            raise
        control.observe(Later("finished", partial(_finished, ending)))
    if as_json:
        output.emit(ending.to_dict(), sys.stderr)
    else:
        output.abort(ending)
    raise typer.Exit(output.exit_status(ending.status or 0))


def _finished(ending: Ending, told: ModuleType) -> Any:
    return told.Finished(
        1 if ending.status is None else ending.status,
        ending.error.reason if ending.error else "",
        ending.position,
        ending.registers,
        ending.memory_digest,
    )

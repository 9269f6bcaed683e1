"""`vlockstep run`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import OTHER
from vlockstep.errors import UsageError

if TYPE_CHECKING:
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
    dumpcore: options.DumpcoreOption = None,
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
    with naming(spec.source):
        if spec.log is not None:
            raise UsageError("a guest that only runs keeps no log: record it", key=("log",))
        _run(spec, as_json)


def _run(spec: ReplicaSpec, as_json: bool) -> None:
    from vlockstep.cli.execution import execute
    from vlockstep.host.live import LiveWorld
    from vlockstep.machine.machine import Machine
    from vlockstep.supervise import parts
    from vlockstep.supervise.files import open_empty_console

    with options.progress_of_disks() as tell:
        guest = parts.open_guest(spec, parts.load_keys(spec), tell=tell)
    assert guest.config is not None
    machine = Machine(guest.image, guest.config)
    machine.core_directory = spec.cores
    console = open_empty_console(spec.console, guest.files)
    ending = execute(machine, LiveWorld(console, guest.devices.disks, guest.nics))
    if as_json:
        output.emit(ending.to_dict(), sys.stderr)
    else:
        output.abort(ending)
    raise typer.Exit(output.exit_status(ending.status or 0))

"""`vlockstep run`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import OTHER


def run(
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
    """Run a guest. The exit status is the guest's, and 1 after a guest error."""
    from vlockstep.cli.execution import execute
    from vlockstep.host.live import LiveWorld
    from vlockstep.machine.machine import Machine

    network = options.unprotected(nets, macs, keys)
    guest = options.open_guest(image, arguments, memory, cpu, blocks, network)
    attached = guest.attached
    machine = Machine(guest.image, guest.config)
    machine.core_directory = dumpcore
    output_file = options.open_console(console, guest.files)
    world = LiveWorld(output_file, attached.devices.disks, attached.nics)
    ending = execute(machine, world)
    if as_json:
        output.emit(ending.to_dict(), sys.stderr)
    else:
        output.abort(ending)
    raise typer.Exit(output.exit_status(ending.status or 0))

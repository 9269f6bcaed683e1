"""`vlockstep run`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vlockstep.cli import options, output


def run(
    image: options.ImageArgument,
    arguments: options.GuestArguments = None,
    memory: options.MemoryOption = options.DEFAULT_MEMORY_MB,
    blocks: options.BlockOptions = None,
    console: options.ConsoleOption = options.STDOUT,
    cpu: options.CpuOption = options.DEFAULT_CPU,
    dumpcore: options.DumpcoreOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Tell how the guest ended as JSON on stderr.")
    ] = False,
) -> None:
    """Run a guest. The exit status is the guest's, and 1 after a guest error."""
    from vlockstep.cli.execution import LiveWitness, execute
    from vlockstep.machine.machine import Machine

    guest = options.open_guest(image, arguments, memory, cpu, blocks)
    machine = Machine(guest.image, guest.config)
    machine.core_directory = dumpcore
    world = LiveWitness(options.open_console(console, guest.files), guest.devices.disks)
    ending = execute(machine, world, world)
    if as_json:
        output.emit(ending.to_dict(), sys.stderr)
    else:
        output.abort(ending)
    raise typer.Exit(output.exit_status(ending))

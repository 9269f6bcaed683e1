"""`vlockstep primary`, `vlockstep secondary` and `vlockstep switchover`."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from vlockstep.cli import hints, options, output, pairoptions
from vlockstep.cli.command import OTHER, PAIR
from vlockstep.errors import VlockstepError

if TYPE_CHECKING:
    from vlockstep.ft.events import Event
    from vlockstep.ft.process import Process
    from vlockstep.host.eventwriter import EventWriter
    from vlockstep.supervise.spec import ReplicaSpec

MAX_SECONDARIES = 7
DEFAULT_ENDPOINT = "tcp://127.0.0.1:7700"


def primary(
    ctx: typer.Context,
    image: options.ImageArgument,
    arbiter: pairoptions.ArbiterOption = None,
    arguments: options.GuestArguments = None,
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="ENDPOINT",
            rich_help_panel=PAIR,
            help="tcp://HOST:PORT or ipc://PATH.",
        ),
    ] = DEFAULT_ENDPOINT,
    secondaries: Annotated[
        int,
        typer.Option(
            "--secondaries",
            min=0,
            max=MAX_SECONDARIES,
            metavar="N",
            rich_help_panel=PAIR,
            help="How many secondaries to wait for; with 0 the guest starts at once, and others "
            "may join.",
        ),
    ] = 1,
    lease: Annotated[
        int,
        typer.Option(
            "--lease",
            min=0,
            max=pairoptions.HOUR_MS,
            metavar="MS",
            rich_help_panel=PAIR,
            help="Be silent when the arbiter was not reached for so long: then the guest can be "
            "started elsewhere. 0: go on.",
        ),
    ] = 0,
    keys: pairoptions.KeysOption = None,
    memory: options.MemoryOption = options.DEFAULT_MEMORY_MB,
    blocks: options.BlockOptions = None,
    block_sizes: options.BlockSizeOptions = None,
    nets: options.NetOptions = None,
    macs: options.MacOptions = None,
    console: pairoptions.SharedConsoleOption = options.STDOUT,
    log: pairoptions.LogOption = None,
    keyframes: pairoptions.KeyframesOption = options.OFF,
    on_error: options.OnErrorOption = None,
    cpu: options.CpuOption = options.DEFAULT_CPU,
    cpu_limit: options.CpuLimitOption = None,
    engine: options.EngineOption = options.AUTO,
    heartbeat: pairoptions.HeartbeatOption = 50,
    misses: pairoptions.MissesOption = 5,
    max_lag: pairoptions.LagOption = 100,
    max_log: pairoptions.LogLimitOption = 64,
    wait: pairoptions.WaitOption = 30,
    max_pause: pairoptions.MaxPauseOption = 5,
    max_bandwidth: pairoptions.BandwidthOption = 0,
    respawn: pairoptions.RespawnOption = None,
    hold: pairoptions.HoldOption = False,
    crash_at: pairoptions.CrashOption = None,
    pause_at: pairoptions.PauseOption = None,
    stop_at: pairoptions.StopOption = None,
    diverge_at: pairoptions.DivergeOption = None,
    dumpcore: options.DumpcoreOption = None,
    name: options.NameOption = None,
    run_directory: options.RunDirectoryOption = None,
    as_json: pairoptions.JsonOption = False,
) -> None:
    """Run a guest protected by secondaries: it goes on if this process or its machine dies.

    Waits for them first. If the guest has run before with a lease, and has not ended, it is started
    again when that has run out. The exit status is the guest's.
    """
    replicate(options.replica_spec(ctx, "primary"), as_json)


def secondary(
    ctx: typer.Context,
    image: options.ImageArgument,
    arbiter: pairoptions.ArbiterOption = None,
    connect: Annotated[
        str,
        typer.Option(
            "--connect",
            "--join",
            metavar="ENDPOINT",
            rich_help_panel=PAIR,
            help="Where the primary listens.",
        ),
    ] = DEFAULT_ENDPOINT,
    reached_at: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="ENDPOINT",
            rich_help_panel=PAIR,
            help="Where other secondaries reach this one, if there are several.",
        ),
    ] = None,
    keys: pairoptions.KeysOption = None,
    blocks: options.BlockOptions = None,
    nets: options.NetOptions = None,
    macs: options.MacOptions = None,
    console: pairoptions.SharedConsoleOption = options.STDOUT,
    log: pairoptions.LogOption = None,
    keyframes: pairoptions.KeyframesOption = options.OFF,
    on_error: options.OnErrorOption = None,
    cpu_limit: options.CpuLimitOption = None,
    engine: options.EngineOption = options.AUTO,
    heartbeat: pairoptions.HeartbeatOption = 50,
    misses: pairoptions.MissesOption = 5,
    max_lag: pairoptions.LagOption = 100,
    max_log: pairoptions.LogLimitOption = 64,
    wait: pairoptions.WaitOption = 30,
    max_pause: pairoptions.MaxPauseOption = 5,
    max_bandwidth: pairoptions.BandwidthOption = 0,
    respawn: pairoptions.RespawnOption = None,
    hold: pairoptions.HoldOption = False,
    crash_at: pairoptions.CrashOption = None,
    pause_at: pairoptions.PauseOption = None,
    stop_at: pairoptions.StopOption = None,
    diverge_at: pairoptions.DivergeOption = None,
    dumpcore: options.DumpcoreOption = None,
    name: options.NameOption = None,
    run_directory: options.RunDirectoryOption = None,
    as_json: pairoptions.JsonOption = False,
) -> None:
    """Follow a primary in lockstep, and take its place when it dies.

    Memory, CPU and the guest's command line are the primary's. The exit status is the guest's.
    """
    spec = options.replica_spec(ctx, "secondary")
    replicate(replace(spec, awaits_at=None), as_json)


def switchover(
    endpoint: Annotated[
        str,
        typer.Argument(
            metavar="ENDPOINT|NAME",
            help="Where a replica listens, or the name of one that runs on this host.",
        ),
    ] = DEFAULT_ENDPOINT,
    keys: pairoptions.KeysOption = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--run-dir",
            metavar="DIR",
            rich_help_panel=PAIR,
            help="Where running guests are found by NAME; by default a directory of your own.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        int,
        typer.Option(
            "--wait",
            metavar="S",
            min=0,
            max=pairoptions.YEAR,
            rich_help_panel=PAIR,
            help="Seconds to wait for it to happen.",
        ),
    ] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=OTHER, help="The result as JSON.")
    ] = False,
) -> None:
    """Let a secondary take the primary's place, which follows it. The guest notices nothing."""
    from vlockstep.supervise.client import GuestClient
    from vlockstep.supervise.rundir import RunDirectory

    if ":" in endpoint:
        generation = _swap_by_channel(endpoint, keys, wait)
    else:
        with closing(GuestClient(RunDirectory(directory), endpoint)) as guest:
            generation = guest.ask("switchover", seconds=wait)["generation"]
    if as_json:
        print(json.dumps({"generation": generation}))
    else:
        print(f"the roles are swapped; the new primary rules as generation {generation}")


def _swap_by_channel(endpoint: str, keys: Path | None, wait: int) -> int:
    from vlockstep.program.progress import Progress
    from vlockstep.supervise.operator import request_switchover
    from vlockstep.wire.keys import Party

    progress = Progress()
    try:
        return request_switchover(endpoint, _load(keys, Party.OPERATOR), wait, progress.tell)
    finally:
        progress.clear()


def _load(directory: Path | None, party: Any) -> Any:
    from vlockstep.wire import keys

    return None if directory is None else keys.load(directory, party)


def replicate(spec: ReplicaSpec, as_json: bool) -> NoReturn:
    """Run a replica, and leave with the guest's status."""
    from vlockstep.machine.report import GuestError
    from vlockstep.supervise.replica import Replica
    from vlockstep.supervise.specfile import naming
    from vlockstep.supervise.texts import EVENTS, OF_A_LONE_PRIMARY, OF_A_SECONDARY

    lines = EVENTS if spec.secondaries else OF_A_LONE_PRIMARY
    events = output.observer(OF_A_SECONDARY if spec.role == "secondary" else lines, as_json)
    observe = partial(_observe, events, as_json)
    with naming(spec.source, spec.elsewhere), options.progress_of_disks() as tell:
        replica = Replica(spec, observe, status=as_json, tell=tell, settle=events.settle)
    _stop_at_signals(replica.process)
    try:
        with naming(spec.source, spec.elsewhere):
            status = replica.run().status
    except GuestError as error:
        output.note(error.report())
        status = error.exit_status
    except VlockstepError as error:
        if as_json:
            raise
        output.note(f"{output.clock(time.time())} {hints.add_hint(error)}")
        status = error.exit_status
    raise typer.Exit(output.exit_status(status))


def _observe(events: EventWriter, as_json: bool, event: Event) -> None:
    """Tell it; and what is seen of a guest that was stopped as people read it, unless they do not
    read it."""
    from vlockstep.ft.events import Memory, Reached

    told = event.to_dict()
    match event:
        case Reached() if not as_json:
            told["registers"] = str(event.registers)
        case Memory(address, content, problem) if not as_json:
            shown = output.hexdump(address, content)
            told["shown"] = problem or f"memory at {address:#x}:\n{shown}"
    events.observe(told)


def _stop_at_signals(process: Process) -> None:
    """The second one at once: it may be stuck in a write."""

    def leave(number: int, _frame: object) -> None:
        if not process.stop(f"stopped by {signal.Signals(number).name}"):
            os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)

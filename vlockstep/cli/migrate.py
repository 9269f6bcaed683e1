"""`vlockstep receive` and `vlockstep migrate`: a guest that moves to another host while it runs."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

import typer

from vlockstep.cli import options, output, pairoptions
from vlockstep.cli.command import OTHER, PAIR
from vlockstep.cli.pair import replicate
from vlockstep.cli.running import DirectoryOption, Move, NameArgument
from vlockstep.errors import UsageError

DEFAULT_ENDPOINT = "tcp://127.0.0.1:7720"
_MIGRATION = Move("migrate", "migrating", "cancel-migration")


def receive(
    ctx: typer.Context,
    image: options.ImageArgument,
    arbiter: pairoptions.ArbiterOption = None,
    awaits_at: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="ENDPOINT",
            rich_help_panel=PAIR,
            help="Where the guest comes: tcp://HOST:PORT or ipc://PATH.",
        ),
    ] = DEFAULT_ENDPOINT,
    keys: pairoptions.KeysOption = None,
    blocks: options.BlockOptions = None,
    nets: options.NetOptions = None,
    macs: options.MacOptions = None,
    console: pairoptions.SharedConsoleOption = options.STDOUT,
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
    """Wait for a guest that `vlockstep migrate` moves here, and run it.

    It brings its memory, CPU and command line along; disks and NICs are those given here. The exit
    status is the guest's.
    """
    spec = options.replica_spec(ctx, "secondary")
    if spec.awaits_at is None:
        spec = replace(spec, awaits_at=awaits_at)
    replicate(spec, as_json)


class Method(StrEnum):
    """How a guest moves."""

    LOG = "log"
    PRECOPY = "precopy"


def migrate(
    name: NameArgument,
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DESTINATION", help="Where `vlockstep receive` waits.", show_default=True
        ),
    ] = DEFAULT_ENDPOINT,
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="log: the guest runs on, and what it does meanwhile is sent after it. precopy: "
            "nothing is logged, and it stands while the last of its memory is sent.",
        ),
    ] = Method.LOG,
    downtime: Annotated[
        int | None,
        typer.Option(
            "--downtime",
            metavar="MS",
            min=1,
            max=60_000,
            help="With precopy: stop the guest when the last of its memory can be sent within so "
            "long; 300 by default.",
            show_default=False,
        ),
    ] = None,
    no_throttle: Annotated[
        bool,
        typer.Option(
            "--no-throttle",
            help="With precopy: give up rather than slow a guest that writes too fast for that.",
        ),
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Call off a migration that another terminal waits for.")
    ] = False,
    directory: DirectoryOption = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", rich_help_panel=OTHER, help="Progress and report as lines of JSON."),
    ] = False,
) -> None:
    """Move a replica to another host while its guest runs. Who talks to it notices nothing.

    The guest moves along if this is its primary, and stays protected if it was. Whatever fails on
    the way, everything goes on as before. Ctrl-C calls it off, and so does --cancel elsewhere.
    """
    how = _how(method, downtime, no_throttle)
    if cancel:
        _MIGRATION.call_off(directory, name, as_json)
        return
    report = _MIGRATION.follow(directory, name, as_json, _text, to=destination, **how)
    if as_json:
        output.emit({"event": "migrated", **report})
        return
    rows: list[tuple[str, object]] = [
        ("moved to", destination),
        ("in all", f"{report['total_ms']:.0f} ms"),
    ]
    if report["role"] == "primary":
        if report["method"] == Method.LOG:
            rows.append(("held for", f"{report['pause_ms']:.1f} ms, while its state was copied"))
        rows += [
            ("stood for", f"{report['gap_ms']:.1f} ms, from here to there"),
            ("memory", f"{report['bytes'] / 1e6:.1f} MB in {report['rounds'] + 1} rounds"),
        ]
        if report["throttle"]:
            rows.append(("slowed", f"by up to {report['throttle']} %, while it wrote too fast"))
    if report["disk_bytes"]:
        rows.append(("disks", f"{report['disk_bytes'] / 1e6:.1f} MB"))
    output.fields(rows)


def _how(method: Method, downtime: int | None, no_throttle: bool) -> dict[str, Any]:
    """For the guest. Raises `UsageError` for options of the other method."""
    if method is Method.LOG:
        if downtime is not None or no_throttle:
            raise UsageError("--downtime and --no-throttle are for --method precopy")
        return {}
    asked = {} if downtime is None else {"downtime_ms": downtime}
    return {"method": method, "throttle": not no_throttle, **asked}


def _text(event: dict[str, Any]) -> str | None:
    if event["phase"] == "failed":
        return None  # why, the answer tells
    text = f"{event['text']}: {event['bytes'] / 1e6:.0f} MB"
    if event["lag_entries"]:
        text += f", {event['lag_entries']} entries behind"
    if event["throttle"]:
        text += f", the guest slowed by {event['throttle']} %"
    return text

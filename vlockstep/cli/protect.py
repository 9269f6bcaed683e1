"""`vlockstep protect`: a guest that runs gets replicas."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from vlockstep.cli import output, pairoptions
from vlockstep.cli.command import OTHER, PAIR
from vlockstep.cli.pair import DEFAULT_ENDPOINT
from vlockstep.cli.running import DirectoryOption, NameArgument, connect


def protect(
    name: NameArgument,
    arbiter: Annotated[
        Path,
        typer.Option(
            "--arbiter",
            metavar="DIR",
            rich_help_panel=PAIR,
            help="A new directory that all its replicas will share; it decides who may be live.",
            show_default=False,
        ),
    ],
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="ENDPOINT",
            rich_help_panel=PAIR,
            help="Where replicas join: tcp://HOST:PORT or ipc://PATH.",
        ),
    ] = DEFAULT_ENDPOINT,
    keys: pairoptions.KeysOption = None,
    heartbeat: pairoptions.HeartbeatOption = 50,
    misses: pairoptions.MissesOption = 5,
    max_pause: pairoptions.MaxPauseOption = 5,
    max_bandwidth: pairoptions.BandwidthOption = 0,
    directory: DirectoryOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=OTHER, help="The result as JSON.")
    ] = False,
) -> None:
    """Let replicas join a guest that `vlockstep run` runs, without a break.

    From now on it is a primary. Start a secondary, and it is protected; or move it by `vlockstep
    migrate`.
    """
    with closing(connect(directory, name)) as guest:
        told = guest.ask(
            "protect",
            seconds=30,
            arbiter=str(arbiter.resolve()),
            listen=listen,
            keys=None if keys is None else str(keys.resolve()),
            timing={
                "heartbeat": heartbeat,
                "misses": misses,
                "max_pause": max_pause,
                "max_bandwidth": max_bandwidth,
            },
        )
    if as_json:
        facts = {"endpoint": listen, "arbiter": str(arbiter), "secondary": told["secondary"]}
        output.emit({"name": name, **facts})
    else:
        print(f"replicas can join {name} at {listen}, with the arbiter {arbiter}; start one by:")
        print(shlex.join(told["secondary"]))

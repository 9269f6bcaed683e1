"""Options of the replicas of a pair, and of who speaks to one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlockstep.cli.command import FILES, OTHER, PAIR, TESTS, TIMING

ArbiterOption = Annotated[
    Path | None,
    typer.Option(
        "--arbiter",
        metavar="DIR",
        rich_help_panel=PAIR,
        help="The directory, shared by all replicas, that decides who may be live.",
        show_default=False,
    ),
]
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        rich_help_panel=PAIR,
        help="Encrypt and authenticate with keys from `vlockstep keys new`; needed for any "
        "address that is not of this machine alone.",
        show_default=False,
    ),
]
LogOption = Annotated[
    Path | None,
    typer.Option(
        "--log",
        metavar="FILE",
        rich_help_panel=FILES,
        help="Keep the log in a file. It holds the guest's secrets; a new one is private.",
        show_default=False,
    ),
]
KeyframesOption = Annotated[
    str,
    typer.Option(
        "--keyframes",
        metavar="SECONDS",
        rich_help_panel=FILES,
        help="While it is a secondary, keep the guest's state in the log every so often, so that "
        "`replay --until` need not begin at boot; or off.",
    ),
]
SharedConsoleOption = Annotated[
    str,
    typer.Option(
        "--console",
        metavar="PATH",
        rich_help_panel=FILES,
        help="The guest's console: a file that all replicas name, on which text appears exactly "
        "once; - is stdout.",
    ),
]
HOUR_MS = 3_600_000
HeartbeatOption = Annotated[
    int,
    typer.Option(
        "--heartbeat",
        metavar="MS",
        min=1,
        max=HOUR_MS,
        rich_help_panel=TIMING,
        help="Milliseconds between heartbeats.",
    ),
]
MissesOption = Annotated[
    int,
    typer.Option(
        "--misses",
        metavar="N",
        min=2,
        max=1_000_000,
        rich_help_panel=TIMING,
        help="The peer is dead after N heartbeats of silence.",
    ),
]
MaxPauseOption = Annotated[
    int,
    typer.Option(
        "--max-pause",
        metavar="MS",
        min=1,
        max=HOUR_MS,
        rich_help_panel=TIMING,
        help="Hold the guest no longer for a replica that joins while it runs.",
    ),
]
BandwidthOption = Annotated[
    int,
    typer.Option(
        "--max-bandwidth",
        metavar="MB",
        min=0,
        max=1_000_000,
        rich_help_panel=TIMING,
        help="Send it the guest's memory at so many MB a second; 0: as fast as possible.",
    ),
]
LagOption = Annotated[
    int,
    typer.Option(
        "--max-lag",
        metavar="MS",
        min=10,
        max=HOUR_MS,
        rich_help_panel=TIMING,
        help="As a primary: slow down beyond this lag.",
    ),
]
LogLimitOption = Annotated[
    int,
    typer.Option(
        "--max-log",
        metavar="MIB",
        min=1,
        max=1 << 20,
        rich_help_panel=TIMING,
        help="As a primary: slow down when so much waits.",
    ),
]
YEAR = 31_536_000
"""Seconds."""
WaitOption = Annotated[
    int,
    typer.Option(
        "--wait",
        metavar="S",
        min=0,
        max=YEAR,
        rich_help_panel=PAIR,
        help="Seconds to wait for other replicas at the start.",
    ),
]
RespawnOption = Annotated[
    str | None,
    typer.Option(
        "--respawn",
        metavar="COMMAND",
        rich_help_panel=PAIR,
        help="Run this, without a shell, when the guest is no longer protected: it starts another "
        "replica that joins at $VLOCKSTEP_JOIN.",
        show_default=False,
    ),
]
HoldOption = Annotated[
    bool,
    typer.Option(
        "--hold",
        rich_help_panel=PAIR,
        help="Emit nothing while no other replica has the guest: its outputs wait until one has "
        "joined.",
    ),
]
CrashOption = Annotated[
    str | None,
    typer.Option(
        "--crash-at",
        metavar="PLACE",
        rich_help_panel=TESTS,
        help="SIGKILL itself at entry:N, sent:N, write:N (halfway through the output), release:N, "
        "exits:N[+BLOCKS] (at the next exit, where there are fewer blocks), state:NAME (of the "
        "protocol) or time:SECONDS.",
        show_default=False,
    ),
]
PauseOption = Annotated[
    str | None,
    typer.Option(
        "--pause-at",
        metavar="PLACE",
        rich_help_panel=TESTS,
        help="The same with SIGSTOP.",
        show_default=False,
    ),
]
StopOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stop-at",
        metavar="PLACE",
        rich_help_panel=TESTS,
        help="Stop the guest at entry:N or exits:N[+BLOCKS], show its registers, and go on at an "
        "empty line on standard input; `memory ADDRESS LENGTH` there shows its RAM. May be "
        "repeated.",
        show_default=False,
    ),
]
DivergeOption = Annotated[
    str | None,
    typer.Option(
        "--diverge-at",
        metavar="PLACE",
        rich_help_panel=TESTS,
        help="Flip a bit of the guest's RAM at entry:N or exits:N[+BLOCKS], in a byte that no "
        "guest uses: only digests tell.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json", rich_help_panel=OTHER, help="Events and status as JSON lines on stderr."
    ),
]

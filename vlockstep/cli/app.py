"""The Typer application. A new command is a function, and a line here."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vlockstep import __version__
from vlockstep.cli.demo import demo
from vlockstep.cli.guests import guests
from vlockstep.cli.keys import keys
from vlockstep.cli.log import log
from vlockstep.cli.pair import primary, secondary, switchover
from vlockstep.cli.record import record
from vlockstep.cli.replay import replay
from vlockstep.cli.run import run
from vlockstep.cli.switch import switch


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"vlockstep {__version__}")
        raise typer.Exit


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep run hello",
)


@app.callback()
def vlockstep(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Run Solo5 unikernels, record what they do and replay it exactly."""


app.command(epilog="Example: vlockstep demo --kill write:700 --keep demo-files")(demo)
app.command(epilog="Example: vlockstep run hello -- --status=3")(run)
app.command(epilog="Example: vlockstep record clock -o clock.vlog")(record)
app.command(epilog="Example: vlockstep replay clock.vlog --until exits:500")(replay)
app.command(epilog="Example: vlockstep guests --json")(guests)
app.command(
    epilog="Example: vlockstep primary ledger --arbiter /tmp/pair --block disk=/tmp/ledger.img"
)(primary)
app.command(
    epilog="Example: vlockstep secondary ledger --arbiter /tmp/pair --block disk=/tmp/ledger.img"
)(secondary)
app.command(epilog="Example: vlockstep switchover tcp://127.0.0.1:7700")(switchover)
app.command(epilog="Example: vlockstep switch --uplink passt --forward 8080:80")(switch)
app.add_typer(log, name="log")
app.add_typer(keys, name="keys")

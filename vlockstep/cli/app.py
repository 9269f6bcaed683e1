"""The Typer application. A new command is a function, and a line here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from copy import copy
from typing import Annotated

import typer
from typer.models import CommandInfo

from vlockstep import __version__
from vlockstep.cli.arbiter import arbiter
from vlockstep.cli.cluster import cluster
from vlockstep.cli.command import Command, DefaultGroup, Group, TenderCommand, markup
from vlockstep.cli.cpu import cpu
from vlockstep.cli.dashboard import dashboard
from vlockstep.cli.debug import debug
from vlockstep.cli.demo import demo
from vlockstep.cli.disk import disk
from vlockstep.cli.engines import engines
from vlockstep.cli.figure1 import figure1
from vlockstep.cli.guest import guest
from vlockstep.cli.guests import guests
from vlockstep.cli.host import host
from vlockstep.cli.image import image
from vlockstep.cli.keys import keys
from vlockstep.cli.log import log
from vlockstep.cli.logdiff import diff
from vlockstep.cli.metrics import metrics
from vlockstep.cli.migrate import migrate, receive
from vlockstep.cli.pair import primary, secondary, switchover
from vlockstep.cli.protect import protect
from vlockstep.cli.record import record
from vlockstep.cli.replay import replay
from vlockstep.cli.run import run
from vlockstep.cli.running import events, ps, status, stop
from vlockstep.cli.snapshot import resume, snapshot, suspend
from vlockstep.cli.switch import switch
from vlockstep.cli.top import top
from vlockstep.cli.trace import trace

PROTECT = "Fault tolerance"
RUN = "Run and replay"
WATCH = "Running guests"
CONNECT = "Network and keys"
CLUSTER = "Clusters of hosts"


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"vlockstep {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=markup(sys.stderr),  # of usage errors; help looks where it goes itself
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start here: vlockstep demo",
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
    """Run a Solo5 unikernel on two hosts in lockstep: it keeps running when one of them dies.

    Also runs guests unprotected, records what they do and replays it exactly.
    """


demos = typer.Typer(
    cls=DefaultGroup,
    help="Watch a guest outlive the host under it.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep demo",
)
demos.command("pair", cls=Command, epilog="Example: vlockstep demo pair --kill write:700")(demo)
demos.command(cls=Command, epilog="Example: vlockstep demo figure1 --isolate B")(figure1)


def _add(command: Callable[..., None], group: str, example: str) -> None:
    app.command(cls=Command, rich_help_panel=group, epilog=f"Example: vlockstep {example}")(command)


def _add_tender() -> None:
    """`run`, with the command line of solo5-hvt."""
    app.command(
        "hvt",
        cls=TenderCommand,
        rich_help_panel=RUN,
        help="Run a guest in the place of solo5-hvt, with its command line.\n\n"
        "Devices are named as there: --net:NAME=IFACE, --net-mac:NAME=MAC, --block:NAME=PATH, "
        "--block-sector-size:NAME=N. What stands behind the image is the guest's. The exit status "
        "is the guest's, and 1 after a guest error.",
        epilog="Example: vlockstep hvt --mem=64 -- hello --status=3",
    )(run)


app.add_typer(demos, name="demo", rich_help_panel=PROTECT)
_add(primary, PROTECT, "primary ledger --arbiter /tmp/pair --block disk=/tmp/ledger.img")
_add(secondary, PROTECT, "secondary ledger --arbiter /tmp/pair --block disk=/tmp/ledger.img")
_add(protect, PROTECT, "protect ledger-1 --arbiter /tmp/pair")
_add(switchover, PROTECT, "switchover tcp://127.0.0.1:7700")
_add(receive, PROTECT, "receive ledger --arbiter /tmp/pair --block disk=/tmp/ledger.img")
_add(migrate, PROTECT, "migrate ledger-1 tcp://127.0.0.1:7720")
app.add_typer(arbiter, name="arbiter", rich_help_panel=PROTECT)
_add(run, RUN, "run hello -- --status=3")
_add_tender()
_add(record, RUN, "record clock -o clock.vlog")
_add(replay, RUN, "replay clock.vlog --until exits:500")
_add(debug, RUN, "debug clock.vlog")
_add(trace, RUN, "trace clock.vlog --from time:1 --chrome clock.json")
log.command(cls=Command, epilog="Example: vlockstep log diff primary.vlog secondary.vlog")(diff)
app.add_typer(log, name="log", rich_help_panel=RUN)
_add(guests, RUN, "guests ledger")
app.add_typer(image, name="image", rich_help_panel=RUN)
app.add_typer(disk, name="disk", rich_help_panel=RUN)
app.add_typer(cpu, name="cpu", rich_help_panel=RUN)
_add(engines, RUN, "engines")
_add(ps, WATCH, "ps")
_add(status, WATCH, "status ledger-1")
_add(events, WATCH, "events ledger-1 --after 0")
_add(top, WATCH, "top")
_add(metrics, WATCH, "metrics ledger-1")
_add(dashboard, WATCH, "dashboard --port 7780")
_add(stop, WATCH, "stop ledger-1")
app.add_typer(snapshot, name="snapshot", rich_help_panel=WATCH)
_add(suspend, WATCH, "suspend ledger-1 -o ledger.vsnap")
_add(resume, WATCH, "resume ledger.vsnap")
app.add_typer(cluster, name="cluster", rich_help_panel=CLUSTER)
app.add_typer(host, name="host", rich_help_panel=CLUSTER)
app.add_typer(guest, name="guest", rich_help_panel=CLUSTER)
_add(switch, CONNECT, "switch --uplink passt --forward 8080:80")
app.add_typer(keys, name="keys", rich_help_panel=CONNECT)


def application(words: Sequence[str]) -> typer.Typer:
    """What carries out these words. Where the first one names a command, it has no other: to make
    them all takes half of the time that a command needs to start."""
    commands = [info for info in app.registered_commands if _name(info) in words[:1]]
    groups = [info for info in app.registered_groups if info.name in words[:1]]
    if not commands and not groups:
        return app
    narrow = copy(app)
    narrow.registered_commands, narrow.registered_groups = commands, groups
    return narrow


def _name(info: CommandInfo) -> str:
    return info.name or (info.callback.__name__ if info.callback else "")

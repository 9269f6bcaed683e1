"""`vlockstep demo figure1`."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlockstep.cli import output
from vlockstep.cli.command import FAULT, OTHER
from vlockstep.cli.demo import KeepOption, WebOption, empty_directory, signals_end_us

if TYPE_CHECKING:
    from vlockstep.demo.hosts.plan import HostsPlan
    from vlockstep.demo.hosts.screens import Quiet
    from vlockstep.demo.proof import Check

HOSTS = "Hosts"


def figure1(
    hosts: Annotated[
        int, typer.Option("--hosts", metavar="N", rich_help_panel=HOSTS, help="4 to 26.")
    ] = 4,
    load: Annotated[
        bool,
        typer.Option(
            "--load", rich_help_panel=HOSTS, help="Let guests of B compute, so that they move."
        ),
    ] = False,
    kill: Annotated[
        str | None,
        typer.Option(
            "--kill",
            metavar="HOST",
            rich_help_panel=FAULT,
            help="SIGKILL all processes of this host; A if nothing else is chosen.",
            show_default=False,
        ),
    ] = None,
    isolate: Annotated[
        str | None,
        typer.Option(
            "--isolate",
            metavar="HOST",
            rich_help_panel=FAULT,
            help="Cut this host off from the management network instead.",
            show_default=False,
        ),
    ] = None,
    maintenance: Annotated[
        str | None,
        typer.Option(
            "--maintenance",
            metavar="HOST",
            rich_help_panel=FAULT,
            help="Let all guests leave this host instead.",
            show_default=False,
        ),
    ] = None,
    keep: KeepOption = None,
    web: WebOption = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE",
            rich_help_panel=OTHER,
            help="Where the timeline is drawn (SVG); by default among temporary files.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", rich_help_panel=OTHER, help="Print nothing but the facts, as a line of JSON."
        ),
    ] = False,
) -> None:
    """Kill one host of a cluster of four, and see what becomes of its guests.

    The host that is killed is the master. One of its guests is protected and has clients: they
    notice nothing. The others are started again elsewhere. The exit status is 0 if all of it held.
    """
    from vlockstep.cli.storypage import on_page
    from vlockstep.demo.hosts.onpage import Told
    from vlockstep.demo.hosts.plan import make_plan
    from vlockstep.demo.hosts.screens import Quiet, choose

    plan = make_plan(hosts, kill, isolate, maintenance, load)
    with signals_end_us(), on_page(web, Quiet() if as_json else choose(), Told) as screen:
        checks, path = _show(plan, screen, keep, picture)
        ok = all(check.ok for check in checks)
        held = "all of it held" if ok else "not all of it held"
        screen.verdict(f"{held}; the timeline is in {path}")
        if as_json:
            found = {c.name: {"ok": c.ok, "text": c.text} for c in checks}
            output.emit({"ok": ok, "checks": found, "timeline": str(path)})
    raise typer.Exit(0 if ok else 1)


def _show(
    plan: HostsPlan, screen: Quiet, keep: Path | None, picture: Path | None
) -> tuple[list[Check], Path]:
    """What was proved, and where its timeline is."""
    from vlockstep.demo.guard import Guard
    from vlockstep.demo.hosts.proof import prove
    from vlockstep.demo.hosts.stage import options, perform
    from vlockstep.demo.hosts.timeline import draw
    from vlockstep.demo.network import Network
    from vlockstep.testing import HostCluster

    with ExitStack() as stack:
        directory = empty_directory(keep)
        if keep is None:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        guard = stack.enter_context(Guard())
        network = Network(directory)
        stack.callback(network.close)
        network.start(guard)
        screen.start(plan)
        stack.callback(screen.stop)
        cluster = HostCluster(
            directory / "cluster",
            options(plan, directory, network),
            isolation_address=network.endpoint,
        )
        stack.enter_context(cluster)
        story = perform(plan, cluster, network, guard, screen)
        screen.stop()
        checks = []
        for check in prove(story, cluster, network):
            checks.append(check)
            screen.check(check)
        path = picture or (keep or Path(tempfile.mkdtemp(prefix="vlockstep-"))) / "timeline.svg"
        answers = [time for visitor in network.visitors for time in visitor.answered]
        path.write_text(draw(story, answers))
    return checks, path

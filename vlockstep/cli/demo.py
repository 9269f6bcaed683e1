"""`vlockstep demo`."""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import FAULT, GUEST, OTHER
from vlockstep.errors import HostError, UsageError

if TYPE_CHECKING:
    from vlockstep.demo.facts import Facts
    from vlockstep.demo.plan import Plan
    from vlockstep.demo.screens import Quiet

KeepOption = Annotated[
    Path | None,
    typer.Option(
        "--keep",
        metavar="DIR",
        rich_help_panel=OTHER,
        help="Keep all files in this directory.",
        show_default=False,
    ),
]
WebOption = Annotated[
    bool,
    typer.Option(
        "--web",
        rich_help_panel=OTHER,
        help="Show it in a browser, too; begins when its page is open.",
    ),
]

DEFAULT_LINES = 600
_MAX_LINES = 999_999
DEFAULT_MEMORY_MB = 64
_SEEDS = 1_000_000
_LAST_WORDS = 3
"""Lines of a guest that ended by itself."""


def demo(
    arguments: options.GuestArguments = None,
    guest: Annotated[
        str,
        typer.Option(
            "--guest",
            metavar="IMAGE",
            autocompletion=options.bundled_guests,
            rich_help_panel=GUEST,
            help="A bundled guest, or an image's path; kv shows clients on a network.",
        ),
    ] = "ledger",
    lines: Annotated[
        int,
        typer.Option(
            "--lines",
            metavar="N",
            min=1,
            max=_MAX_LINES,
            rich_help_panel=GUEST,
            help="The length of the ledger.",
        ),
    ] = DEFAULT_LINES,
    kill: Annotated[
        str | None,
        typer.Option(
            "--kill",
            metavar="PLACE",
            rich_help_panel=FAULT,
            help="Where the primary dies: entry:N, sent:N, write:N (halfway through the output), "
            "release:N, exits:N[+BLOCKS] or time:SECONDS (for kv, only this). By default the seed "
            "chooses.",
            show_default=False,
        ),
    ] = None,
    pause: Annotated[
        bool,
        typer.Option(
            "--pause",
            rich_help_panel=FAULT,
            help="Stop it with SIGSTOP instead, and let it go on when it is too late.",
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", rich_help_panel=FAULT, help="Repeat a run.", show_default=False
        ),
    ] = None,
    memory: options.MemoryOption = DEFAULT_MEMORY_MB,
    keep: KeepOption = None,
    web: WebOption = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", rich_help_panel=OTHER, help="Print nothing but the facts, as a line of JSON."
        ),
    ] = False,
) -> None:
    """Kill a primary in mid-write and see that its guest does not notice.

    Starts a primary and a secondary on this machine, kills the primary, and proves from the files
    that remain that nothing was lost, repeated or changed. With --guest kv, TCP clients of the
    guest go on over their connections, if passt is installed. The exit status is 0 if all of it
    held.
    """
    from vlockstep.cli.storypage import on_page
    from vlockstep.demo.onpage import Told
    from vlockstep.demo.plan import make_plan
    from vlockstep.demo.screens import Quiet, choose

    plan = make_plan(
        guest,
        arguments or [],
        lines=lines,
        memory=memory,
        place=kill,
        pause=pause,
        seed=random.randrange(_SEEDS) if seed is None else seed,
    )
    with signals_end_us(), on_page(web, Quiet() if as_json else choose(), Told) as screen:
        directory = empty_directory(keep)
        kept = keep is not None
        try:
            facts = _show(plan, directory, screen)
            kept = kept or not facts.ok
        finally:
            if not kept:
                shutil.rmtree(directory, ignore_errors=True)
        where = f"; the files are in {directory}" if kept else ""
        notes = [*facts.notes(), _by_hand()] if plan.networked else facts.notes()
        screen.verdict(facts.ok, notes, facts.verdict() + where)
        if as_json:
            output.emit(facts.to_dict() | {"directory": str(directory) if kept else None})
    raise typer.Exit(0 if facts.ok else 1)


def _show(plan: Plan, directory: Path, screen: Quiet) -> Facts:
    from vlockstep.demo.facts import Facts
    from vlockstep.demo.proof import prove
    from vlockstep.demo.screens import console_tail
    from vlockstep.demo.stage import make_pair, perform

    pair = make_pair(plan, directory)
    screen.start(plan)
    try:
        story, continued = perform(plan, pair, screen)
    finally:
        screen.stop()
    if story.refusal is not None:
        said = "; ".join(console_tail(pair.console)[-_LAST_WORDS:]) or "nothing"
        raise HostError(
            f"the guest ended with status {story.refusal} before A could be {plan.deed}; "
            f"it said: {said}"
        )
    log = pair.log("secondary")
    facts = Facts(story, log.stat().st_size if log.exists() else 0)
    for check in prove(plan, pair, story, continued):
        facts.checks.append(check)
        screen.check(check)
    return facts


def _by_hand() -> str:
    """How to see another guest with a network."""
    from vlockstep.cli.switch import DEFAULT_ENDPOINT
    from vlockstep.demo.plan import ADDRESSES

    return (
        "with a browser: vlockstep switch --uplink passt --forward 8080:80, then "
        f"vlockstep run web --net net=switch:{DEFAULT_ENDPOINT} -- {' '.join(ADDRESSES)}"
    )


def empty_directory(keep: Path | None) -> Path:
    """That one, or one among temporary files."""
    try:
        if keep is None:
            return Path(tempfile.mkdtemp(prefix="vlockstep-demo-"))
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise UsageError(f"{keep} is not empty; name a new directory for the demo's files")
    except OSError as error:
        raise HostError(f"cannot make a directory for the demo: {error}") from error
    return keep


@contextmanager
def signals_end_us() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind, as SIGINT does, so that the replicas are ended too."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

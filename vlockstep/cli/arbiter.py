"""`vlockstep arbiter`: what the arbiter's directory says, and how to begin anew with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import output
from vlockstep.cli.command import Command, Group

if TYPE_CHECKING:
    from vlockstep.arbiter import Reign

arbiter = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Look at an arbiter's directory, or make it ready for a fresh start.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep arbiter show /tmp/pair",
)

DirectoryArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="What `primary` and `secondary` get as --arbiter.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a line of JSON.")]
_RUNS: dict[bool | None, str] = {True: "runs", False: "dead", None: "unknown"}


@arbiter.command(cls=Command, epilog="Example: vlockstep arbiter show /tmp/pair")
def show(directory: DirectoryArgument, as_json: JsonOption = False) -> None:
    """Show who has ruled, generation by generation, and whether that process still runs.

    Of a disk that has moved while the guest ran it shows the file that is the disk now.
    """
    from vlockstep.arbiter import DirectoryArbiter

    found = DirectoryArbiter(directory, "show")
    reigns, guest = found.reigns(), found.known_guest()
    if as_json:
        output.emit({"guest": guest, "generations": [_facts(reign) for reign in reigns]})
        return
    moved = reigns[-1].record.disks if reigns else {}
    disks = [(f"disk {name!r}", path) for name, path in moved.items()]
    output.fields([("guest", guest or "none yet"), *disks])
    headers = ("generation", "owner", "host", "process", "now", "protection", "guest")
    output.table(headers, [_row(reign) for reign in reigns])


@arbiter.command(cls=Command, epilog="Example: vlockstep arbiter reset /tmp/pair")
def reset(
    directory: DirectoryArgument,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Even if the last owner may still run on another host. If it does, or its "
            "secondary, a fresh start makes two live primaries.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the directory ready for a fresh start after all replicas have died.

    Whatever replica of before still runs can never go live any more, nor go on alone.
    """
    from vlockstep.arbiter import DirectoryArbiter

    generation = DirectoryArbiter(directory, "reset").reset(force)
    if as_json:
        output.emit({"generation": generation})
    else:
        print(f"{directory} is ready for a fresh start, as generation {generation + 1}")


def _facts(reign: Reign) -> dict[str, Any]:
    from vlockstep.arbiter import cause_text

    record = reign.record
    return {
        "generation": record.generation,
        "owner": record.name,
        "members": len(record.members),
        "host": record.host,
        "pid": record.pid,
        "runs": reign.runs,
        "alone": reign.alone,
        "ended": reign.ended,
        "since": reign.since,
        "cause": record.cause,
        "cause_text": cause_text(record.cause),
        "disks": dict(record.disks),
    }


def _row(reign: Reign) -> list[str]:
    record = reign.record
    protection = "alone" if reign.alone else "protected"
    ended = "ended" if reign.ended else "not ended"
    names = (str(record.generation), record.name, record.host, str(record.pid))
    return [*names, _RUNS[reign.runs], protection, ended]

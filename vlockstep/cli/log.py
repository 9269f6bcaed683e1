"""`vlockstep log`: what is in a log."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import output

if TYPE_CHECKING:
    from vlockstep.machine.config import GuestConfig
    from vlockstep.replay.entry import Entry
    from vlockstep.replay.logfile import LogReader

_MAX_ENTRIES = 10**15

log = typer.Typer(
    no_args_is_help=True,
    help="Look into logs.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep log show clock.vlog",
)


@log.callback()
def _group() -> None:
    """Look into logs."""


@log.command(epilog="Example: vlockstep log show clock.vlog --from 100 --count 20")
def show(
    path: Annotated[Path, typer.Argument(metavar="LOG", help="A log that `record` wrote.")],
    first: Annotated[
        int,
        typer.Option("--from", metavar="N", min=0, max=_MAX_ENTRIES, help="Begin with entry N."),
    ] = 0,
    count: Annotated[
        int | None,
        typer.Option(
            "--count", metavar="N", min=0, max=_MAX_ENTRIES, help="Show at most N entries."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the header and each entry as a line of JSON.")
    ] = False,
) -> None:
    """Show a log's header and its entries, one a line.

    Of a log that is damaged or cut off, show what is whole. The exit status is 1 if it is damaged.
    """
    from vlockstep.replay.logfile import VERSION, LogReader

    reader = LogReader(path)
    if as_json:
        head = {"log": str(path), "version": VERSION, "bytes": reader.size}
        head["image"] = reader.image and str(reader.image)
        output.emit(head | {"config": reader.config.to_dict()})
    else:
        output.fields(_header(reader))
        print()
    last = None if count is None else first + count
    for sequence, entry in islice(enumerate(reader.entries()), first, last):
        if as_json:
            output.emit(_entry_dict(sequence, entry))
        else:
            print(_entry_line(sequence, entry))
    if reader.truncated is not None:
        output.note(
            f"warning: {path} is cut off: the batch at offset {reader.truncated} is incomplete"
        )


def _header(reader: LogReader) -> list[tuple[str, object]]:
    from vlockstep.machine.config import MIB
    from vlockstep.replay.logfile import VERSION

    config: GuestConfig = reader.config
    rows: list[tuple[str, object]] = [
        ("log", f"{reader.path}, version {VERSION}, {reader.size} bytes"),
        ("image", f"{_image_name(reader)} ({config.image_digest})"),
        ("memory", f"{config.memory // MIB} MiB"),
        ("cpu", config.cpu),
        ("arguments", " ".join(config.arguments)),
    ]
    for name, block in config.blocks.items():
        local = f", local, content {block.content}" if block.local else ""
        rows.append(("block", f"{name}, {block.capacity} bytes{local}"))
    for name, net in config.nets.items():
        rows.append(("net", f"{name}, {net.mac}, MTU {net.mtu}"))
    return rows


def _image_name(reader: LogReader) -> str:
    from vlockstep.machine.bundled import find

    image = find(reader.config.image_digest)
    if image is not None:
        return image.name
    return f"{reader.image.name}, recorded from {reader.image}" if reader.image else "not bundled"


def _entry_line(sequence: int, entry: Entry) -> str:
    from vlockstep.replay.entry import describe, position

    return f"{sequence:>8}  {position(entry)!s:<18} {describe(entry)}"


def _entry_dict(sequence: int, entry: Entry) -> dict[str, Any]:
    """Bytes are in hex."""
    from vlockstep.replay.entry import Kind, describe, position

    kind, _, _, value, checkpoint = entry
    return {
        "sequence": sequence,
        "position": str(position(entry)),
        "kind": Kind(kind).name.lower(),
        "value": value.hex() if isinstance(value, bytes) else value,
        "checkpoint": bool(checkpoint),
        "detail": " ".join(describe(entry).split()),
    }

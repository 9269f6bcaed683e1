"""`vlockstep log`: what is in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import ENTRIES, OTHER, REPLAY, Command, Group
from vlockstep.errors import UsageError

if TYPE_CHECKING:
    from vlockstep.machine.config import GuestConfig
    from vlockstep.replay.entry import Entry
    from vlockstep.replay.keyframe import Keyframe
    from vlockstep.replay.logfile import LogReader

_MAX_ENTRIES = 10**15

Details = dict[str, Any]
"""What a replay tells of an entry: device, offset, length, text."""

log = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Look into logs.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep log show clock.vlog",
)


@log.callback()
def _group() -> None:
    """Look into logs."""


@log.command(
    cls=Command,
    epilog="Example: vlockstep log show clock.vlog --from 100 --count 20 --kind console",
)
def show(
    path: Annotated[Path, typer.Argument(metavar="LOG", help="A log that `record` wrote.")],
    first: Annotated[
        int,
        typer.Option(
            "--from",
            metavar="N",
            min=0,
            max=_MAX_ENTRIES,
            rich_help_panel=ENTRIES,
            help="Begin with entry N.",
        ),
    ] = 0,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            metavar="N",
            min=0,
            max=_MAX_ENTRIES,
            rich_help_panel=ENTRIES,
            help="Show at most N entries.",
        ),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            rich_help_panel=ENTRIES,
            help="Show only entries of this kind, as --json calls it, such as console or "
            "block_write. Repeat it for more.",
            show_default=False,
        ),
    ] = None,
    replayed: Annotated[
        bool,
        typer.Option(
            "--replay",
            rich_help_panel=REPLAY,
            help="Execute the log again, to show what it holds only digests of: console text, and "
            "the place and length of what the guest wrote or read.",
        ),
    ] = False,
    image: options.LogImageOption = None,
    blocks: options.BlockOptions = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            rich_help_panel=OTHER,
            help="Print the header and each entry as a line of JSON.",
        ),
    ] = False,
) -> None:
    """Show a log's header and its entries, one a line.

    Of a log that is damaged or cut off, show what is whole. The exit status is 1 if it is damaged.
    """
    from vlockstep.replay.logfile import LogReader

    if not replayed and (image is not None or blocks):
        raise UsageError("--image and --block are for --replay")
    wanted = _Wanted(first, count, _parse_kinds(kinds or []))
    reader = LogReader(path)
    if as_json:
        head = {"log": str(path), "version": reader.version, "bytes": reader.size}
        head["image"] = reader.image and str(reader.image)
        output.emit(head | {"config": reader.config.to_dict(), "basis": dict(reader.basis)})
    else:
        output.fields(_header(reader, replayed))
        print()

    def tell(sequence: int, entry: Entry, details: Details) -> None:
        if not wanted.includes(sequence, entry):
            return
        if as_json:
            output.emit(_entry_dict(sequence, entry, details))
        else:
            print(_entry_line(sequence, entry, details))

    def tell_keyframe(keyframe: Keyframe) -> None:
        size = len(keyframe.pack())
        if as_json:
            facts = {"sequence": keyframe.sequence, "position": str(keyframe.position)}
            output.emit({"kind": "keyframe", **facts, "bytes": size})
        else:
            print(f"{'':>8}  {keyframe.position!s:<18} keyframe     {size} bytes")

    if replayed:
        from vlockstep.cli.narration import narrate

        narrate(reader, image, blocks or [], tell, lambda: wanted.satisfied)
    else:
        entries = reader.entries(wanted.keyframes(tell_keyframe))
        for sequence, entry in enumerate(entries, reader.first):
            if wanted.satisfied:
                break
            tell(sequence, entry, {})
    if reader.truncated is not None:
        output.note(
            f"warning: {path} is cut off: the batch at offset {reader.truncated} is incomplete"
        )
    wanted.complain(path)


class _Wanted:
    """Which entries are shown; it sees all that there are, until it is satisfied."""

    def __init__(self, first: int, count: int | None, kinds: set[int]) -> None:
        self._first = first
        self._left = count
        self._kinds = kinds
        self._seen = 0
        self._shown = 0

    @property
    def satisfied(self) -> bool:
        return self._left == 0

    def includes(self, sequence: int, entry: Entry) -> bool:
        self._seen = sequence + 1
        if (
            sequence < self._first
            or self.satisfied
            or (self._kinds and entry[0] not in self._kinds)
        ):
            return False
        self._shown += 1
        if self._left is not None:
            self._left -= 1
        return True

    def keyframes(self, tell: Callable[[Keyframe], None]) -> Callable[[Keyframe], None]:
        """Tells those between entries that are included, if all kinds are."""

        def meet(keyframe: Keyframe) -> None:
            if keyframe.sequence >= self._first and not self._kinds and not self.satisfied:
                tell(keyframe)

        return meet

    def complain(self, path: Path) -> None:
        """If there was nothing to show where something was asked for."""
        if self.satisfied or self._shown:
            return
        if self._first and self._seen <= self._first:
            raise UsageError(
                f"{path} has {self._seen} entries: there is none from {self._first} on"
            )
        if self._kinds and self._seen:
            output.note(f"{path} has no entry of that kind from {self._first} on")


def _parse_kinds(names: list[str]) -> set[int]:
    from vlockstep.replay.entry import Kind

    known = {kind.name.lower(): int(kind) for kind in Kind}
    for name in names:
        if name not in known:
            raise UsageError(f"{name!r} is no kind of entry: write one of {', '.join(known)}")
    return {known[name] for name in names}


def _header(reader: LogReader, replayed: bool) -> Iterator[tuple[str, object]]:
    from vlockstep.machine.config import BLOCK_SIZE, MIB

    config: GuestConfig = reader.config
    yield "log", f"{reader.path}, version {reader.version}, {reader.size} bytes"
    yield "image", f"{_image_name(reader)} ({config.image_digest})"
    yield "memory", f"{config.memory // MIB} MiB"
    yield "cpu", config.cpu
    if reader.basis:
        yield "recorded on", ", ".join(f"{name} {value}" for name, value in reader.basis.items())
    yield "arguments", " ".join(config.arguments)
    for name, block in config.blocks.items():
        local = f", local, content {block.content}" if block.local else ""
        sized = "" if block.block_size == BLOCK_SIZE else f" in blocks of {block.block_size}"
        yield "block", f"{name}, {block.capacity} bytes{sized}{local}"
    for name, net in config.nets.items():
        yield "net", f"{name}, {net.mac}, MTU {net.mtu}"
    if not replayed:
        yield "outputs", "only as digests in a log; --replay shows them"


def _image_name(reader: LogReader) -> str:
    from vlockstep.machine.bundled import find

    image = find(reader.config.image_digest)
    if image is not None:
        return image.name
    return f"{reader.image.name}, recorded from {reader.image}" if reader.image else "not bundled"


def _entry_line(sequence: int, entry: Entry, details: Details) -> str:
    from vlockstep.replay.entry import describe, position

    kind, exits, blocks, value, checkpoint = entry
    if isinstance(value, tuple) and "device" in details:  # which says more than its handle
        entry = kind, exits, blocks, (None, value[1]), checkpoint
    line = f"{sequence:>8}  {position(entry)!s:<18} {describe(entry)}"
    shown = [f"{k} {v!r}" if k == "text" else f"{k} {v}" for k, v in details.items()]
    return "  ".join([line, *shown])


def _entry_dict(sequence: int, entry: Entry, details: Details) -> dict[str, Any]:
    """Bytes are in hex."""
    from vlockstep.replay.entry import Kind, describe, position

    kind, _, _, value, checkpoint = entry
    source = {}
    if isinstance(value, tuple):
        source["handle"], value = value
    return {
        "sequence": sequence,
        "position": str(position(entry)),
        "kind": Kind(kind).name.lower(),
        **source,
        "value": value.hex() if isinstance(value, bytes) else value,
        "checkpoint": bool(checkpoint),
        "detail": " ".join(describe(entry).split()),
        **_known(entry),
        **details,
    }


def _known(entry: Entry) -> Details:
    """What the log itself holds of the details that a replay tells."""
    from vlockstep.replay.entry import data_of

    data = data_of(entry[0], entry[3])
    return {} if data is None else {"length": len(data)}

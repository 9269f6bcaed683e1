"""`vlockstep disk`: disks in files, made, looked at, converted, resized, and moved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import output, running
from vlockstep.cli.command import Command, Group
from vlockstep.errors import UsageError

if TYPE_CHECKING:
    from vlockstep.host.diskfiles import DiskInfo
    from vlockstep.host.diskformats import DiskFormat
    from vlockstep.host.qemuimg import QemuImg

disk = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Make, look at, convert, resize and move disks: raw, qcow2, VMDK, VHD, VHDX.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep disk convert appliance.vmdk appliance.img",
)

_MOVE = running.Move("move-disk", "disk-moving", "cancel-disk-move")
_SIZE = re.compile(r"(\d{1,19})([KMGT]?)(?:i?B)?", re.I | re.A)


def disk_formats(incomplete: str) -> list[str]:
    """What a shell offers where a format is named."""
    from vlockstep.host.diskformats import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The disk's file.", show_default=False)
]
SizeArgument = Annotated[
    str,
    typer.Argument(
        metavar="SIZE",
        help="In bytes, or with K, M, G or T of 1024: a multiple of 512.",
        show_default=False,
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        autocompletion=disk_formats,
        help="The format of the new disk: raw, qcow2, vmdk, vhd or vhdx; by default what its name "
        "says, or raw, from which guests run.",
        show_default=False,
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FORMAT",
        autocompletion=disk_formats,
        help="The format that the disk has; by default what its content says, which on a raw disk "
        "a guest may have written.",
        show_default=False,
    ),
]
ThickOption = Annotated[
    bool,
    typer.Option("--thick", help="Take the room for all of it now; else as it is written."),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace the file if there is one that nobody uses.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a line of JSON.")]


@disk.command(cls=Command, epilog="Example: vlockstep disk create ledger.img 64M")
def create(
    path: FileArgument,
    size: SizeArgument,
    thick: ThickOption = False,
    format_name: FormatOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a disk that is full of zeros."""
    from vlockstep.host import diskfiles

    wanted, number = _format(format_name, path), parse_size(size)
    with _qemu_img() as qemu:
        made = diskfiles.create(path, number, wanted, qemu, thick=thick, may_replace=force)
    _tell(made, as_json)


@disk.command(cls=Command, epilog="Example: vlockstep disk info appliance.vmdk")
def info(path: FileArgument, source: FromOption = None, as_json: JsonOption = False) -> None:
    """Show what a disk is: its format, its sizes, who uses it, whether guests can run from it."""
    from vlockstep.host import diskfiles

    with _qemu_img() as qemu:
        found = diskfiles.inspect(path, qemu, _named(source))
    _tell(found, as_json)


@disk.command(cls=Command, epilog="Example: vlockstep disk convert appliance.vmdk appliance.img")
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="The disk to read.", show_default=False)
    ],
    path: Annotated[
        Path, typer.Argument(metavar="DEST", help="The disk to make.", show_default=False)
    ],
    format_name: FormatOption = None,
    source_format: FromOption = None,
    thick: ThickOption = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read both in the end, and compare them.")
    ] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy a disk into another format. The copy is there when it is whole, or not at all.

    Nobody can use the source meanwhile. A source that is damaged or cut off, or that has its data
    in files elsewhere, is refused.
    """
    from vlockstep.host import diskfiles

    wanted = _format(format_name, path)
    with _qemu_img() as qemu:
        found = diskfiles.inspect(source, qemu, _named(source_format))
        made = diskfiles.convert(
            found, path, wanted, qemu, thick=thick, may_replace=force, verify=verify
        )
    _tell(made, as_json)


@disk.command(cls=Command, epilog="Example: vlockstep disk resize ledger.img 128M")
def resize(
    path: FileArgument,
    size: SizeArgument,
    shrink: Annotated[
        bool,
        typer.Option("--shrink", help="It may become smaller: what is beyond the size is lost."),
    ] = False,
    source: FromOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the size of a raw or qcow2 disk that nobody uses. A guest sees it when it starts."""
    from vlockstep.host import diskfiles
    from vlockstep.host.qemuimg import QemuImg

    number = parse_size(size)
    with _qemu_img() as qemu:
        found = diskfiles.inspect(path, qemu, _named(source))
        whole = QemuImg(tell=qemu.tell)  # not to be left halfway
        changed = diskfiles.resize(found, number, whole, shrink=shrink)
    _tell(changed, as_json)


@disk.command(cls=Command, epilog="Example: vlockstep disk move ledger-1 disk=/fast/ledger.img")
def move(
    name: running.NameArgument,
    disk_and_path: Annotated[
        str | None,
        typer.Argument(
            metavar="DISK=PATH",
            help="The guest's name for the disk, and the file where it is to be.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            "--rate",
            metavar="SIZE",
            help="Bytes a second that are copied at most, or with K, M, G or T of 1024.",
            show_default=False,
        ),
    ] = None,
    force: ForceOption = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Call off a move that another terminal waits for.")
    ] = False,
    directory: running.DirectoryOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Progress and report as lines of JSON.")
    ] = False,
) -> None:
    """Move a disk of a guest that runs to another file. The guest notices nothing.

    Whatever fails on the way, the guest goes on with the old file. Ctrl-C calls it off, and so
    does --cancel elsewhere. Holes stay holes. The old file is left as it is then, and nobody uses
    it.

    A disk that replicas share is moved by their primary, under all of them at once: PATH names a
    file on storage that all reach, by that path. `vlockstep arbiter show` tells where it is.
    """
    if cancel:
        _MOVE.call_off(directory, name, as_json)
        return
    device, found, path = (disk_and_path or "").partition("=")
    if not found or not device or not path:
        what = "name what is to move where" if disk_and_path is None else f"not {disk_and_path!r}"
        raise UsageError(f"{what}: write DISK=PATH, as in disk=/fast/ledger.img")
    wanted = {"disk": device, "to": str(Path(path).absolute()), "force": force}
    if rate is not None:
        wanted["rate"] = _rate(rate)
    report = _MOVE.follow(directory, name, as_json, _text_of_move, **wanted)
    if as_json:
        output.emit({"event": "disk-moved", **report})
        return
    output.fields(
        [
            ("disk", report["disk"]),
            ("is now", report["path"]),
            ("was", f"{report['before']}, which nobody uses now"),
            ("copied", f"{report['bytes'] / 1e6:.1f} MB in {report['total_ms']:.0f} ms"),
        ]
    )


def _text_of_move(event: dict[str, Any]) -> str:
    percent = 100 * event["bytes"] // max(1, event["total"])
    return f"{event['text']}: {percent} % of {event['total'] / 1e6:.0f} MB"


def _rate(text: str) -> int:
    number = parse_bytes(text)
    if number == 0:
        raise UsageError("a rate of 0 would copy nothing, ever")
    return number


def parse_bytes(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no size: write bytes, or a number with K, M, G or T")
    return int(found[1]) << 10 * (" KMGT".index(found[2].upper() or " "))


def parse_size(text: str) -> int:
    """Bytes."""
    from vlockstep.host.diskfiles import check_size

    size = parse_bytes(text)
    check_size(size)
    return size


def _named(name: str | None) -> DiskFormat | None:
    from vlockstep.host.diskformats import format_called

    return None if name is None else format_called(name)


def _format(name: str | None, path: Path) -> DiskFormat:
    from vlockstep.host.diskformats import RAW, format_of_name

    return _named(name) or format_of_name(path) or RAW


@contextmanager
def _qemu_img() -> Iterator[QemuImg]:
    """One that signals end, and that says how far it is."""
    from vlockstep.cli.signals import raised_on_request
    from vlockstep.host.qemuimg import QemuImg
    from vlockstep.program.progress import Progress

    progress = Progress()
    try:
        with raised_on_request() as stop:
            yield QemuImg(stop, progress.tell)
    finally:
        progress.clear()


def _tell(found: DiskInfo, as_json: bool) -> None:
    if as_json:
        output.emit(found.to_dict())
        return
    kind = "thick" if found.thick else "thin"
    runs = f"cannot run from it: {found.obstacle}" if found.obstacle else "can run from it"
    output.fields(
        [
            ("file", found.path),
            ("format", found.format.name),
            ("size", f"{found.size} bytes"),
            ("allocated", f"{found.allocated} bytes, {kind}"),
            ("guests", runs),
            ("in use by", found.user or "nobody that is seen from here"),
        ]
    )

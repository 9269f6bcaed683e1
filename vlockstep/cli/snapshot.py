"""`vlockstep snapshot`, `suspend` and `resume`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import GUEST, Command, Group
from vlockstep.cli.running import DirectoryOption, JsonOption, NameArgument, connect
from vlockstep.errors import HostError
from vlockstep.program.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlockstep.machine.image import Image
    from vlockstep.replay.snapshot import Snapshot, SnapshotReader
    from vlockstep.supervise.origin import Origin

_END_SECONDS = 10.0
FileOption = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FILE", help="The snapshot to write.", show_default=False
    ),
]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A snapshot.")]
ImageOption = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="IMAGE",
        rich_help_panel=GUEST,
        help="The guest's image, if it is no bundled guest's and lies no longer where it lay.",
        show_default=False,
    ),
]
BlockOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--block",
        metavar="NAME=PATH",
        rich_help_panel=GUEST,
        help="The file behind a block device of the guest: a new one if the snapshot holds the "
        "disk, and otherwise by default the one that it was. Repeat it for each device.",
        show_default=False,
    ),
]

snapshot = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Keep the state of a running guest in a file, and run it from there.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep snapshot take ledger-1 -o ledger.vsnap",
)


@snapshot.callback()
def _group() -> None:
    """Keep the state of a running guest in a file, and run it from there."""


@snapshot.command(cls=Command, epilog="Example: vlockstep snapshot take ledger-1 -o ledger.vsnap")
def take(
    name: NameArgument,
    path: FileOption,
    directory: DirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a snapshot of a guest, which goes on.

    It is held for a moment, in which its disks are copied; the file is written afterwards. Disks
    that hold more than 16 MiB are refused: suspend the guest, and copy their files. Of a guest with
    replicas it is taken at a secondary, which its primary does not notice.
    """
    told = _ask(name, path, directory, suspend=False)
    if as_json:
        output.emit(told)
    else:
        print(
            f"{path}: {name} at {told['position']}, {told['bytes']} bytes; "
            f"it was held for {told['pause_ms']:.1f} ms"
        )


def suspend(
    name: NameArgument,
    path: FileOption,
    directory: DirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a snapshot of a guest and end it, to be resumed later.

    It ends when the file is safe; if that cannot be written it goes on. Its disks stay as they are,
    in their files: leave them alone until it is resumed.
    """
    told = _ask(name, path, directory, suspend=True)
    if as_json:
        output.emit(told)
    else:
        print(
            f"{path}: {name} is suspended at {told['position']}, {told['bytes']} bytes; "
            f"go on with: vlockstep resume {path}"
        )


def _ask(name: str, path: Path, directory: Path | None, suspend: bool) -> dict[str, Any]:
    from vlockstep.supervise.client import facts

    progress = Progress()
    with closing(connect(directory, name)) as guest:
        try:
            absolute = str(path.absolute())
            told = guest.request("snapshot", progress.tell, path=absolute, suspend=suspend)
        except KeyboardInterrupt:
            progress.clear()
            output.note(f"{name} goes on with it: {path} is there when it is done")
            raise
        finally:
            progress.clear()
        if suspend and not guest.wait_end(_END_SECONDS):
            raise HostError(f"{name} is to end, and has not within {_END_SECONDS:g} s")
        return facts(told)


@snapshot.command(cls=Command, epilog="Example: vlockstep snapshot show ledger.vsnap")
def show(path: FileArgument, as_json: JsonOption = False) -> None:
    """Show what is in a snapshot, and whether it is whole.

    The exit status is 1 if it is damaged or cut off.
    """
    from vlockstep.replay.snapshot import SnapshotReader

    progress = Progress()
    with closing(SnapshotReader(path)) as reader:
        for _ in reader.verify():
            progress.tell(f"{reader.done * 100 // reader.size} % of {path} verified")
        progress.clear()
        if as_json:
            output.emit(_facts(reader))
        else:
            output.fields(_rows(reader))


def _facts(reader: SnapshotReader) -> dict[str, Any]:
    held = reader.snapshot
    return {
        "snapshot": str(reader.path),
        "bytes": reader.size,
        "name": held.name,
        "image": held.image and str(held.image),
        "config": held.config.to_dict(),
        "position": str(held.position),
        "cycles": held.clock[0],
        "walltime": held.clock[1],
        "console_bytes": held.console,
        "generation": held.generation,
        "disks": {
            name: {"path": str(disk.path), "held": not disk.digest, "digest": disk.digest}
            for name, disk in held.disks.items()
        },
    }


def _rows(reader: SnapshotReader) -> Iterator[tuple[str, object]]:
    from vlockstep.machine.config import MIB

    held = reader.snapshot
    config = held.config
    yield "snapshot", f"{reader.path}, {reader.size} bytes, whole"
    yield "guest", held.name
    yield "image", f"{_image_name(held)} ({config.image_digest})"
    yield "arguments", " ".join(config.arguments)
    yield "memory", f"{config.memory // MIB} MiB"
    yield "cpu", config.cpu
    yield "position", held.position
    yield "its clock", time.strftime("%F %T", time.localtime(held.clock[1] // 10**9))
    yield "generation", held.generation
    for name, disk in held.disks.items():
        where = f"outside, in {disk.path}" if disk.digest else f"in the snapshot; was {disk.path}"
        yield "disk", f"{name}, {config.blocks[name].capacity} bytes, {where}"
    for name, net in config.nets.items():
        yield "NIC", f"{name}, {net.mac}"


def _image_name(held: Snapshot) -> str:
    from vlockstep.machine.bundled import find

    found = find(held.config.image_digest)
    return found.name if found is not None else str(held.image)


@snapshot.command(
    cls=Command,
    epilog="Example: vlockstep snapshot start ledger.vsnap --block disk=/tmp/again.img",
)
def start(
    ctx: typer.Context,
    path: FileArgument,
    image: ImageOption = None,
    blocks: BlockOptions = None,
    nets: options.NetOptions = None,
    macs: options.MacOptions = None,
    keys: options.SwitchKeysOption = None,
    console: options.ConsoleOption = options.STDOUT,
    engine: options.EngineOption = options.AUTO,
    dumpcore: options.DumpcoreOption = None,
    on_error: options.OnErrorOption = None,
    name: options.NameOption = None,
    run_directory: options.RunDirectoryOption = None,
    as_json: options.EndJsonOption = False,
) -> None:
    """Run a guest from a snapshot, as often as you like.

    Of one that was suspended it needs a copy of each disk. It is told another generation each time.
    Its clocks go on: the cycle counter where it stood, the wall clock with the host's. A console
    file is emptied, as `run` does. The exit status is the guest's, and 1 after a guest error.
    """
    _start(ctx, path, image, as_json, append=False)


def resume(
    ctx: typer.Context,
    path: FileArgument,
    image: ImageOption = None,
    blocks: BlockOptions = None,
    nets: options.NetOptions = None,
    macs: options.MacOptions = None,
    keys: options.SwitchKeysOption = None,
    console: options.ConsoleOption = options.STDOUT,
    engine: options.EngineOption = options.AUTO,
    dumpcore: options.DumpcoreOption = None,
    on_error: options.OnErrorOption = None,
    name: options.NameOption = None,
    run_directory: options.RunDirectoryOption = None,
    as_json: options.EndJsonOption = False,
) -> None:
    """Go on with a guest that was suspended.

    As `snapshot start` does, but that a console file is continued. Its disks must be as they were
    when it was suspended.
    """
    _start(ctx, path, image, as_json, append=True)


def _start(
    ctx: typer.Context, path: Path, image: str | None, as_json: bool, append: bool
) -> NoReturn:
    from vlockstep.cli.run import run_guest
    from vlockstep.replay.snapshot import SnapshotReader
    from vlockstep.supervise.restoring import restore

    with closing(SnapshotReader(path)) as reader:
        found = _find_image(reader, image)
        config = reader.snapshot.config
        fields = {
            "image": str(found.path or Path(found.name).stem),
            "arguments": config.arguments,
            "memory": config.memory >> 20,
            "cpu": config.cpu,
        }
        spec = options.replica_spec(ctx, None, fields)

        def begin(tell: Callable[[str], None]) -> Origin:
            return restore(spec, reader, found, tell, append)

        run_guest(spec, as_json, begin, append, booted=False)


def _find_image(reader: SnapshotReader, reference: str | None) -> Image:
    from vlockstep.machine.bundled import open_image
    from vlockstep.replay.recorded import find_image

    if reference is not None:
        return open_image(reference)
    held = reader.snapshot
    return find_image(held.config.image_digest, held.image, str(reader.path))

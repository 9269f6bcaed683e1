"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlockstep.errors import HostError, UsageError

if TYPE_CHECKING:
    from vlockstep.machine.config import GuestConfig
    from vlockstep.machine.image import Image
    from vlockstep.replay.attach import Devices
    from vlockstep.replay.live import Console

DEFAULT_MEMORY_MB = 512
DEFAULT_CPU = "westmere"
STDOUT = "-"

ImageArgument = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="A Solo5 hvt image: its path, or the name of a bundled guest.",
        show_default=False,
    ),
]
GuestArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ARGS", help="The guest's own command line. Write it after --.", show_default=False
    ),
]
MemoryOption = Annotated[
    int, typer.Option("--mem", metavar="MB", help="Guest memory: a multiple of 2, up to 4096.")
]
BlockOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--block",
        metavar="NAME=PATH[,local]",
        help="The file behind a block device of the guest; local if every replica has its own "
        "identical copy. Repeat it for each device.",
        show_default=False,
    ),
]
ConsoleOption = Annotated[
    str,
    typer.Option(
        "--console", metavar="PATH", help="Write the guest's console to this file; - is stdout."
    ),
]
CpuOption = Annotated[
    str, typer.Option("--cpu", metavar="MODEL", help="The CPU model that the guest sees.")
]
DumpcoreOption = Annotated[
    Path | None,
    typer.Option(
        "--dumpcore",
        metavar="DIR",
        help="Write a core file for gdb here if the guest aborts.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Guest:
    """What a guest is started from. `files` are those it was read from or writes to."""

    image: Image
    config: GuestConfig
    devices: Devices
    files: tuple[Path, ...]


def open_guest(
    reference: str, arguments: list[str] | None, memory: int, cpu: str, blocks: list[str] | None
) -> Guest:
    """Open the image and the disks that the options name."""
    from vlockstep.machine.boot import check_devices
    from vlockstep.machine.bundled import open_image
    from vlockstep.machine.config import MIB, GuestConfig
    from vlockstep.replay.attach import BlockOption, attach

    image = open_image(reference)
    options = [BlockOption.parse(text) for text in blocks or []]
    try:
        " ".join(arguments or ()).encode()
    except UnicodeEncodeError as error:
        raise UsageError("the guest's command line is not valid UTF-8") from error
    devices = attach(image, options)
    config = GuestConfig(image.digest, memory * MIB, tuple(arguments or ()), cpu, devices.blocks)
    check_devices(image, config)
    files = [path for path in (Path(reference), *(o.path for o in options)) if path.exists()]
    return Guest(image, config, devices, tuple(files))


def open_console(target: str, files: Iterable[Path] = ()) -> Console:
    """Standard output, or an empty file that is none of `files`."""
    from vlockstep.replay.devices import ConsoleFile, ConsoleStream

    if target == STDOUT:
        return ConsoleStream()
    path = Path(target)
    refuse_overwriting(path, "console file", files)
    try:
        path.write_bytes(b"")
    except OSError as error:
        raise HostError(f"cannot open the console file {path}: {error.strerror}") from error
    return ConsoleFile(path)


def refuse_overwriting(path: Path, what: str, files: Iterable[Path]) -> None:
    """Refuse to write to `path` if it is one of `files`, which the command uses otherwise."""
    for file in files:
        both = path.exists() and file.exists()
        if path.samefile(file) if both else path.absolute() == file.absolute():
            raise UsageError(f"the {what} {path} is used otherwise in this command: name another")

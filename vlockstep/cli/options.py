"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlockstep.cli.command import FILES, GUEST, REPLAY
from vlockstep.errors import HostError, UsageError
from vlockstep.files.locks import open_locked
from vlockstep.program import background

if TYPE_CHECKING:
    from vlockstep.host.attach import BlockOption, Devices
    from vlockstep.host.live import Console
    from vlockstep.machine.config import GuestConfig, NetConfig
    from vlockstep.machine.image import Image
    from vlockstep.net.station import Station
    from vlockstep.wire.keys import Keys

DEFAULT_MEMORY_MB = 512
DEFAULT_CPU = "westmere"
STDOUT = "-"


def bundled_guests(incomplete: str) -> list[str]:
    """What a shell offers where an image is named; it offers files by itself."""
    from vlockstep.machine import bundled

    return [name for name in bundled.names() if name.startswith(incomplete)]


ImageArgument = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        autocompletion=bundled_guests,
        help="The name of a bundled guest, or the path of a Solo5 hvt image: ./NAME if a bundled "
        "guest is called so, too.",
        show_default=False,
    ),
]
LogImageOption = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="IMAGE",
        rich_help_panel=REPLAY,
        help="The log's image, if it is no bundled guest's and lies no longer where it was "
        "recorded.",
        show_default=False,
    ),
]
GuestArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[-- ARGS]", help="The guest's own command line, behind --.", show_default=False
    ),
]
MemoryOption = Annotated[
    int,
    typer.Option(
        "--mem",
        metavar="MB",
        rich_help_panel=GUEST,
        help="Guest memory: a multiple of 2, up to 4096.",
    ),
]
BlockOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--block",
        metavar="NAME=PATH[,local]",
        rich_help_panel=GUEST,
        help="The file behind a block device of the guest; local if every replica has its own "
        "identical copy. Repeat it for each device.",
        show_default=False,
    ),
]
NetOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--net",
        metavar="NAME=BACKEND",
        rich_help_panel=GUEST,
        help="What a NIC of the guest is connected to: tap:IFACE, an existing tap device, or "
        "switch:ENDPOINT, where `vlockstep switch` listens; with ,pcap=FILE to capture. Repeat it "
        "for each NIC.",
        show_default=False,
    ),
]
MacOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--net-mac",
        metavar="NAME=MAC",
        rich_help_panel=GUEST,
        help="The address of a NIC; by default one made from the guest's name.",
        show_default=False,
    ),
]
SwitchKeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        rich_help_panel=GUEST,
        help="Keys from `vlockstep keys new` for a switch; needed for any that is not of this "
        "machine alone. There the guest shows those of the primary.",
        show_default=False,
    ),
]
ConsoleOption = Annotated[
    str,
    typer.Option(
        "--console",
        metavar="PATH",
        rich_help_panel=FILES,
        help="Write the guest's console to this file; - is stdout.",
    ),
]
CpuOption = Annotated[
    str,
    typer.Option(
        "--cpu", metavar="MODEL", rich_help_panel=GUEST, help="The CPU model that the guest sees."
    ),
]
DumpcoreOption = Annotated[
    Path | None,
    typer.Option(
        "--dumpcore",
        metavar="DIR",
        rich_help_panel=FILES,
        help="Write a core file for gdb here if the guest aborts.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Attached:
    """A guest's open disks, its NICs by handle, and their part of its configuration by name."""

    devices: Devices
    nics: dict[int, Station]
    nets: dict[str, NetConfig]


@dataclass(frozen=True)
class Guest:
    """What a guest is started from. `files` are those it was read from or writes to."""

    image: Image
    config: GuestConfig
    attached: Attached
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Network:
    """What the options say of the guest's NICs. `guest` tells a switch whose they are, and who
    shares the guest's disks: both replicas of one guest say the same; "" if it has none."""

    backends: list[str] | None
    macs: list[str] | None
    keys: Keys | None = None
    guest: Callable[[], str] = lambda: ""

    def connect(self, image: Image, devices: Devices) -> Attached:
        """Connect the NICs; they join the disks."""
        from vlockstep.machine.config import NetConfig
        from vlockstep.machine.image import DeviceKind
        from vlockstep.net import attach

        options = [attach.NetOption.parse(text) for text in self.backends or []]
        macs = attach.addresses(Path(image.name).stem, options, self.macs or [])
        handles = {d.name: d.handle for d in image.devices if d.kind is DeviceKind.NET}
        for name in macs:
            if name not in handles:
                known = ", ".join(sorted(handles)) or "none"
                raise UsageError(f"{image.name} declares no NIC {name!r} (declared: {known})")
        if not options:
            return Attached(devices, {}, {})
        guest = self.guest() or uuid.uuid4().hex
        stations = attach.connect(options, macs, guest, self.keys, background)
        return Attached(
            devices,
            {handles[name]: station for name, station in stations.items()},
            {name: NetConfig(mac) for name, mac in macs.items()},
        )


def open_guest(
    reference: str,
    arguments: list[str] | None,
    memory: int,
    cpu: str,
    blocks: list[str] | None,
    network: Network,
) -> Guest:
    """Open the image, and the disks and NICs that the options name."""
    from vlockstep.host.attach import BlockOption
    from vlockstep.machine.boot import check_devices
    from vlockstep.machine.bundled import open_image
    from vlockstep.machine.config import MIB, GuestConfig

    image = open_image(reference)
    options = [BlockOption.parse(text) for text in blocks or []]
    try:
        " ".join(arguments or ()).encode()
    except UnicodeEncodeError as error:
        raise UsageError("the guest's command line is not valid UTF-8") from error
    devices = attach_disks(image, options, network.guest())
    attached = network.connect(image, devices)
    config = GuestConfig(
        image.digest, memory * MIB, tuple(arguments or ()), cpu, devices.blocks, attached.nets
    )
    check_devices(image, config)
    return Guest(image, config, attached, files_of(reference, options))


def attach_disks(image: Image, options: Iterable[BlockOption], guest: str = "") -> Devices:
    """`attach`, which tells in a terminal how far it is with a large local disk."""
    from vlockstep.host.attach import attach
    from vlockstep.program.progress import Progress

    if not sys.stderr.isatty():  # there may be a program that expects JSON
        return attach(image, options, guest)
    progress = Progress()
    try:
        return attach(image, options, guest, progress.tell)
    finally:
        progress.clear()


def unprotected(backends: list[str] | None, macs: list[str] | None, keys: Path | None) -> Network:
    """The NICs of a guest without a secondary. It is what it would be as a primary, so a switch
    gets to see the primary's key."""
    if keys is None:
        return Network(backends, macs)
    from vlockstep.wire.keys import Party, load

    if not any("=switch:" in backend for backend in backends or []):
        raise UsageError("the keys are for a switch: connect a NIC with --net NAME=switch:ENDPOINT")
    return Network(backends, macs, load(keys, Party.PRIMARY))


def files_of(reference: str, disks: Iterable[BlockOption]) -> tuple[Path, ...]:
    """What a guest is read from and writes to: its image, unless it is bundled, and its disks."""
    from vlockstep.machine.bundled import image_file

    image = image_file(reference)
    files = [*([image] if image is not None else []), *(disk.path for disk in disks)]
    return tuple(path for path in files if path.exists())


def open_console(target: str, files: Iterable[Path] = ()) -> Console:
    """Standard output, or an empty file that is none of `files`."""
    from vlockstep.host.devices import ConsoleFile, ConsoleStream

    if target == STDOUT:
        return ConsoleStream()
    path = Path(target)
    refuse_overwriting(path, "console file", files)
    console = ConsoleFile(path)
    console.truncate()
    return console


def reserve_log(path: Path, files: Iterable[Path]) -> None:
    """Open and lock the file of a log as it is, for as long as this process runs: it will write
    it, as a `LogWriter`, and it is none of `files`. But a FIFO is left alone: opening it takes
    somebody who reads, who would then wait for its end."""
    refuse_overwriting(path, "log", files)
    try:
        if not path.is_fifo():
            open_locked(path, f"the log {path}")
    except OSError as error:
        raise HostError(f"cannot write the log {path}: {error.strerror}") from error


def refuse_overwriting(path: Path, what: str, files: Iterable[Path]) -> None:
    """Refuse to write to `path` if it is one of `files`, which the command uses otherwise."""
    for file in files:
        both = path.exists() and file.exists()
        if path.samefile(file) if both else path.absolute() == file.absolute():
            raise UsageError(f"the {what} {path} is used otherwise in this command: name another")

"""What a demonstration shows: the guest, its files, and where which fault strikes its primary."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGSTOP, Signals

from vlockstep.errors import HostError, UsageError
from vlockstep.ft.faults import Place
from vlockstep.machine.bundled import open_bundled, open_image
from vlockstep.machine.image import DeviceKind, Image

LEDGER = "ledger"
DISK_BLOCK = 512
_MIN_DISK = 1 << 20
_ENTRIES_PER_LINE = 5
"""Of the ledger: poll, walltime, cycles, console, block write. Only where a fault is placed by
chance depends on it."""
_EARLIEST, _LATEST = 0.3, 0.6
"""Between which parts of a ledger a fault is placed by chance."""


@dataclass(frozen=True)
class Plan:
    """`lines` is the length of a ledger, None for other guests; `memory` is in MiB."""

    image: Image
    reference: str
    arguments: tuple[str, ...]
    memory: int
    place: str
    signal: Signals
    seed: int
    lines: int | None

    @property
    def guest(self) -> str:
        """The guest and its arguments, for people."""
        return " ".join([self.image.name.removesuffix(".hvt"), *self.arguments])

    @property
    def deed(self) -> str:
        return "paused" if self.signal is SIGSTOP else "killed"


def make_plan(
    reference: str,
    arguments: list[str],
    *,
    lines: int,
    memory: int,
    place: str | None,
    pause: bool,
    seed: int,
) -> Plan:
    """Choose what was left to chance. Raises `UsageError` for what cannot be."""
    image = open_image(reference)
    ledger = image.digest == open_bundled(LEDGER).digest
    if ledger:
        if any(argument.startswith("--lines=") for argument in arguments):
            raise UsageError("give the demo --lines N, not its guest")
        arguments = [f"--lines={lines}", *arguments]
    place = _choose(random.Random(seed), lines if ledger else None) if place is None else place
    place = place.removeprefix("at=")
    number = SIGSTOP if pause else SIGKILL
    Place.parse(place)
    return Plan(
        image, reference, tuple(arguments), memory, place, number, seed, lines if ledger else None
    )


def _choose(chance: random.Random, lines: int | None) -> str:
    """In the middle of a ledger; for a guest we know nothing of, its first output."""
    if lines is None:
        return "write:0"
    entries = _ENTRIES_PER_LINE * lines
    return f"write:{chance.randint(int(_EARLIEST * entries), int(_LATEST * entries))}"


@dataclass(frozen=True)
class Files:
    """The files of a demonstration, all in one directory. `disks` are by device name."""

    directory: Path
    disks: dict[str, Path]

    @property
    def console(self) -> Path:
        return self.directory / "console.txt"

    @property
    def arbiter(self) -> Path:
        return self.directory / "arbiter"

    @property
    def log(self) -> Path:
        """Of the replica that is the secondary at first: it has every entry."""
        return self.directory / "secondary.vlog"

    @property
    def first_log(self) -> Path:
        return self.directory / "primary.vlog"


def prepare(plan: Plan, directory: Path) -> Files:
    """Make the empty disks that the guest needs in `directory`, which is there and empty."""
    disks = {
        device.name: directory / f"{device.name}.img"
        for device in plan.image.devices
        if device.kind is DeviceKind.BLOCK
    }
    size = max(_MIN_DISK, (plan.lines or 0) * DISK_BLOCK)
    try:
        for path in disks.values():
            with path.open("xb") as file:
                file.truncate(size)
    except OSError as error:
        raise HostError(f"cannot make the files of the demo: {error}") from error
    return Files(directory, disks)

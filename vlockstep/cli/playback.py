"""What a replay needs: the image and disks that its log asks for, and where its text goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from vlockstep.cli.execution import Ending, execute
from vlockstep.cli.options import attach_disks, open_console
from vlockstep.errors import LogError, UsageError
from vlockstep.host.attach import BlockOption, Devices
from vlockstep.machine import bundled
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.world import World
from vlockstep.replay import recorded
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.logfile import LogReader

Suppressed = Callable[[int, Kind, int, int, bytes], None]


def find_image(log: LogReader, reference: str | None) -> Image:
    """The image that is named, or the one that the log was recorded with."""
    if reference is not None:
        return bundled.open_image(reference)
    try:
        return recorded.find_image(log)
    except UsageError as error:
        raise UsageError(f"{error} with --image") from error


def attach_local(image: Image, config: GuestConfig, blocks: list[str]) -> Devices:
    """The disks whose content is not in the log, as they were when it began."""
    options = [BlockOption.parse(text) for text in blocks]
    wanted = {name for name, block in config.blocks.items() if block.local}
    for name in sorted(wanted - {option.name for option in options}):
        raise UsageError(
            f"the log does not hold the content of the local device {name!r}: give the disk as it "
            f"was when the recording began, with --block {name}=PATH,local"
        )
    devices = attach_disks(image, options)
    for option in options:
        if option.name not in wanted or not option.local:
            raise UsageError(
                f"the log holds all that device {option.name!r} was read: drop its --block"
                if option.name not in wanted
                else f"the device {option.name!r} was local: write {option.name}=PATH,local"
            )
        if devices.blocks[option.name] != config.blocks[option.name]:
            raise UsageError(
                f"the disk {option.path} is not as device {option.name!r} was when the recording "
                "began: give a copy from then"
            )
    return devices


def follow(
    log: LogReader,
    entries: Iterator[Entry],
    machine: Machine,
    world: World,
    tick: Callable[[], None] = lambda: None,
) -> Ending:
    """Execute the guest in the world of a log, as far as either goes; what is left of `entries`
    then does not belong there. `tick` is called meanwhile."""
    ending = execute(machine, world, tick)
    if ending.end in ("halt", "error") and next(entries, None) is not None:
        raise LogError(f"{log.path}: there are entries after the guest's end")
    return ending


def console_printer(target: str | None, files: list[Path]) -> Suppressed | None:
    """Writes the console text of a replay to `target`, if there is one."""
    if target is None:
        return None
    console = open_console(target, files)
    written = 0

    def suppressed(_sequence: int, kind: Kind, _handle: int, _offset: int, data: bytes) -> None:
        nonlocal written
        if kind is Kind.CONSOLE:
            console.write(written, data)
            written += len(data)

    return suppressed

"""What a replay needs: the image and disks that its log asks for, and where its text goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from vlockstep.cli import options
from vlockstep.cli.devices import disks
from vlockstep.cli.execution import Ending, execute
from vlockstep.errors import LogError, UsageError
from vlockstep.host.attach import Devices, attach
from vlockstep.machine import bundled
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.engines import AUTO
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.world import World
from vlockstep.replay import recorded
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.logfile import LogReader
from vlockstep.supervise.files import open_empty_console

Suppressed = Callable[[int, Kind, int, int, bytes], None]


def find_image(log: LogReader, reference: str | None, engine: str = AUTO) -> Image:
    """The image that is named, or the one that the log was recorded with. Warns if this is no host
    to replay it on this engine."""
    recorded.warn_if_unlike(log, engine)
    if reference is not None:
        return bundled.open_image(reference)
    return recorded.find_image(log.config.image_digest, log.image, str(log.path))


def attach_local(image: Image, config: GuestConfig, blocks: list[str]) -> Devices:
    """The disks whose content is not in the log, as they were when it began."""
    specs = disks(blocks, ())
    wanted = {name for name, block in config.blocks.items() if block.local}
    for name in sorted(wanted - {spec.name for spec in specs}):
        raise UsageError(
            f"the log does not hold the content of the local device {name!r}: give the disk as it "
            f"was when the recording began, with --block {name}=PATH,local"
        )
    with options.progress_of_disks() as tell:
        devices = attach(image, specs, tell=tell)
    for spec in specs:
        if spec.name not in wanted or not spec.local:
            raise UsageError(
                f"the log holds all that device {spec.name!r} was read: drop its --block"
                if spec.name not in wanted
                else f"the device {spec.name!r} was local: write {spec.name}=PATH,local"
            )
        then = config.blocks[spec.name]
        if replace(devices.blocks[spec.name], block_size=then.block_size) != then:
            raise UsageError(
                f"the disk {spec.path} is not as device {spec.name!r} was when the recording "
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
    console = open_empty_console(None if target == options.STDOUT else Path(target), files)
    written = 0

    def suppressed(_sequence: int, kind: Kind, _handle: int, _offset: int, data: bytes) -> None:
        nonlocal written
        if kind is Kind.CONSOLE:
            console.write(written, data)
            written += len(data)

    return suppressed

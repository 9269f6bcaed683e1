"""What a replay needs: the image and disks that its log asks for, and the log as a script that
ends the execution where it should."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from vlockstep.cli.execution import stop
from vlockstep.cli.options import open_console
from vlockstep.errors import UsageError
from vlockstep.machine import bundled
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.replay.attach import BlockOption, Devices, attach
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.replayer import Sequence
from vlockstep.replay.until import parse_until

Suppressed = Callable[[int, Kind, int, int, bytes], None]


class Script:
    """The entries of a log as a `Source`. Where they end, and before entry `until` is taken, it
    stops the machine."""

    def __init__(self, entries: Iterator[Entry], machine: Machine, until: int | None) -> None:
        self.taken = 0
        self._entries = entries
        self._machine = machine
        self._until = until
        self._sequence = Sequence(self._to_the_end())

    def peek(self) -> Entry:
        return self._sequence.peek()

    def take(self) -> Entry:
        if self.taken == self._until:
            stop(self._machine, "until")
        entry = self._sequence.take()
        self.taken += 1
        return entry

    def _to_the_end(self) -> Iterator[Entry]:
        yield from self._entries
        stop(self._machine, "log")


def goal(text: str | None) -> tuple[int | None, Position | None]:
    """An entry's sequence number, or a position."""
    until = None if text is None else parse_until(text)
    return (None, until) if isinstance(until, Position) else (until, None)


def new_machine(image: Image, config: GuestConfig, stop_at: Position | None) -> Machine:
    """A machine that stops at the position, between exits too."""
    machine = Machine(image, config, count_blocks=stop_at is not None and stop_at.blocks > 0)
    if stop_at is not None:
        machine.break_at(stop_at, partial(stop, machine, "until"))
    return machine


def find_image(log: Path, config: GuestConfig, reference: str | None) -> Image:
    if reference is not None:
        return bundled.open_image(reference)
    image = bundled.find(config.image_digest)
    if image is None:
        raise UsageError(
            f"{log} was recorded with an image that is no bundled guest "
            f"({config.image_digest[:12]}): name it with --image"
        )
    return image


def attach_local(image: Image, config: GuestConfig, blocks: list[str]) -> Devices:
    """The disks whose content is not in the log, as they were when it began."""
    options = [BlockOption.parse(text) for text in blocks]
    wanted = {name for name, block in config.blocks.items() if block.local}
    for name in sorted(wanted - {option.name for option in options}):
        raise UsageError(
            f"the log does not hold the content of the local device {name!r}: give the disk as it "
            f"was when the recording began, with --block {name}=PATH,local"
        )
    devices = attach(image, options)
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

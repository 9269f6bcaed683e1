"""Replays a log in this process and tells where the guest was in the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from vlockstep.errors import LogError, UsageError
from vlockstep.machine import bundled
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.registers import Registers
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Outcome
from vlockstep.replay.attach import BlockOption, attach
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.replayer import EndOfLog, Replayer, Sequence


@dataclass(frozen=True)
class Replayed:
    """The guest's state at its end, or where the log ends before it; `status` is None then.

    `console` is the text that the log confirmed, `entries` how many were taken.
    """

    registers: Registers
    memory_digest: bytes
    status: int | None
    reason: str
    entries: int
    console: bytes


def replay(
    log: Path, disks: Mapping[str, Path] | None = None, image: Image | None = None
) -> Replayed:
    """Replay all of `log`. Raises `Divergence` and `LogError`.

    `disks` are copies, as the files were at the start, of devices that were local: they are
    written to. An image that is no bundled guest must be given.
    """
    options = [BlockOption(name, path, local=True) for name, path in (disks or {}).items()]
    with closing(LogReader(log)) as reader:
        found = image or bundled.find(reader.config.image_digest)
        if found is None:
            raise UsageError(f"{log} is of an image that is no bundled guest: give it")
        with (
            closing(attach(found, options)) as devices,
            closing(Machine(found, reader.config)) as machine,
        ):
            entries = reader.entries()
            source = _Source(entries, machine)
            text: list[bytes] = []
            world = _Witness(
                source,
                machine,
                local={handle: devices.disks[handle] for handle in devices.local},
                suppressed=lambda *output: text.append(_console_text(*output)),
            )
            with suppress(EndOfLog, GuestError):
                machine.run(world)
            if next(entries, None) is not None:
                raise LogError(f"{log}: there are entries after the guest's end")
            return _result(world, source, b"".join(text))


class _Source(Sequence):
    """Notes the guest's state where the entries end: there it is exact."""

    def __init__(self, entries: Iterator[Entry], machine: Machine) -> None:
        super().__init__(entries)
        self._machine = machine
        self.stopped: tuple[Registers, bytes] | None = None

    def take(self) -> Entry:
        try:
            return super().take()
        except EndOfLog:
            self.stopped = self._machine.registers(), self._machine.memory.digest()
            raise


class _Witness(Replayer):
    outcome: Outcome | None = None

    def end(self, outcome: Outcome) -> None:
        super().end(outcome)
        self.outcome = outcome


def _console_text(_sequence: int, kind: Kind, _handle: int, _offset: int, data: bytes) -> bytes:
    return data if kind is Kind.CONSOLE else b""


def _result(world: _Witness, source: _Source, console: bytes) -> Replayed:
    if world.outcome is not None:
        end = world.outcome
        return Replayed(
            end.registers, end.memory_digest, end.status, end.reason, world.sequence, console
        )
    assert source.stopped is not None
    return Replayed(*source.stopped, None, "", world.sequence, console)

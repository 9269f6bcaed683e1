"""A log that is executed again while its entries are told one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from vlockstep.cli import output, playback
from vlockstep.errors import LogError
from vlockstep.machine.machine import Machine
from vlockstep.machine.world import NoAnswer, Outcome
from vlockstep.replay.entry import Entry
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.replayer import Divergence, LocalDisk, Replayer
from vlockstep.replay.script import Script, new_machine

Tell = Callable[[int, Entry, dict[str, Any]], None]
"""Takes an entry's sequence number, the entry, and what the guest did there."""


def narrate(
    log: LogReader,
    image: str | None,
    blocks: list[str],
    tell: Tell,
    enough: Callable[[], bool],
) -> None:
    """Replay the log, and tell each entry that proves right, until it is `enough`."""
    log.expect_boot()
    found = playback.find_image(log, image)
    devices = playback.attach_local(found, log.config, blocks)
    machine = new_machine(found, log.config, None)
    entries = log.entries()
    script = _Told(Script(entries, machine, None), machine, tell, enough)
    local: dict[int, LocalDisk] = {handle: devices.disks[handle] for handle in devices.local}
    try:
        playback.follow(log, entries, machine, _Narrator(script, machine, local))
    except Divergence as error:
        output.note(error.report())
        raise typer.Exit(error.exit_status) from error
    except LogError as error:
        raise LogError(f"{error}; replayed and verified before it: {script.told}") from error


class _Told:
    """A `Source` that tells an entry when the next one is asked for, since then it has proved
    right."""

    def __init__(
        self, script: Script, machine: Machine, tell: Tell, enough: Callable[[], bool]
    ) -> None:
        self.told = 0
        self.details: dict[str, Any] = {}
        """What the guest did at the entry that was taken last."""
        self._script = script
        self._machine = machine
        self._tell = tell
        self._enough = enough
        self._taken: Entry | None = None

    def peek(self) -> Entry:
        self.proved()
        return self._script.peek()

    def take(self) -> Entry:
        self.proved()
        self._taken = self._script.take()
        return self._taken

    def proved(self) -> None:
        """The entry that was taken last is right."""
        if self._taken is not None:
            self._tell(self.told, self._taken, self.details)
            self.told += 1
            self._taken, self.details = None, {}
        if self._enough():
            self._machine.stop()
            raise NoAnswer


class _Narrator(Replayer):
    """Notes what the guest asks for in the exits whose entries do not hold it."""

    def __init__(self, told: _Told, machine: Machine, local: dict[int, LocalDisk]) -> None:
        super().__init__(told, machine, local=local)
        self._told = told
        self._names = {device.handle: device.name for device in machine.image.devices}

    def net_read(self, at: int, handle: int, limit: int) -> bytes | None:
        frame = super().net_read(at, handle, limit)
        self._told.details = self._of(handle) | ({"length": len(frame)} if frame else {})
        return frame

    def block_read(self, at: int, handle: int, offset: int, length: int) -> bytes | None:
        data = super().block_read(at, handle, offset, length)
        self._told.details = self._of(handle, offset=offset, length=length)
        return data

    def console(self, at: int, data: bytes) -> None:
        super().console(at, data)
        self._told.details = {"length": len(data), "text": data.decode(errors="backslashreplace")}

    def net_write(self, at: int, handle: int, frame: bytes) -> None:
        super().net_write(at, handle, frame)
        self._told.details = self._of(handle, length=len(frame))

    def block_write(self, at: int, handle: int, offset: int, data: bytes) -> None:
        super().block_write(at, handle, offset, data)
        self._told.details = self._of(handle, offset=offset, length=len(data))

    def end(self, outcome: Outcome) -> None:
        super().end(outcome)
        self._told.proved()

    def _of(self, handle: int, **details: int) -> dict[str, Any]:
        return {"device": self._names[handle], **details}

"""Replays a log in this process and tells where the guest was in the end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from vlockstep.errors import LogError, UsageError, VlockstepError
from vlockstep.host.attach import DiskSpec, attach
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Outcome
from vlockstep.program.tracebacks import hide
from vlockstep.replay.entry import Kind
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.recorded import find_image
from vlockstep.replay.replayer import Replayer
from vlockstep.replay.script import Script, new_machine, parse_goal

__tracebackhide__ = hide


@dataclass(frozen=True)
class Replayed:
    """The guest's state at its end; or where the replay stopped before it, since the log ends
    there or `until` said so: `status` is None then.

    `console` is the text that the log confirmed, `entries` how many were taken.
    """

    position: Position
    registers: Registers
    memory_digest: bytes
    status: int | None
    reason: str
    entries: int
    console: bytes


def replay(
    log: Path,
    disks: Mapping[str, Path] | None = None,
    image: Image | None = None,
    until: Position | str | int | None = None,
) -> Replayed:
    """Replay all of `log`, or as far as `until`: a position, the number of an entry that is not
    taken any more, or either as text (`exits:500+1`, `entry:12`). Raises `Divergence`, `LogError`,
    and `UsageError` if the execution does not come there.

    `disks` are copies, as the files were at the start, of devices that were local: they are
    written to. An image that is no bundled guest, and has gone from where it was, must be given.
    """
    specs = [DiskSpec(name, path, local=True) for name, path in (disks or {}).items()]
    goal = parse_goal(until) if isinstance(until, str) else until
    with closing(LogReader(log)) as reader:
        found = image or find_image(reader)
        with (
            closing(attach(found, specs)) as devices,
            closing(new_machine(found, reader.config, goal)) as machine,
        ):
            entries = reader.entries()
            script = Script(entries, machine, goal, _stop)
            text: list[bytes] = []
            world = _Witness(
                script,
                machine,
                local={handle: devices.disks[handle] for handle in devices.local},
                suppressed=lambda *output: text.append(_console_text(*output)),
            )
            stopped: _Stopped | None = None
            try:
                with suppress(GuestError):
                    machine.run(world)
            except _Stopped as where:
                stopped = where
            if goal is not None and (stopped is None or stopped.end != "until"):
                raise UsageError(f"{until} is not in {log}: it ends after {script.taken} entries")
            if stopped is None and next(entries, None) is not None:
                raise LogError(f"{log}: there are entries after the guest's end")
            return _result(world, stopped, b"".join(text))


class _Stopped(VlockstepError):
    """Ends the execution, with the guest's state: here it is exact."""

    def __init__(self, machine: Machine, end: str) -> None:
        super().__init__(end)
        self.end = end
        self.position = machine.position
        self.registers = machine.registers()
        self.memory_digest = machine.memory.digest()


def _stop(machine: Machine, end: str) -> NoReturn:
    raise _Stopped(machine, end)


class _Witness(Replayer):
    outcome: Outcome | None = None

    def end(self, outcome: Outcome) -> None:
        super().end(outcome)
        self.outcome = outcome


def _console_text(_sequence: int, kind: Kind, _handle: int, _offset: int, data: bytes) -> bytes:
    return data if kind is Kind.CONSOLE else b""


def _result(world: _Witness, stopped: _Stopped | None, console: bytes) -> Replayed:
    if stopped is not None:
        state = stopped.position, stopped.registers, stopped.memory_digest
        return Replayed(*state, None, "", world.sequence, console)
    end = world.outcome
    assert end is not None
    state = end.position, end.registers, end.memory_digest
    return Replayed(*state, end.status, end.reason, world.sequence, console)

"""Replays a log in this process and tells where the guest was in the end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from vlockstep.errors import LogError, UsageError
from vlockstep.host.attach import DiskSpec, attach
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import Position
from vlockstep.machine.registers import Registers
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Cause, Outcome, Stop, World
from vlockstep.program.tracebacks import hide
from vlockstep.replay.entry import Kind
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.recorded import find_image, warn_if_unlike
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
        reader.expect_boot()
        found = image or find_image(reader.config.image_digest, reader.image, str(log))
        with (
            closing(attach(found, specs)) as devices,
            closing(new_machine(found, reader.config, goal)) as machine,
        ):
            warn_if_unlike(reader, machine.engine_name)
            entries = reader.entries()
            script = Script(entries, machine, goal)
            text: list[bytes] = []
            world = Replayer(
                script,
                machine,
                local={handle: devices.disks[handle] for handle in devices.local},
                suppressed=lambda *output: text.append(_console_text(*output)),
            )
            end = _run(machine, world)
            if goal is not None and not (isinstance(end, Stop) and end.cause is Cause.REQUEST):
                raise UsageError(f"{until} is not in {log}: it ends after {script.taken} entries")
            if isinstance(end, Outcome) and next(entries, None) is not None:
                raise LogError(f"{log}: there are entries after the guest's end")
            console = b"".join(text)
            if isinstance(end, Stop):
                registers, digest = machine.registers(), machine.memory.digest()
                return Replayed(end.position, registers, digest, None, "", world.sequence, console)
            return Replayed(
                end.position,
                end.registers,
                end.memory_digest,
                end.status,
                end.reason,
                world.sequence,
                console,
            )


def _run(machine: Machine, world: World) -> Outcome | Stop:
    try:
        return machine.run(world)
    except GuestError as error:
        return error.outcome


def _console_text(_sequence: int, kind: Kind, _handle: int, _offset: int, data: bytes) -> bytes:
    return data if kind is Kind.CONSOLE else b""

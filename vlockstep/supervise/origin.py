"""Where a guest that nobody protects begins here, and what there is of it when it runs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vlockstep.host.devices import ConsoleFile, ConsoleStream
from vlockstep.host.live import Continuation, LiveWorld
from vlockstep.machine.machine import Machine
from vlockstep.supervise import parts
from vlockstep.supervise.parts import Guest
from vlockstep.supervise.spec import ReplicaSpec


@dataclass(frozen=True)
class Origin:
    """A guest, its machine, and how its World begins; so much `console` text there has been.
    It comes from `files`. Its `identity` is what replicas of it will be known by: whoever knows it
    may share its disks; "" if nobody ever may."""

    guest: Guest
    machine: Machine
    start: Continuation = field(default_factory=Continuation)
    generation: int = 0
    console: int = 0
    files: tuple[Path, ...] = ()
    identity: str = ""


@dataclass(frozen=True)
class LiveGuest:
    """A guest that runs here. `console_before` is how much text it had written when it was at
    offset 0 of its console; `files` are those that it uses."""

    name: str
    guest: Guest
    machine: Machine
    world: LiveWorld
    generation: int
    console_before: int
    files: tuple[Path, ...]
    console: ConsoleFile | ConsoleStream
    identity: str = ""

    def close(self) -> None:
        """Leave its disks, its networks and its console to others; it must stand still for ever."""
        self.guest.devices.close()
        for nic in self.guest.nics.values():
            nic.close()
        self.console.close()


def boot(spec: ReplicaSpec, tell: Callable[[str], None]) -> Origin:
    identity = uuid.uuid4().hex
    guest = parts.open_guest(spec, parts.load_keys(spec), lambda: identity, tell)
    assert guest.config is not None
    return Origin(guest, Machine(guest.image, guest.config, engine=spec.engine), identity=identity)

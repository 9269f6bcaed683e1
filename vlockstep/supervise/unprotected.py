"""A guest of this process that nobody protects, as its control socket shows it.

What events, states and snapshots are takes a while to import, and few guests are watched: they are
made when somebody wants them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vlockstep.supervise.control import Answer, Command
from vlockstep.supervise.origin import LiveGuest
from vlockstep.supervise.running import StatusCommand, reason_of

if TYPE_CHECKING:
    from types import ModuleType

    from vlockstep.ft.events import Status
    from vlockstep.supervise.snapshots import SnapshotCommand


class Later:
    """An event that `make` makes, from the module of events."""

    def __init__(self, name: str, make: Callable[[ModuleType], Any]) -> None:
        self.name = name
        self._make = make

    def to_dict(self) -> dict[str, Any]:
        from vlockstep.ft import events

        told: dict[str, Any] = self._make(events).to_dict()
        return told


class UnprotectedCommands:
    """What can be asked of it; `end` ends it for a reason, soon."""

    def __init__(self, live: LiveGuest, end: Callable[[str], None]) -> None:
        self._live = live
        self._end = end
        self._snapshots: SnapshotCommand | None = None

    def by_name(self) -> dict[str, Command]:
        status = StatusCommand(lambda take: take(self.status()))
        return {"status": status, "stop": self._stop, "snapshot": self._snapshot}

    def status(self) -> Status:
        from vlockstep.ft.events import Status
        from vlockstep.protocol.states import State

        guest = self._live.guest
        nics = guest.nics
        names = {device.handle: device.name for device in guest.image.devices}
        return Status(
            role="unprotected",
            state=State.ALONE,
            generation=self._live.generation,
            exits=self._live.machine.exits,
            entries=0,
            lag_entries=0,
            log_bytes=0,
            nics={names[handle]: replace(nic.counters) for handle, nic in nics.items()},
            disks={name: replace(c) for name, c in guest.devices.counters.items()},
            network=any(nic.connected() for nic in nics.values()) if nics else None,
        )

    def _stop(self, request: Mapping[str, Any], answer: Answer) -> None:
        self._end(reason_of(request))
        answer({})

    def _snapshot(self, request: Mapping[str, Any], answer: Answer) -> None:
        from vlockstep.supervise.snapshots import SnapshotCommand

        if self._snapshots is None:
            self._snapshots = SnapshotCommand(self._live, self._end)
        self._snapshots(request, answer)

    def finish(self) -> None:
        """The guest has ended: wait for what is still to be written."""
        if self._snapshots is not None:
            self._snapshots.finish()

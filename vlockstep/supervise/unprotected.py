"""A guest of this process that nobody protects, as its control socket shows it.

What events, states and snapshots are takes a while to import, and few guests are watched: they are
made when somebody wants them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from vlockstep.errors import Left, VlockstepError
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Outcome
from vlockstep.supervise.control import Answer, Command, Told
from vlockstep.supervise.diskmoves import MOVING, DiskMoves
from vlockstep.supervise.origin import LiveGuest
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.supervise.running import StatusCommand, reason_of
from vlockstep.supervise.spec import ReplicaSpec

if TYPE_CHECKING:
    from types import ModuleType

    from vlockstep.ft.events import Status
    from vlockstep.supervise.liverecording import Kept, LiveRecordings
    from vlockstep.supervise.protection import Protection
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
    """What can be asked of it: of a guest that nobody protects, and once replicas may join it, of
    their primary. `observe` gets what happens then; `raise_` ends this process by an error, soon.
    `last` are its last minutes, if they are kept.
    """

    def __init__(
        self,
        live: LiveGuest,
        spec: ReplicaSpec,
        observe: Callable[[Told], None],
        raise_: Callable[[BaseException], None],
        last: Kept | None = None,
    ) -> None:
        self._last = last
        self._recordings: LiveRecordings | None = None
        self._live = live
        self._spec = spec
        self._observe = observe
        self._raise = raise_
        self._snapshots: SnapshotCommand | None = None
        self._protection: Protection | None = None
        self._moves = DiskMoves(live.guest.devices, observe)

    @property
    def protected(self) -> bool:
        """Whether replicas may join."""
        return self._protection is not None

    def by_name(self) -> dict[str, Command]:
        own: dict[str, Command] = {
            "status": StatusCommand(lambda take: take(self.status())),
            "stop": self._stop,
            "snapshot": self._snapshot,
            "protect": self._protect,
            "recording": self._record,
            **self._moves.by_name(),
        }
        later = ("switchover", "migrate", "cancel-migration")
        either = ("status", "stop", "snapshot", "recording", *self._moves.by_name())
        return (
            own
            | {name: partial(self._as_primary, name) for name in later}
            | {name: partial(self._either, name, own[name]) for name in either}
        )

    def _end(self, reason: str) -> None:
        self._raise(Left(reason))

    def _either(self, name: str, own: Command, request: Mapping[str, Any], answer: Answer) -> None:
        command = own if self._protection is None else self._protection.commands[name]
        command(request, answer)

    def _as_primary(self, name: str, request: Mapping[str, Any], answer: Answer) -> None:
        if self._protection is None:
            answer({"error": "no replica can have the guest before it is protected: protect it"})
        else:
            self._protection.commands[name](request, answer)

    def _protect(self, request: Mapping[str, Any], answer: Answer) -> None:
        """Let replicas join."""
        from vlockstep.supervise.companion import secondary_words
        from vlockstep.supervise.protection import Protection, primary_spec

        if self._protection is not None:
            answer({"error": f"replicas can join it already, at {self._protection.endpoint}"})
        elif self._snapshots is not None and self._snapshots.busy:
            answer({"error": "a snapshot of it is being taken: protect it when that is done"})
        elif not self._live.identity:
            answer({"error": "a guest that was started from a snapshot cannot be protected yet"})
        elif self._moves.busy:
            answer({"error": MOVING})
        else:
            try:
                spec = primary_spec(self._spec, request)
                name = RunDirectory(spec.run_directory).name_beside(self._live.name)
                self._protection = Protection(self._live, spec, self._observe, self._raise)
            except VlockstepError as error:
                answer({"error": str(error)})
            else:
                answer({"endpoint": spec.endpoint, "secondary": secondary_words(spec, name)})

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
            moves=self._moves.under_way(),
        )

    def _stop(self, request: Mapping[str, Any], answer: Answer) -> None:
        self._end(reason_of(request))
        answer({})

    def _snapshot(self, request: Mapping[str, Any], answer: Answer) -> None:
        from vlockstep.supervise.snapshots import SnapshotCommand

        if self._moves.busy and request.get("suspend"):
            answer({"error": MOVING})
            return
        if self._snapshots is None:
            self._snapshots = SnapshotCommand(self._live, self._end)
        self._snapshots(request, answer)

    def _record(self, request: Mapping[str, Any], answer: Answer) -> None:
        from vlockstep.supervise.liverecording import Alone, LiveRecordings

        alone = Alone(self._last)
        if self._recordings is None:
            self._recordings = LiveRecordings(self._live.files, lambda what: what(alone))
        self._recordings.take(alone, request, answer)

    def close(self) -> None:
        """Nobody asks any more."""
        self._moves.close()
        if self._protection is not None:
            self._protection.close()

    def leave(self, reason: str) -> None:
        """This process is to end."""
        if self._protection is not None:
            self._protection.leave(reason)

    def finish(self, end: Outcome | GuestError | None) -> None:
        """The guest has ended: wait for what is still to be written, or told to its replicas."""
        if self._protection is not None:
            assert end is not None
            self._protection.finish(end)
        if self._snapshots is not None:
            self._snapshots.finish()

"""What can be asked of a replica."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlockstep.errors import UsageError, VlockstepError
from vlockstep.ft import replica as ft
from vlockstep.ft.events import Event, Left, Stopped, SwitchoverAnswered, Unprotected
from vlockstep.ft.migration import Report
from vlockstep.ft.process import Process
from vlockstep.ft.rounds import DOWNTIME_MS, METHODS, PRECOPY, Precopy
from vlockstep.ft.writesample import SECONDS
from vlockstep.host.attach import Devices
from vlockstep.protocol.timing import MILLISECOND
from vlockstep.supervise.agreement import Agreement
from vlockstep.supervise.control import Answer, Command, Told
from vlockstep.supervise.diskmoves import DiskMoves
from vlockstep.supervise.followed import FollowedSnapshots
from vlockstep.supervise.liverecording import LiveRecordings
from vlockstep.supervise.running import StatusCommand, reason_of
from vlockstep.wire.endpoint import check_endpoint
from vlockstep.wire.keys import Party


class ReplicaCommands:
    """What can be asked of a replica. It happens in a turn of its own."""

    def __init__(
        self,
        process: Process,
        keys: bool,
        devices: Devices,
        snapshots: FollowedSnapshots,
        recordings: LiveRecordings,
        arbiter: Path,
    ) -> None:
        """`keys`: whether its channels have them."""
        self._process = process
        self._snapshots = snapshots
        self._recordings = recordings
        self._keys = keys
        self._swapping: list[Answer] = []
        self._devices = devices
        self._arbiter = os.path.abspath(arbiter)  # noqa: PTH100 - `resolve` would follow links
        self._moves = DiskMoves(devices, self._observe_later, self._agreement, arbiter)

    def by_name(self) -> dict[str, Command]:
        return {
            "status": StatusCommand(self._tell_status),
            "stop": self._stop,
            "snapshot": self._snapshot,
            "recording": self._record,
            "switchover": self._switch_over,
            "migrate": self._migrate,
            "cancel-migration": self._cancel_migration,
            "hold": self._hold,
            "writes": self._writes,
            "protect": _protected_already,
            **self._moves.by_name(),
        }

    def close(self) -> None:
        self._moves.close()

    def finish(self) -> None:
        """The replica has gone: wait for what is still to be written."""
        self._snapshots.finish()

    def _agreement(self, disk: str) -> Agreement | None:
        return Agreement(self._process, disk) if disk in self._devices.shared else None

    def _observe_later(self, event: Event) -> None:
        self._process.call(lambda _: self._process.observe(event))

    def observe(self, event: Event) -> None:
        """In a turn."""
        self._snapshots.observe(event)
        if isinstance(event, SwitchoverAnswered):
            told = {"generation": event.generation} if event.generation else {"error": event.reason}
            self._answer_swaps(told)
        elif isinstance(event, Unprotected | Stopped | Left):
            self._answer_swaps({"error": "the other replica was lost before it answered"})

    def _answer_swaps(self, told: dict[str, Any]) -> None:
        for answer in self._swapping:
            answer(told)
        self._swapping.clear()

    def _tell_status(self, take: Callable[[Told], None]) -> None:
        def tell(_: ft.Replica) -> None:
            status = self._process.status()
            moves = (*status.moves, *self._moves.under_way())
            take(replace(status, moves=moves, arbiter=self._arbiter))

        self._process.call(tell)

    def _stop(self, request: Mapping[str, Any], answer: Answer) -> None:
        def stop(_: ft.Replica) -> None:
            self._process.end_guest(reason_of(request))
            answer({})

        self._process.call(stop)

    def _snapshot(self, request: Mapping[str, Any], answer: Answer) -> None:
        self._process.call(lambda replica: self._snapshots.take(replica, request, answer))

    def _record(self, request: Mapping[str, Any], answer: Answer) -> None:
        self._process.call(lambda replica: self._recordings.take(replica, request, answer))

    def _migrate(self, request: Mapping[str, Any], answer: Answer) -> None:
        endpoint = request.get("to")
        if not isinstance(endpoint, str):
            answer({"error": "a migration goes to an endpoint"})
            return

        def done(problem: str, report: Report) -> None:
            answer({"error": f"the guest stays here: {problem}"} if problem else report.to_dict())

        try:
            check_endpoint(endpoint, self._keys)
            precopy = _precopy(request)
        except VlockstepError as error:
            answer({"error": str(error)})
            return
        where = f"{Party.SECONDARY} {endpoint}"
        self._process.call(lambda replica: replica.migrate(where, done, precopy))

    def _cancel_migration(self, request: Mapping[str, Any], answer: Answer) -> None:
        reason = "the migration was called off"
        self._process.call(lambda replica: answer({"cancelled": replica.cancel_migration(reason)}))

    def _hold(self, request: Mapping[str, Any], answer: Answer) -> None:
        hold = request.get("hold")
        if type(hold) is not bool:
            answer({"error": "outputs are held, or are not: say true or false"})
            return

        def change(replica: ft.Replica) -> None:
            try:
                replica.set_hold(hold)
            except VlockstepError as error:
                answer({"error": str(error)})
            else:
                answer({"hold": hold})

        self._process.call(change)

    def _writes(self, request: Mapping[str, Any], answer: Answer) -> None:
        def told(written: int | None) -> None:
            if written is None:
                answer({"error": "what the guest writes cannot be seen now"})
            else:
                answer({"bytes": written, "seconds": SECONDS})

        self._process.call(lambda replica: replica.sample_writes(told))

    def _switch_over(self, request: Mapping[str, Any], answer: Answer) -> None:
        def swap(replica: ft.Replica) -> None:
            self._swapping.append(answer)
            replica.switch_over()

        self._process.call(swap)


def _precopy(request: Mapping[str, Any]) -> Precopy | None:
    """How a guest is to move, if not by its log. Raises `UsageError` for what is no way."""
    method, downtime = request.get("method", "log"), request.get("downtime_ms", DOWNTIME_MS)
    throttled = request.get("throttle", True)
    whole = type(downtime) is int and abs(downtime) < 1 << 32
    if method not in METHODS or not whole or type(throttled) is not bool:
        raise UsageError(f"a migration is by {' or '.join(METHODS)}, with a downtime in whole ms")
    return Precopy(downtime * MILLISECOND, throttled) if method == PRECOPY else None


def _protected_already(request: Mapping[str, Any], answer: Answer) -> None:
    answer({"error": "it is a replica, which others join where its primary listens"})

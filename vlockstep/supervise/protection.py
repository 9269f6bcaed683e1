"""A guest that ran unprotected, as the primary of replicas to come.

Its machine goes on where it is; from then on what it is told is recorded, and its outputs follow
the rule. Nobody has to follow it yet: it is a primary that is alone, which others join.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.errors import HostError, UsageError, VlockstepError
from vlockstep.ft.events import Event
from vlockstep.ft.lastminutes import new_path
from vlockstep.ft.process import Process
from vlockstep.machine.report import GuestError
from vlockstep.machine.world import Outcome
from vlockstep.supervise import parts
from vlockstep.supervise.control import Command
from vlockstep.supervise.followed import FollowedSnapshots
from vlockstep.supervise.liverecording import LiveRecordings
from vlockstep.supervise.origin import LiveGuest
from vlockstep.supervise.replica import channels_of, setting_of
from vlockstep.supervise.replicacommands import ReplicaCommands
from vlockstep.supervise.spec import ReplicaSpec
from vlockstep.wire.endpoint import check_endpoint

_LEAVE_SECONDS = 10.0


def primary_spec(spec: ReplicaSpec, request: Mapping[str, Any]) -> ReplicaSpec:
    """What a guest that runs by `spec` becomes a primary by. Raises `UsageError` for a request that
    does not say it."""
    arbiter, endpoint, timing = (request.get(key) for key in ("arbiter", "listen", "timing"))
    keys = request.get("keys") or spec.keys
    try:
        if not isinstance(arbiter, str) or not isinstance(endpoint, str):
            raise TypeError
        times = replace(spec.timing, **(timing or {}))
        return replace(
            spec,
            role="primary",
            arbiter=Path(arbiter),
            endpoint=endpoint,
            keys=keys and Path(keys),
            timing=times,
        )
    except TypeError as error:
        raise UsageError("replicas join at an endpoint, with an arbiter, in time") from error


class Protection:
    """Lets replicas join the guest `live` at the endpoint, and with the arbiter, of `spec`, which
    is that of a primary. `ended` is called, from another thread, when this replica's work has ended
    before the guest has here."""

    def __init__(
        self,
        live: LiveGuest,
        spec: ReplicaSpec,
        observe: Callable[[Event], None],
        ended: Callable[[VlockstepError], None],
    ) -> None:
        assert spec.arbiter is not None
        self.endpoint = spec.endpoint
        self._observe = observe
        self._ended = ended
        self._result: Outcome | VlockstepError | None = None
        guest = live.guest
        assert guest.config is not None
        keys = parts.load_keys(spec)
        check_endpoint(spec.endpoint, keys is not None)
        register = DirectoryArbiter(spec.arbiter, f"primary-{uuid.uuid4().hex[:8]}", live.identity)
        last = None if spec.on_error is None else new_path(f"{live.name}-protected")
        setting = setting_of(spec, guest, live.console, live.identity)
        setting = replace(setting, last=last)
        with ExitStack() as undo:
            # Before an arbiter is made: who cannot listen leaves none behind.
            channels = channels_of(spec, keys)
            undo.callback(channels.close)
            generation = _generation(register, live)
            self._process = Process(setting, channels, register, self._observed)
            snapshots = FollowedSnapshots(live.name, live.files, guest.devices)
            self._commands = ReplicaCommands(
                self._process,
                keys is not None,
                guest.devices,
                snapshots,
                LiveRecordings(live.files, self._process.call),
                spec.arbiter,
            )
            self.commands: dict[str, Command] = self._commands.by_name()
            self._process.adopt(guest.config, generation, live.machine, live.world)
            undo.pop_all()
        self._thread = threading.Thread(target=self._run, name="replica", daemon=True)
        self._thread.start()

    def finish(self, end: Outcome | GuestError) -> None:
        """The guest has ended here: wait until its replicas know. Raises why this replica had to
        stop instead."""
        self._process.call(lambda replica: replica.guest_ended(end))
        self._thread.join()
        if isinstance(self._result, VlockstepError) and not isinstance(self._result, GuestError):
            raise self._result

    def leave(self, reason: str) -> None:
        """Let another replica have the guest, if there is one."""
        self._process.stop(reason)
        self._thread.join(_LEAVE_SECONDS)

    def close(self) -> None:
        """Nobody asks any more."""
        self._commands.close()

    def _observed(self, event: Event) -> None:
        self._commands.observe(event)
        self._observe(event)

    def _run(self) -> None:
        try:
            try:
                self._result = self._process.run_adopted()
            finally:
                self._commands.finish()
        except GuestError as error:
            self._result = error
        except VlockstepError as error:
            self._result = error
            self._ended(error)
        except Exception as error:
            self._result = HostError(f"this replica failed: {type(error).__name__}: {error}")
            self._ended(self._result)
            raise


def _generation(register: DirectoryArbiter, live: LiveGuest) -> int:
    """After which `live` may be ruled. Raises `UsageError` if the arbiter is another guest's."""
    generation = register.start()
    if register.guest() != live.identity:
        raise UsageError(
            f"the arbiter {register.path} serves another guest: give this one a new directory"
        )
    return generation

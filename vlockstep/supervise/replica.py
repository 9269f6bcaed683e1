"""A replica of this process, made from a specification."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.arbiter.rule import ArbiterError
from vlockstep.errors import UsageError
from vlockstep.files.locks import FileLock
from vlockstep.ft.channels import Channels
from vlockstep.ft.events import DiskMoved, Event, Notice, NotResumed, Protected, Unprotected
from vlockstep.ft.lastminutes import new_path
from vlockstep.ft.process import Process
from vlockstep.ft.resumedir import ResumeDirectory, Unresumable
from vlockstep.ft.runtime import CONSOLE, Setting
from vlockstep.ft.transfer import TransferLimits
from vlockstep.host.attach import Devices
from vlockstep.host.devices import ConsoleFile, ConsoleStream
from vlockstep.machine import engines
from vlockstep.machine.basis import basis
from vlockstep.machine.world import Outcome
from vlockstep.protocol.messages import forbidden
from vlockstep.protocol.timing import MILLISECOND, SECOND, Timing
from vlockstep.supervise import parts, places
from vlockstep.supervise.files import check_moved, open_console, reserve_log
from vlockstep.supervise.followed import FollowedSnapshots
from vlockstep.supervise.liverecording import LiveRecordings
from vlockstep.supervise.replicacommands import ReplicaCommands
from vlockstep.supervise.respawn import Respawner
from vlockstep.supervise.running import ControlSocket
from vlockstep.supervise.spec import ReplicaSpec, TimingSpec
from vlockstep.wire import channel
from vlockstep.wire.channel import Channel
from vlockstep.wire.endpoint import check_endpoint, is_anywhere
from vlockstep.wire.keys import Keys, Party


class Replica:
    """Opens what the `spec` names; then `run` is the guest's whole life here.

    `observe` and `status` are as for a `Process`, `tell` as for `parts.open_guest`. `settle` waits
    until what was observed is told, as long as it is given: a fault of a test strikes then.
    """

    def __init__(
        self,
        spec: ReplicaSpec,
        observe: Callable[[Event], None],
        *,
        status: bool = False,
        tell: parts.Tell | None = None,
        settle: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._observe = observe
        self._control = ControlSocket(spec)
        self._respawner: Respawner | None = None
        self._respawned_with: dict[str, str] = {}
        """In the environment of its command."""
        self._shared: frozenset[str] = frozenset()
        """Disks that all replicas share, by name."""
        self._moved: dict[str, str] = {}
        """Where those of them are that have moved."""
        self._logs: ResumeDirectory | None = None
        self._again = False
        """The guest is started again, as its lease has run out elsewhere."""
        try:
            self._open(spec, status, tell, settle)
        except BaseException:
            self._control.close()
            raise

    def run(self) -> Outcome:
        """As `Process.run_primary` and `run_secondary`."""
        self._control.serve(self._commands.by_name(), self._commands.close)
        try:
            if self._config is None:
                return self.process.run_secondary()
            self._again = self._arbiter.fence(
                self.process, lambda text: self._observed(Notice(text))
            )
            generation = self._arbiter.start()
            check_moved(self._disks, self._arbiter.moved())
            if self._logs is not None:
                self._logs.look()
                if self._resumes and self._again:
                    try:
                        file, history = self._logs.take_over(self._owner(generation), self._config)
                    except Unresumable as error:
                        self._observed(NotResumed(str(error)))
                    else:
                        return self.process.run_resuming(file.config, generation, file, history)
            return self.process.run_primary(
                self._config, generation, self._secondaries, self._printed
            )
        finally:
            self._commands.finish()
            if self._respawner is not None:
                self._respawner.close()
            self._control.close()

    def _owner(self, generation: int) -> str:
        record = self._arbiter.read(generation)
        if record is None:
            raise ArbiterError(f"there is no record of generation {generation} any more")
        return record.owner

    @property
    def _printed(self) -> int:
        """How much text is on the console that is to stay there: what a guest that is started again
        has printed before was seen, and nobody can print it again."""
        return self._console.size if isinstance(self._console, ConsoleFile) and self._again else 0

    def _begin(self) -> None:
        if isinstance(self._console, ConsoleFile) and not self._again:
            self._console.truncate()

    def _observed(self, event: Event) -> None:
        self._control.observe(event)
        self._commands.observe(event)
        self._observe(event)
        if isinstance(event, DiskMoved) and event.disk in self._shared:
            self._moved[event.disk] = event.path
            moved = (f"{disk}={path}" for disk, path in self._moved.items())
            self._respawned_with["VLOCKSTEP_MOVED"] = "\n".join(moved)
        if self._respawner is not None:
            if isinstance(event, Unprotected):
                self._respawner.unprotected()
            elif isinstance(event, Protected):
                self._respawner.protected()

    def _open(
        self,
        spec: ReplicaSpec,
        status: bool,
        tell: parts.Tell | None,
        settle: Callable[[float], None],
    ) -> None:
        assert spec.role is not None and spec.arbiter is not None
        keys = parts.load_keys(spec)
        for endpoint in (spec.endpoint, spec.reached_at, spec.awaits_at):
            if endpoint is not None:
                check_endpoint(endpoint, keys is not None)
        told = spec.reached_at or (spec.listens_at if spec.respawn is not None else None)
        if told is not None and is_anywhere(told):
            raise UsageError(
                f"{told} is every address of this host, and others cannot know which: "
                "name the one at which they reach it",
                key=("reached_at",) if spec.reached_at else ("endpoint",),
            )
        self._arbiter = DirectoryArbiter(
            spec.arbiter,
            f"{spec.role}-{uuid.uuid4().hex[:8]}",
            lease=spec.lease * MILLISECOND,
        )
        guest = parts.open_guest(spec, keys, self._arbiter.guest, tell)
        self._config = guest.config
        name = self._arbiter.guest()
        files = guest.files
        if spec.log is not None:
            reserve_log(spec.log, files)
            files = (*files, spec.log)
        console = open_console(spec.console, files, f"{name} console")
        setting = replace(
            setting_of(spec, guest, console, name),
            log=spec.log,
            keyframes=None if spec.keyframes is None else round(spec.keyframes * SECOND),
            last=None if spec.on_error is None else new_path(self._control.name),
            core_directory=spec.cores,
            fault=places.fault(spec.test, settle),
            stops=places.stops(spec.test),
            diverge=places.divergence(spec.test),
            begin=self._begin,
            cpu_limit=spec.cpu_limit,
        )
        self._secondaries, self._disks, self._console = spec.secondaries, spec.disks, console
        self._shared = frozenset(guest.devices.shared)
        channels = channels_of(spec, keys)
        if spec.respawn is not None:
            self._respawned_with = {
                "VLOCKSTEP_JOIN": channels.endpoint.partition(" ")[2],
                "VLOCKSTEP_ARBITER": str(spec.arbiter),
                "VLOCKSTEP_IMAGE": spec.image,
                "VLOCKSTEP_NAME": self._control.name,
            }
            self._respawner = Respawner(
                spec.respawn, self._respawned_with, lambda text: self._observed(Notice(text))
            )
        instance = uuid.uuid4().hex
        self._resumes = spec.resumes
        if spec.resume is not None:
            self._logs = ResumeDirectory(spec.resume, instance, guest.image.path, spec.engine)
            setting = replace(
                setting,
                resume=self._logs,
                resume_limit=spec.resume_limit << 20,
                resume_growth=spec.resume_growth << 10,
                resume_interval=spec.resume_interval * SECOND,
            )
        self.process = Process(setting, channels, self._arbiter, self._observed, status, instance)
        used = files if spec.console is None else (*files, spec.console)
        snapshots = FollowedSnapshots(self._control.name, used, guest.devices)
        self._commands = ReplicaCommands(
            self.process,
            keys is not None,
            guest.devices,
            snapshots,
            LiveRecordings(used, self.process.call),
            spec.arbiter,
        )


def setting_of(
    spec: ReplicaSpec, guest: parts.Guest, console: ConsoleFile | ConsoleStream, name: str
) -> Setting:
    """What a replica of the guest, which the arbiter calls `name`, is made of in any case."""
    return Setting(
        image=guest.image,
        console=console,
        disks=guest.devices.disks,
        disk_counters=guest.devices.counters,
        blocks=guest.devices.blocks,
        local=guest.devices.local,
        nics=guest.nics,
        nets=guest.nets,
        timing=_timing(spec.timing),
        transfer=_limits(spec.timing),
        guest=name,
        shared=partial(_shared_locks, guest.devices, console),
        open_copy=guest.devices.open_copy,
        hold=spec.hold,
        engine=spec.engine,
        basis=basis(engines.processor(spec.engine)),
        settle=partial(_settle, guest.devices, console),
    )


def channels_of(spec: ReplicaSpec, keys: Keys | None) -> Channels:
    """Where a replica listens, and to whom it connects."""

    def reach(endpoint: str, party: Party) -> Channel:
        return channel.connect(endpoint, keys, party, look=False)

    if spec.role == "primary":
        listening = channel.listen(spec.endpoint, keys, forbidden)
        return Channels(listening, party=Party.PRIMARY, connect=reach)
    if spec.awaits_at is not None:
        awaiting = channel.listen(spec.awaits_at, keys, forbidden)
        return Channels(awaiting, party=Party.SECONDARY, connect=reach)
    first = channel.connect(spec.endpoint, keys)
    others = channel.listen(spec.reached_at, keys, forbidden) if spec.reached_at else None
    return Channels(first, others, party=Party.SECONDARY, connect=reach)


def _timing(spec: TimingSpec) -> Timing:
    return Timing(
        spec.heartbeat * MILLISECOND,
        spec.misses,
        spec.max_lag * MILLISECOND,
        spec.max_log << 20,
        spec.wait * SECOND,
    )


def _limits(spec: TimingSpec) -> TransferLimits:
    return TransferLimits(spec.max_pause * MILLISECOND, spec.max_bandwidth * 1_000_000)


def _settle(devices: Devices, console: ConsoleFile | ConsoleStream) -> None:
    """What was written outlives the host's death."""
    for disk in devices.disks.values():
        disk.sync()
    if isinstance(console, ConsoleFile):
        console.sync()


def _shared_locks(devices: Devices, console: ConsoleFile | ConsoleStream) -> dict[str, FileLock]:
    """On the files that both replicas write, by what they are to the guest."""
    locks = {f"disk {name!r}": lock for name, lock in devices.shared.items()}
    if isinstance(console, ConsoleFile) and console.lock.lockable:
        locks[CONSOLE] = console.lock
    return locks

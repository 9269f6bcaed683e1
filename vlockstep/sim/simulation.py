"""A protected guest in virtual time: two hosts or more, and the world around them.

The replicas are the ones that ship: `Replica` with its protocol objects, Recorder and Replayer.
Only what they stand on is simulated: clocks, connection, arbiter, console, disks and network.
Equal seeds and equal calls give equal executions.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from vlockstep.errors import NoRoom, UsageError
from vlockstep.ft.outputs import Inputs
from vlockstep.ft.places import Fault, Place
from vlockstep.ft.resumedir import Unresumable
from vlockstep.ft.rounds import Precopy
from vlockstep.ft.runtime import Setting
from vlockstep.ft.transfer import TransferLimits
from vlockstep.host.live import BlockDevice, Continuation, NetDevice
from vlockstep.host.mirror import MirroredDisk
from vlockstep.machine.boot import check_devices
from vlockstep.machine.config import MIB, BlockConfig, GuestConfig, NetConfig
from vlockstep.machine.image import DeviceKind, Image
from vlockstep.machine.interface import GuestMachine
from vlockstep.machine.machine import Machine
from vlockstep.machine.world import Outcome
from vlockstep.net.portmessages import parse_mac
from vlockstep.net.station import Station
from vlockstep.program.tracebacks import hide
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.timing import MILLISECOND, SECOND, Timing
from vlockstep.sim.arbiter import SimulatedArbiter
from vlockstep.sim.host import SimulatedHost
from vlockstep.sim.network import Network
from vlockstep.sim.resumelogs import LogsOfHost, SimulatedLogs
from vlockstep.sim.sides import Direction, receivers
from vlockstep.sim.sinks import (
    OwnDisk,
    SharedConsole,
    SharedDisk,
    SimulatedNic,
    Watched,
    WatchedDisk,
)
from vlockstep.sim.world import NetworkedWorld

__tracebackhide__ = hide

START = SECOND
MICROSECOND = 1000
_COLLECT = 5 * MILLISECOND
HOSTS = ("primary", "secondary", "tertiary")
"""By the roles that they begin in: the last ones are secondaries, too."""
NEWCOMERS = ("newcomer", "latecomer")
"""Hosts that join the guest while it runs."""
OUTSIDER = "outsider"
"""A host that starts the guest again when its owner is silent."""
ALL = (*HOSTS, *NEWCOMERS, OUTSIDER)
GUEST_MAC = "02:00:00:00:00:01"


@dataclass(frozen=True)
class Clock:
    """It is `skew` nanoseconds ahead, and by the part `drift` of the time faster than another."""

    skew: int = 0
    drift: float = 0.0


@dataclass(frozen=True)
class Conditions:
    """How long things take, in nanoseconds: from the least to the greatest. Clocks and timings are
    those of the hosts, in order."""

    message: tuple[int, int] = (50_000, 50_000)
    verdict: tuple[int, int] = (50_000, 50_000)
    step: tuple[int, int] = (20_000, 20_000)
    """From one exit of a guest to the next."""
    background: tuple[int, int] = (20_000, 20_000)
    """What a host does in the background, each piece of it."""
    timer: tuple[int, int] = (0, 0)
    """By how much a host wakes too late; too early if negative."""
    clocks: Sequence[Clock] = (Clock(),) * len(ALL)
    timings: Sequence[Timing] = (Timing(),) * len(ALL)
    transfer: TransferLimits = field(default_factory=TransferLimits)


@dataclass(frozen=True)
class Past:
    """What a guest has left that was started again: the length of its text, and what its disks
    held, by name."""

    printed: int = 0
    disks: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Emission:
    """An output, and who made it. `generation` is None if that replica was no primary."""

    time: int
    host: str
    generation: int | None


class Simulation:
    """A primary and secondaries of a guest, from before they meet; so many `replicas` in all, and
    `newcomers` that may `join` later. With a `lease`, in nanoseconds, there is an outsider that may
    start the guest again.

    `machine` makes the machine that runs the guest, `memory` is in MiB. `crash_at` is a `Place`
    for the primary. In the directory `logs` each replica keeps its log as NAME.vlog. Use as a
    context manager.
    """

    def __init__(
        self,
        image: Image,
        arguments: tuple[str, ...],
        *,
        seed: int = 0,
        memory: int = 16,
        disk_size: int = 1 << 16,
        conditions: Conditions | None = None,
        machine: Callable[[Image, GuestConfig, bool], GuestMachine] | None = None,
        crash_at: str | None = None,
        logs: Path | None = None,
        replicas: int = 2,
        newcomers: int = 0,
        lease: int = 0,
        own_disks: bool = False,
        resume_limit: int = 0,
        resume_growth: int = 1 << 30,
    ) -> None:
        self.now = START
        self.seed = seed
        self.punctual = seed % 4 == 3
        """Roles are told of the time when they have to be, as in a process; else in each turn, too,
        which shows more of what they do wrong."""
        self.conditions = conditions or Conditions()
        self.chance = random.Random(seed)
        self.console = SharedConsole()
        self.emissions: list[Emission] = []
        self.losses: list[str] = []
        """Outputs that were released to who may claim had not received them, in words."""
        self.holds = False
        """Who has no other member is to emit nothing."""
        self.unheld: list[str] = []
        """Outputs that were made all the same, in words."""
        self.logs = logs
        self.readings: dict[int, int] = {}
        """When each value of the guest's counter was read first."""
        self.on_frame: Callable[[bytes], None] = lambda frame: None
        """Takes each frame that the guest sends."""
        self.make_machine = machine or _real_machine
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._stepping: set[str] = set()
        self._worlds = 0
        self.past: Past | None = None
        """Of a guest that was started again."""
        self.on_restart: Callable[[], None] = lambda: None
        """Called when it is."""
        self.full = False
        """Shared storage has room for half an output."""
        self.awaits_outsider = False
        """It is still to come, or waits."""
        self.resume_logs = SimulatedLogs(self.chance)
        """From which the outsider resumes the guest, if they may have any bytes."""
        self._resumes = resume_limit > 0
        self._released = False
        """The guest was heard."""
        self._early: list[Callable[[], None]] = []
        """Newcomers that wait until the guest has started."""
        disks = [d for d in image.devices if d.kind is DeviceKind.BLOCK]
        nics = [d for d in image.devices if d.kind is DeviceKind.NET]
        self.disks = {d.handle: SharedDisk(disk_size) for d in disks}
        self.files: dict[str, SharedDisk] = {}
        """Those to which a disk was to move, by path."""
        self.own_disks: dict[str, dict[int, OwnDisk]] = {}
        """By host and handle, if each has a copy of its own."""
        self._handles = {d.name: d.handle for d in disks}
        blocks = {d.name: BlockConfig(disk_size, own_disks) for d in disks}
        nets = {d.name: NetConfig(GUEST_MAC) for d in nics}
        config = GuestConfig(image.digest, memory * MIB, arguments, blocks=blocks, nets=nets)
        check_devices(image, config)
        self._guest_config = config

        self.hosts = tuple(
            SimulatedHost(self, name, self.conditions.clocks[ALL.index(name)])
            for name in (*HOSTS[:replicas], *NEWCOMERS[:newcomers], *([OUTSIDER] if lease else []))
        )
        self.primary, self.secondary = self.hosts[:2]
        self.network = Network(self, self.chance, self.conditions.message)
        self.arbiter = SimulatedArbiter(self, self.chance, self.conditions.verdict, lease)
        for host in self.hosts:
            timing = self.conditions.timings[ALL.index(host.name)]
            log = logs and logs / f"{host.name}.vlog"
            host.nics = {d.handle: self._nic(host) for d in nics}
            if own_disks:
                self.own_disks[host.name] = self._new_disks(host)
            if crash_at is not None and host is self.primary:
                host.fault = Fault(Place.parse(crash_at), host.inject)
            host.equip(
                Setting(
                    image,
                    Watched(self.console, *self._watching(host)),
                    self._disks_of(host),
                    blocks,
                    local=frozenset(self.own_disks.get(host.name, ())),
                    nics={h: Station(nic, parse_mac(GUEST_MAC)) for h, nic in host.nics.items()},
                    nets=nets,
                    timing=timing,
                    transfer=self.conditions.transfer,
                    log=None if host.name in NEWCOMERS else log,
                    fault=host.fault,
                    begin=host.begin,
                    open_copy=partial(self._open_copy, host),
                    resume=self._logs_of(host) if self._resumes else None,
                    resume_limit=resume_limit,
                    resume_growth=resume_growth,
                    resume_interval=0,
                )
            )
        self.primary.start(lambda: self.primary.replica.start_primary(config, 0, replicas - 1))
        for host in self.hosts[1:replicas]:
            host.start(host.replica.start_secondary)
            self.network.dial(host, self.primary)

    # Looking

    @property
    def transcript(self) -> bytes:
        """What an observer of the console has seen."""
        return bytes(self.console.content)

    def disk(self, name: str = "disk") -> bytes:
        """What it holds, wherever the arbiter says that it is; of those that each replica has for
        itself, who has come to the guest's end."""
        handle = self._handles[name]
        for host in self.hosts if self.own_disks else ():
            if isinstance(host.outcome, Outcome):
                return bytes(self.own_disks[host.name][handle].content)
        record = self.arbiter.records.get(self.arbiter.generation)
        moved = record.disks.get(name) if record is not None else None
        return bytes((self.disks[handle] if moved is None else self.files[moved]).content)

    @property
    def emitters(self) -> list[str]:
        """Who made each output."""
        return [emission.host for emission in self.emissions]

    def host(self, name: str) -> SimulatedHost:
        """Raises `UsageError` if there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise UsageError(f"no replica {name!r}: write {' or '.join(h.name for h in self.hosts)}")

    @property
    def over(self) -> bool:
        """No host will do anything again."""
        awaits = self.awaits_outsider and self.primary.happened("started")
        return not awaits and all(host.over or host.awaits for host in self.hosts)

    # Driving

    def step(self) -> bool:
        """The next thing that happens. False if nothing can happen any more."""
        due = min(host.deadline() for host in self.hosts)
        if self._events and self._events[0][0] <= due:
            time, _, action = heapq.heappop(self._events)
            self.now = max(self.now, time)
            action()
            return True
        if due == NEVER:
            return False
        self.now = max(self.now, due)
        for host in self.hosts:
            if host.deadline() <= self.now:
                host.wake_up()
        return True

    def note_reading(self, value: int) -> None:
        """The guest's counter is read."""
        self.readings.setdefault(value, self.now)

    def run(self, until: Callable[[], bool] = lambda: False, limit: int = 1_000_000) -> None:
        """Step until something holds, or until nothing can happen any more."""
        for _ in range(limit):
            if until() or not self.step():
                return
        raise AssertionError(f"not finished after {limit} steps")

    def join(self, name: str) -> None:
        """Let this newcomer follow whoever is primary, once the guest has started."""
        if not self.primary.happened("started"):
            self._early.append(partial(self.join, name))
            return
        host = self.host(name)
        host.start(host.replica.start_secondary)
        self.network.dial(host, self._owner)

    def precopy(self, name: str) -> None:
        """Let whoever is primary move to this newcomer, once the guest has started."""
        if not self.primary.happened("started"):
            self._early.append(partial(self.precopy, name))
            return
        host, source = self.host(name), self._owner
        host.start(partial(host.replica.start_secondary, awaits=True))
        move = partial(source.replica.migrate, name, lambda problem, report: None, Precopy())
        source.do("migrate", move)

    def restart(self) -> None:
        """Let the outsider start the guest again, without the others, if its owner falls silent
        once it has started. What its disks held is lost."""
        if not self.primary.happened("started"):
            self._early.append(self.restart)
            return
        host = self.host(OUTSIDER)

        def start(generation: int | None) -> None:
            self.awaits_outsider = False
            if generation is None or host.started or host.crashed:
                return
            if self._resumes and self._resumed(host, generation):
                return
            past = Past(
                len(self.console.content), {name: self.disk(name) for name in self._handles}
            )
            host.on_begin = partial(self._restarted, past)
            host.start(
                partial(host.replica.start_primary, self._guest_config, generation, 0, past.printed)
            )

        self.arbiter.fence(host, start)

    def _resumed(self, host: SimulatedHost, generation: int) -> bool:
        """By the outsider, if there is a log."""
        owner = self.arbiter.records[generation].owner
        try:
            file, history = self.resume_logs.take_over(owner, self._logs_of(host))
        except Unresumable as error:
            log = self.resume_logs.by_host.get(owner)
            if self._released and not (log is not None and log.removed):
                self.losses.append(f"outputs were made, and {error}")
            return False
        host.entries += file.entries
        host.resumed = True
        config = self._guest_config
        host.start(partial(host.replica.start_resuming, config, generation, file, history))
        return True

    def _logs_of(self, host: SimulatedHost) -> LogsOfHost:
        def point(what: str) -> None:
            if not host.over:
                host.point(what)

        return LogsOfHost(self.resume_logs, host.name, point)

    def _restarted(self, past: Past) -> None:
        self.past = past
        self.readings.clear()
        for disk in self.disks.values():
            disk.clear()
        self.on_restart()

    @property
    def _owner(self) -> SimulatedHost:
        return (self.arbiter.members or [self.primary])[0]

    # Faults

    def crash(self, side: str = "primary", *, silently: bool = False) -> None:
        """A host is gone, in the middle of whatever it did. Its connections drop, unless
        `silently`, as when a machine loses its power."""
        host = self.host(side)
        if host.exited:
            return
        host.crashed = True
        if not silently:
            self.network.drop(host)

    def pause(self, side: str = "primary") -> None:
        self.host(side).paused = True

    def resume(self, side: str = "primary") -> None:
        self.host(side).resume()

    def diverge(self, side: str = "secondary") -> None:
        """Its guest will lose count of its exits when it follows and has entries to take."""
        self.host(side).diverges = True

    def cut(self, direction: Direction = "both") -> None:
        """Messages in this direction no longer arrive; the connection stands."""
        self.network.cut(receivers(direction))

    def heal(self) -> None:
        """What was sent meanwhile arrives now."""
        self.network.heal()

    def drop(self) -> None:
        """The connection breaks, with what is under way, and is made again a little later."""
        self.network.drop()

    def hold(self, hold: bool) -> None:
        """Let all hosts `hold` the outputs of a guest that nobody else has, or no longer."""
        self.holds = hold
        for host in self.hosts:
            host.hold(hold)

    # What the hosts and the rest of the world use

    def at(self, time: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), action))

    def after(self, delay: int, action: Callable[[], None]) -> None:
        self.at(self.now + delay, action)

    def after_job(self, action: Callable[[], None]) -> None:
        """After a piece of work in the background."""
        self.after(self.chance.randint(*self.conditions.background), action)

    def started(self, host: SimulatedHost) -> None:
        """It lets its guest run."""
        if host is self.primary:
            for begin in self._early:
                self.after(0, begin)

    def acted(self, host: SimulatedHost) -> None:
        """A host did something: perhaps its guest can take a step now."""
        if host.alive and host.task.can_step() and host.name not in self._stepping:
            self._stepping.add(host.name)

            def step() -> None:
                self._stepping.remove(host.name)
                host.step()

            self.after(self.chance.randint(*self.conditions.step) * host.slowness, step)

    def inputs(
        self,
        host: SimulatedHost,
        nics: Mapping[int, NetDevice],
        pause: Callable[[], None],
        start: Continuation,
    ) -> Inputs:
        self._worlds += 1
        return NetworkedWorld(
            self.seed * 1000 + self._worlds,
            self.console,
            self.disks,
            nics,
            start=start,
            pause=pause,
            task=host.task,
            now=host.now,
            alarm=lambda delay: self.after(
                delay, lambda: host.do("alarm", host.task.wake, turn=False)
            ),
            read=self.note_reading,
        )

    def broadcast(self, frame: bytes) -> None:
        """A frame on the guest's network: all hosts are on a hub."""
        for host in self.hosts:
            for nic in host.nics.values():
                nic.deliver(frame)

    def _nic(self, host: SimulatedHost) -> SimulatedNic:
        def send(frame: bytes) -> None:
            host.point("output")
            self._emitted(host)
            self.on_frame(frame)

        def arrived() -> None:
            host.do("frame", host.task.wake, turn=False)
            if host.replica.collecting:
                self.after(_COLLECT, lambda: host.do("collect", host.replica.collect))

        return SimulatedNic(send, arrived)

    def _disks_of(self, host: SimulatedHost) -> Mapping[int, BlockDevice]:
        if self.own_disks:
            return {h: MirroredDisk(disk) for h, disk in self.own_disks[host.name].items()}
        return {h: MirroredDisk(self.opened(host, disk)) for h, disk in self.disks.items()}

    def _new_disks(self, host: SimulatedHost) -> dict[int, OwnDisk]:
        """Equal ones, but for those of newcomers, which hold something else."""
        first = host.name.encode() if host.name in NEWCOMERS else b""
        return {h: OwnDisk(first.ljust(len(d.content), b"\0")) for h, d in self.disks.items()}

    def opened(self, host: SimulatedHost, disk: SharedDisk) -> WatchedDisk:
        """What makes the outputs of `host` there."""
        return WatchedDisk(disk, *self._watching(host))

    def give_disks(self, host: SimulatedHost) -> None:
        """Who joins has its disks where they have moved, or would be refused."""
        for name, path in host.replica.moved.items():
            host.disks[name].go_on_with(self.opened(host, self.files[path]))

    def _open_copy(self, host: SimulatedHost, disk: str, path: Path, token: int) -> WatchedDisk:
        return self.opened(host, self.files[str(path)])

    def _watching(self, host: SimulatedHost) -> tuple[Callable[[], None], Callable[[], None]]:
        """What is called before an output, and in its midst."""

        def begin() -> None:
            host.point("output")
            self._emitted(host)

        def halfway() -> None:
            host.point("half of an output")
            if self.full:
                raise NoRoom("the storage is full")

        return begin, halfway

    def _emitted(self, host: SimulatedHost) -> None:
        generation = host.generation if host.live else None
        self.emissions.append(Emission(self.now, host.name, generation))
        entry = host.replica.emitting
        members = self.arbiter.members
        if entry is not None and host.holds and not host.ended and len(members) == 1:
            self.unheld.append(
                f"the output of entry {entry} by {host.name} at {self.now} ns, who is held: "
                "there is no other member"
            )
        self._released |= entry is not None
        log = self.resume_logs.by_host.get(host.name)
        if entry is not None and log is not None and not log.removed and log.synced <= entry:
            self.losses.append(
                f"the output of entry {entry} by {host.name} at {self.now} ns, and its log has "
                f"{log.synced}"
            )
        for member in members:
            if entry is not None and not member.over and member.received <= entry:
                self.losses.append(
                    f"the output of entry {entry} by {host.name} at {self.now} ns, of which "
                    f"{member.name} has received {member.received} and may claim"
                )

    def close(self) -> None:
        for host in self.hosts:
            host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _real_machine(image: Image, config: GuestConfig, count_blocks: bool) -> GuestMachine:
    return Machine(image, config, count_blocks=count_blocks)

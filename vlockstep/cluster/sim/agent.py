"""A monitor at work on a simulated host: what the real agent does for it, in virtual time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from vlockstep.cluster.ha import datastore as files
from vlockstep.cluster.ha.actions import (
    Acquire,
    Action,
    Declare,
    PingAddress,
    PingHost,
    Release,
    Send,
    Watch,
)
from vlockstep.cluster.ha.messages import decode, encode
from vlockstep.cluster.ha.monitor import Monitor
from vlockstep.cluster.sim.datastore import Unreachable
from vlockstep.cluster.sim.host import Process, SimulatedHost

if TYPE_CHECKING:
    from vlockstep.cluster.sim.simulation import Simulation

_LEASE_KEPT = 19, 20
"""Of a lease, by the clock of who has it: clocks drift."""
_DIRECTORY = str(files.directory("simulated"))
PROTECTED_LIST = f"{_DIRECTORY}/{files.PROTECTED_LIST}"
Event = Callable[[Monitor, int], list[Action]]
"""A method of the monitor, with what it takes beside the time."""


class Agent(Process):
    """`log` are all actions of the monitor, each with the time."""

    def __init__(self, host: SimulatedHost, simulation: Simulation) -> None:
        super().__init__(host)
        self.name = host.name
        self.log: list[tuple[int, Action]] = []
        self.monitor: Monitor
        self.running: tuple[str, ...] = ()
        """The guests that it says run here."""
        self._simulation = simulation
        self._events: deque[Event] = deque()

    def started(self) -> None:
        simulation = self._simulation
        self.monitor = Monitor(
            self.name,
            self._known_hosts(),
            datastores=simulation.connected(self.name),
            addresses=simulation.addresses,
            timing=simulation.timing,
        )
        self._events.clear()
        self._leases: dict[str, int] = {}
        self._watched: frozenset[str] = frozenset()
        self._isolated = False
        if self.name not in simulation.maintenance:
            self.event(Monitor.start)
        self._beat()
        self._renew()
        self._tick()

    def _known_hosts(self) -> dict[str, tuple[str, ...]]:
        """The others, when it starts."""
        return self._simulation.others(self.name)

    @property
    def owned(self) -> set[str]:
        """The datastores that it would act on if it ran now."""
        now = self.host.clock()
        return {name for name in self.monitor.owned if now < self._leases.get(name, 0)}

    def event(self, happen: Event) -> None:
        """Tell the monitor when the process runs, and do what it asks for."""
        self.do(lambda: self._handle(happen))

    def received(self, sender: str, data: bytes) -> None:
        message = decode(data)
        self.event(partial(Monitor.received, sender=sender, message=message))

    def _handle(self, happen: Event) -> None:
        self._expire()
        self._events.append(happen)
        while self._events:
            for action in self._events.popleft()(self.monitor, self.host.clock()):
                self.log.append((self._simulation.time.now, action))
                self._perform(action)

    def _perform(self, action: Action) -> None:
        simulation = self._simulation
        match action:
            case Send(to, message):
                simulation.network.send(self.name, to, encode(message))
            case PingHost(host):
                self._ping(host, partial(Monitor.host_answered, host=host))
            case PingAddress(address):
                self._ping(address, partial(Monitor.address_answered, address=address))
            case Watch(hosts):
                self._watched = hosts
            case Declare(isolated):
                self._isolated = isolated
                self._write(files.poweron_file(self.name), self._poweron())
            case Acquire(datastore):
                self._acquire(datastore)
            case Release(datastore):
                self._leases.pop(datastore, None)
                with suppress(Unreachable):
                    simulation.datastores[datastore].unlock(self.name, PROTECTED_LIST)

    def _ping(self, target: str, answered: Event) -> None:
        self._simulation.network.ping(self.name, target, lambda: self.event(answered))

    # With every heartbeat

    def _tick(self) -> None:
        self._handle(Monitor.tick)
        for host in sorted(self._watched):
            for datastore in self._simulation.heartbeats.get(host, ()):
                self._read(host, datastore)
        self.after(self._simulation.timing.heartbeat, self._tick)

    def _read(self, host: str, datastore: str) -> None:
        store = self._simulation.datastores[datastore]
        paths = [
            f"{_DIRECTORY}/{name(host)}" for name in (files.heartbeat_file, files.poweron_file)
        ]
        try:
            heartbeat, poweron = [store.read(self.name, path) for path in paths]
        except Unreachable:
            return
        counter = None if heartbeat is None else files.Heartbeat.parse(heartbeat, paths[0]).counter
        isolated = False
        if poweron is not None:
            told = files.PowerOn.parse(poweron, paths[1])
            isolated = told.isolated
            self._read_poweron(host, told)
        self._handle(
            partial(
                Monitor.storage_read,
                host=host,
                datastore=datastore,
                counter=counter,
                isolated=isolated,
            )
        )

    def _read_poweron(self, host: str, poweron: files.PowerOn) -> None:
        """What else a host says there."""

    # With every datastore heartbeat

    def _beat(self) -> None:
        heartbeat = files.Heartbeat(self.host.clock())
        self._write(files.heartbeat_file(self.name), heartbeat.format())
        self._write(files.poweron_file(self.name), self._poweron())
        self.after(self._simulation.timing.storage_heartbeat, self._beat)

    def _poweron(self) -> bytes:
        return files.PowerOn(self._isolated, self.running).format()

    def _write(self, name: str, content: bytes) -> None:
        for datastore in self._simulation.heartbeats.get(self.name, ()):
            with suppress(Unreachable):
                self._simulation.datastores[datastore].write(
                    self.name, f"{_DIRECTORY}/{name}", content
                )

    # Locks

    def _acquire(self, datastore: str) -> None:
        if self._lock(datastore):
            self._events.append(partial(Monitor.acquired, datastore=datastore))

    def _renew(self) -> None:
        self._handle(lambda _monitor, _now: [])
        for datastore in self._leases:
            self._lock(datastore)
        self.after(self._simulation.timing.lease // 4, self._renew)

    def _lock(self, datastore: str) -> bool:
        lease, (kept, of) = self._simulation.timing.lease, _LEASE_KEPT
        asked = self.host.clock()
        try:
            done = self._simulation.datastores[datastore].lock(self.name, PROTECTED_LIST, lease)
        except Unreachable:
            return False
        if done:
            self._leases[datastore] = asked + lease * kept // of
        return done

    def _expire(self) -> None:
        """Before anything else is done."""
        now = self.host.clock()
        for datastore in [name for name, until in self._leases.items() if now >= until]:
            del self._leases[datastore]
            self._events.append(partial(Monitor.ownership_lost, datastore=datastore))

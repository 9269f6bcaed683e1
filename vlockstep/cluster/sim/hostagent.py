"""A whole agent on a simulated host: monitor, keeper, and the rounds of a master."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from vlockstep.cluster.agent.isolation import Isolated
from vlockstep.cluster.drs.oracle import Answer
from vlockstep.cluster.ha.actions import Action, Became, Cancel, HostState, Ready, Respond
from vlockstep.cluster.ha.datastore import PowerOn, heartbeat_datastores
from vlockstep.cluster.ha.isolation import Home, IsolationTiming
from vlockstep.cluster.ha.monitor import Monitor
from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.keeper import Keeper
from vlockstep.cluster.master.manager import Manager, Sight
from vlockstep.cluster.model import Cluster
from vlockstep.cluster.plain import to_plain
from vlockstep.cluster.records import HOSTS, HostRecord, Life, key
from vlockstep.cluster.sim import thread
from vlockstep.cluster.sim.agent import PROTECTED_LIST, Agent
from vlockstep.cluster.sim.guests import SimulatedGuests
from vlockstep.cluster.sim.host import SimulatedHost
from vlockstep.cluster.sim.store import Reach, SimulatedStore
from vlockstep.cluster.store import Conflict, Store, StoreError
from vlockstep.errors import VlockstepError

if TYPE_CHECKING:
    from vlockstep.cluster.sim.managed import ManagedCluster

SECOND = 1_000_000_000
_SHUTDOWN = 15 * SECOND
_CUT_OFF = (Availability.ISOLATED, Availability.PARTITIONED)


def _unanswered(_cluster: Cluster) -> Future[Answer]:
    """No process of its own looks for an answer in simulated time."""
    return Future()


class HostAgent(Agent):
    def __init__(self, host: SimulatedHost, world: ManagedCluster) -> None:
        super().__init__(host, world)
        self.reach = Reach.FINE
        self.crash_after: int | None = None
        """The host loses its power before the operation on the store after so many more."""
        self._world = world
        self._stores: list[SimulatedStore] = []

    def started(self) -> None:
        self._ready = self._respond = False
        self._reign = 0
        self._listed: dict[str, frozenset[str]] = {}
        self._known: Mapping[str, HostRecord] = {}
        self._stores = []
        self.crash_after = None
        life = self._life
        self._local = SimulatedGuests(
            self.name, self._world, lambda: self.alive and self._life == life
        )
        super().started()
        thread.begin(self, self._keep)
        thread.begin(self, self._manage)

    def set_reach(self, how: Reach) -> None:
        """Also that of agents that are started later."""
        self.reach = how
        for store in self._stores:
            store.reach(how)

    def _open_store(self) -> Store:
        store = SimulatedStore(self._world.content, self._pause, self._world.witness.changed)
        store.reach(self.reach)
        self._stores.append(store)
        return store

    def _pause(self) -> None:
        if self.crash_after is not None:
            self.crash_after -= 1
            if self.crash_after < 0:
                self.crash_after = None
                self._world.time.at(self._world.time.now, self.host.crash)
                thread.sleep(self, 0)
        if delay := self._world.latency():
            thread.sleep(self, delay)

    # The monitor

    def _known_hosts(self) -> dict[str, tuple[str, ...]]:
        return {}

    def _perform(self, action: Action) -> None:
        match action:
            case Became(state):
                if state is Availability.MASTER:
                    self._reign += 1
                self._ready = False
            case Ready():
                self._ready = True
            case Respond():
                self._respond = True
            case Cancel():
                self._respond = False
            case _:
                super()._perform(action)
        if isinstance(action, Became | HostState):
            self._world.witness.judged(self.name, action)

    def _read_poweron(self, host: str, poweron: PowerOn) -> None:
        self._listed[host] = frozenset(poweron.guests)

    def _sight(self) -> Sight:
        monitor = self.monitor
        if monitor.state is not Availability.MASTER:
            return Sight({}, frozenset(), False)
        states = {**monitor.hosts, monitor.me: monitor.state}
        cut_off = [host for host, state in states.items() if state in _CUT_OFF]
        listed = {host: self._listed[host] for host in cut_off if host in self._listed}
        return Sight(states, frozenset(self.owned), self._ready, listed)

    # The keeper

    def _keep(self) -> None:
        world, store = self._world, self._open_store()
        beat = world.timing.storage_heartbeat
        while not self._register(store):
            thread.sleep(self, beat)
        keeper = Keeper(self.name, world.identity(), store, self._local, beat / SECOND)
        isolated = Isolated(
            self._local, world.config().isolation, IsolationTiming(_SHUTDOWN), self._home
        )
        looked = -beat
        while True:
            began = self.host.clock()
            try:
                keeper.round(began / SECOND, world.wall())
                if began > looked + beat:
                    looked = began
                    self._look_for_hosts(store)
            except VlockstepError as error:
                world.witness.notice(self.name, error)
            isolated.round(self.host.clock(), self._respond)
            self.running = tuple(
                guest
                for guest, report in self._local.look().items()
                if report.life is not Life.ENDED
            )
            thread.sleep(self, max(0, began + beat // 4 - self.host.clock()))

    def _home(self, datastore: str) -> Home:
        if not self._world.reaches_datastore(self.name, datastore):
            return Home.UNREACHABLE
        owner = self._world.datastores[datastore].owner(PROTECTED_LIST)
        return Home.UNOWNED if owner is None else Home.OWNED

    def _register(self, store: Store) -> bool:
        with suppress(StoreError, Conflict):
            record, entry = self._world.records[self.name], store.get(key(HOSTS, self.name))
            if entry is None:
                store.put(key(HOSTS, self.name), to_plain(record), 0)
            return True
        return False

    def _look_for_hosts(self, store: Store) -> None:
        found = {
            name.partition("/")[2]: self._world.host_record(name, entry)
            for name, entry in store.list(HOSTS).items()
        }
        if found != self._known:
            self._known = found
            self._hosts_changed(found)

    def _hosts_changed(self, hosts: Mapping[str, HostRecord]) -> None:
        active = {name: record for name, record in hosts.items() if not record.left}
        beats = heartbeat_datastores({name: r.datastores for name, r in active.items()})
        others = {name: beats[name] for name in active if name != self.name}
        self.event(partial(Monitor.hosts_changed, hosts=others))
        idle = self.monitor.state is Availability.UNINITIALIZED
        if self.name in active and idle:
            self.event(Monitor.start)
        elif self.name not in active and not idle:
            self.event(Monitor.enter_maintenance)

    # The master

    def _manage(self) -> None:
        world, store = self._world, self._open_store()
        beat = world.timing.storage_heartbeat
        manager: Manager | None = None
        reign = 0
        while True:
            began = self.host.clock()
            if not self._sight().states:
                manager = None
            else:
                try:
                    if manager is None or reign != self._reign:
                        reign = self._reign
                        manager = Manager(
                            self.name, store, world.config(), world.wall(), 4 * beat, _unanswered
                        )
                    manager.round(self.host.clock(), world.wall(), self._sight)
                except VlockstepError as error:
                    world.witness.notice(self.name, error)
            thread.sleep(self, max(0, began + beat // 2 - self.host.clock()))

"""The agent of a host: a process that sees to the replicas here, and if it is elected to all.

One thread speaks with the other agents and never waits for anything else: it is this that tells the
living from the dead. Others have to do with what may hang: the store (one for the host's own
orders, one for the master's rounds), and each datastore.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import IO, Any

from vlockstep.cluster.agent.channelkeys import ChannelKeys, is_about_keys
from vlockstep.cluster.agent.hostkeys import HostKeys, load_host_keys
from vlockstep.cluster.agent.isolation import Isolated
from vlockstep.cluster.agent.local import HostSetting, LocalGuests
from vlockstep.cluster.agent.network import ManagementNetwork, Peer
from vlockstep.cluster.agent.pings import Pings
from vlockstep.cluster.agent.spec import AgentSpec
from vlockstep.cluster.agent.storage import (
    Connected,
    Datastore,
    HostRead,
    Lost,
    Owned,
    StorageEvent,
)
from vlockstep.cluster.agent.switch import HostSwitch
from vlockstep.cluster.drs import oracle
from vlockstep.cluster.guestfile import DEFAULT_GROUP
from vlockstep.cluster.ha import actions, messages
from vlockstep.cluster.ha.datastore import heartbeat_datastores
from vlockstep.cluster.ha.isolation import IsolationTiming
from vlockstep.cluster.ha.monitor import Monitor
from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.keeper import Keeper
from vlockstep.cluster.master.manager import Manager, Sight
from vlockstep.cluster.plain import PlainError, from_plain, to_plain
from vlockstep.cluster.records import (
    CLUSTER,
    HOSTS,
    ClusterRecord,
    HostRecord,
    Life,
    key,
)
from vlockstep.cluster.settings import timing_of
from vlockstep.cluster.store import Conflict, Store, StoreError, open_store
from vlockstep.errors import HostError, UsageError, VlockstepError
from vlockstep.machine.kvm import device
from vlockstep.supervise.spec import TimingSpec
from vlockstep.wire.codec import MessageError

Observe = Callable[[dict[str, Any]], None]
_SECOND = 1_000_000_000
_ATTEMPTS = 10
_SHUTDOWN = 15
"""Seconds that a guest has to end in order when its host is isolated."""
_SEARCH_SECONDS = 10
"""For load balancing to find a way that it does not see at once."""
_CUT_OFF = (Availability.ISOLATED, Availability.PARTITIONED)


class Agent:
    """Joins the cluster when it is made; `run` until `stop`."""

    def __init__(self, spec: AgentSpec, observe: Observe) -> None:
        self._spec = spec
        self._tell = observe
        self._stopped = threading.Event()
        self._stack = ExitStack()
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        """What happened in other threads, for the monitor's."""
        self._lock = threading.Lock()
        self._sight = Sight({}, frozenset(), False)
        self._reign = 0
        """Rises with each mastership of this host."""
        self._ready = False
        """Hosts have had time to join this master."""
        self._respond = False
        """The host has been isolated for so long that its guests are to be ended."""
        self._known_hosts: Mapping[str, HostRecord] = {}
        self._listed: dict[str, frozenset[str]] = {}
        """What runs on hosts, as they say on datastores."""
        self._hosts: dict[str, HostRecord] = {}
        self._problem = ""
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise

    def _open(self) -> None:
        spec = self._spec
        directory = spec.directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._stack.enter_context(self._only_one())
        except OSError as error:
            raise HostError(f"cannot use the directory {directory}: {error.strerror}") from error
        self._store = open_store(spec.store)
        self._stack.callback(self._store.close)
        self._config = self._read_config()
        self._timing = timing_of(self._config.profile, dict(self._config.timing))
        keys: HostKeys | None = None
        if spec.keys is not None:
            keys = load_host_keys(spec.keys, spec.name)
        self._keys = keys
        self._network = ManagementNetwork(spec.name, spec.management, keys)
        self._stack.callback(self._network.close)
        self._instance = self._identity()
        self._registered()
        self._channel_keys: ChannelKeys | None = None
        if keys is not None:
            self._register(None)
            self._channel_keys = ChannelKeys(directory / "channel-keys", self._network)
            self._channel_keys.obtain(self._store, spec.name, self._know_others)
        channel_keys = None if self._channel_keys is None else self._channel_keys.directory
        self._switch = HostSwitch(directory, spec.address, spec.uplinks, channel_keys)
        self._stack.callback(self._switch.close)
        self._local = LocalGuests(
            directory,
            HostSetting(
                spec.address,
                spec.datastores,
                spec.mips,
                self._config.fence,
                spec.cpu_limit,
                self._switch.endpoint,
                channel_keys,
                TimingSpec(misses=self._config.misses),
            ),
        )
        self._stack.callback(self._local.close)
        self._register(self._switch.endpoint)
        self._pings = Pings(lambda endpoint: self._events.put(lambda: self._answered(endpoint)))
        self._stack.callback(self._pings.close)
        self._datastores = {
            name: Datastore(
                name,
                path,
                self._config.name,
                spec.name,
                self._timing.storage_heartbeat / _SECOND,
                self._timing.lease / _SECOND,
                self._of_storage,
            )
            for name, path in spec.datastores.items()
        }
        for datastore in self._datastores.values():
            self._stack.callback(datastore.close)
        self._monitor = Monitor(
            spec.name, {}, addresses=spec.isolation_addresses, timing=self._timing
        )

    def run(self) -> None:
        """Until it is stopped. The replicas go on."""
        name, cluster = self._spec.name, self._config.name
        self._observe("started", host=name, cluster=cluster, management=self._network.endpoint)
        threads = [
            threading.Thread(target=self._keep, name="keeper", daemon=True),
            threading.Thread(target=self._manage, name="manager", daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch_over()
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join(2.0)
            self._stack.close()

    def stop(self) -> None:
        """From any thread or a signal handler."""
        self._stopped.set()

    def _observe(self, event: str, **facts: Any) -> None:
        self._tell({"event": event, "time": time.time(), **facts})

    # The monitor's thread

    def _watch_over(self) -> None:
        monitor, network = self._monitor, self._network
        beat = self._timing.heartbeat
        self._take(monitor.start(time.monotonic_ns()))
        due = time.monotonic_ns()
        while not self._stopped.is_set():
            network.wait((due - time.monotonic_ns()) / _SECOND)
            for sender, data in network.heard():
                if self._cut_off():
                    continue
                if self._channel_keys is not None and is_about_keys(data):
                    self._channel_keys.heard(sender, data)
                    continue
                with suppress(MessageError):
                    message = messages.decode(data)
                    self._take(monitor.received(time.monotonic_ns(), sender, message))
            while not self._events.empty():
                self._events.get()()
            if time.monotonic_ns() >= due:
                self._take(monitor.tick(time.monotonic_ns()))
                due = max(due + beat, time.monotonic_ns())
        if monitor.state is Availability.MASTER:
            for host in self._hosts:
                network.send(host, messages.encode(messages.Resigned()))

    def _take(self, wanted: list[actions.Action]) -> None:
        for action in wanted:
            match action:
                case actions.Send(to, message):
                    if not self._cut_off():
                        self._network.send(to, messages.encode(message))
                case actions.PingHost(host):
                    record = self._hosts.get(host)
                    if record is not None and record.pings is not None:
                        self._ping(record.pings)
                case actions.PingAddress(address):
                    self._ping(address)
                case actions.Watch(hosts):
                    for datastore in self._datastores.values():
                        datastore.watch(hosts)
                case actions.Declare(isolated):
                    for datastore in self._datastores.values():
                        datastore.declare(isolated)
                case actions.Acquire(name):
                    self._datastores[name].own(True)
                case actions.Release(name):
                    self._datastores[name].own(False)
                case actions.Became(state, master):
                    self._became(state, master)
                case actions.HostState(host, state):
                    self._observe("host-state", host=host, state=str(state))
                case actions.Ready():
                    self._ready = True
                case actions.Respond():
                    self._respond = True
                case actions.Cancel():
                    self._respond = False
        self._look()

    def _cut_off(self) -> bool:
        return self._spec.cut is not None and self._spec.cut.exists()

    def _ping(self, endpoint: str) -> None:
        if not self._cut_off():
            self._pings.ask(endpoint)

    def _became(self, state: Availability, master: str | None) -> None:
        if state is Availability.MASTER:
            self._reign += 1
        self._ready = False
        self._observe("state", state=str(state))
        if master is not None:
            self._observe("master", master=master)

    def _look(self) -> None:
        """Let the master's rounds see what the monitor does."""
        monitor = self._monitor
        if monitor.state is not Availability.MASTER:
            sight = Sight({}, frozenset(), False)
        else:
            states = {**monitor.hosts, monitor.me: monitor.state}
            owned = frozenset(n for n in monitor.owned if self._datastores[n].owned)
            cut_off = [host for host, state in states.items() if state in _CUT_OFF]
            listed = {host: self._listed[host] for host in cut_off if host in self._listed}
            sight = Sight(states, owned, self._ready, listed)
        with self._lock:
            self._sight = sight

    def _answered(self, endpoint: str) -> None:
        now = time.monotonic_ns()
        if endpoint in self._spec.isolation_addresses:
            self._take(self._monitor.address_answered(now, endpoint))
        for name, record in self._hosts.items():
            if record.pings == endpoint:
                self._take(self._monitor.host_answered(now, name))

    def _of_storage(self, event: StorageEvent) -> None:
        """From a datastore's thread."""
        self._events.put(lambda: self._on_storage(event))

    def _on_storage(self, event: StorageEvent) -> None:
        now, monitor = time.monotonic_ns(), self._monitor
        match event:
            case Connected(name):
                self._observe("datastore-back", datastore=name)
                self._take(monitor.datastore_connected(now, name))
            case Lost(name, reason):
                self._observe("datastore-lost", datastore=name, reason=reason)
                self._take(monitor.datastore_lost(now, name))
            case HostRead(name, host, counter, isolated, runs):
                self._listed[host] = runs
                self._take(monitor.storage_read(now, host, name, counter, isolated))
            case Owned(name, True):
                self._take(monitor.acquired(now, name))
            case Owned(name, False):
                self._take(monitor.ownership_lost(now, name))

    def _hosts_changed(self, hosts: dict[str, HostRecord]) -> None:
        self._hosts = hosts
        name = self._spec.name
        active = {h: r for h, r in hosts.items() if not r.left}
        beats = heartbeat_datastores({h: r.datastores for h, r in active.items()})
        for datastore in self._datastores.values():
            datastore.beat_here(datastore.name in beats.get(name, ()))
        others = {h: r for h, r in hosts.items() if h != name}
        self._network.know({h: p for h, r in others.items() if (p := self._peer(r)) is not None})
        now = time.monotonic_ns()
        changed = {host: beats[host] for host in others if host in active}
        self._take(self._monitor.hosts_changed(now, changed))
        idle = self._monitor.state is Availability.UNINITIALIZED
        if name in active and idle:
            self._take(self._monitor.start(now))
        elif name not in active and not idle:
            self._take(self._monitor.enter_maintenance(now))

    def _peer(self, record: HostRecord) -> Peer | None:
        if self._keys is None:
            return Peer(record.management)
        public = self._keys.others.get(record.name)
        return None if public is None else Peer(record.management, public)

    # The keeper's thread

    def _keep(self) -> None:
        beat = self._timing.storage_heartbeat / _SECOND
        store = self._open_store()
        keeper = Keeper(self._spec.name, uuid.uuid4().hex, store, self._local, beat)
        isolated = Isolated(
            self._local,
            self._config.isolation,
            IsolationTiming(_SHUTDOWN * _SECOND),
            lambda name: self._datastores[name].home,
        )
        looked = float("-inf")
        while not self._stopped.is_set():
            now = time.monotonic()
            try:
                keeper.round(now, time.time())
                if now > looked + beat:
                    looked = now
                    self._look_for_hosts(store)
                self._store_answers("")
            except StoreError as error:
                self._store_answers(str(error))
            except VlockstepError as error:
                self._observe("notice", text=str(error))
            isolated.round(time.monotonic_ns(), self._respond)
            running = [g for g, r in self._local.look().items() if r.life is not Life.ENDED]
            for datastore in self._datastores.values():
                datastore.runs(running)
            self._stopped.wait(max(0.0, now + beat / 4 - time.monotonic()))
        store.close()

    def _read_hosts(self, store: Store) -> dict[str, HostRecord]:
        found = {}
        for name, entry in store.list(HOSTS).items():
            with suppress(PlainError):
                found[name.partition("/")[2]] = from_plain(HostRecord, entry.value)
        return found

    def _look_for_hosts(self, store: Store) -> None:
        found, name = self._read_hosts(store), self._spec.name
        if name not in found and store.get(key(HOSTS, name)) is None:
            text = f"{name} belongs to the cluster no longer, and its agent ends"
            self._observe("notice", text=text)
            self.stop()
        if found != self._known_hosts:
            self._known_hosts = found
            self._events.put(lambda: self._hosts_changed(found))

    def _store_answers(self, problem: str) -> None:
        if bool(problem) != bool(self._problem):
            if problem:
                self._observe("store-lost", reason=problem)
            else:
                self._observe("store-back")
        self._problem = problem

    # The master's thread

    def _manage(self) -> None:
        beat = self._timing.storage_heartbeat / _SECOND
        store = self._open_store()
        manager: Manager | None = None
        reign = 0
        while not self._stopped.is_set():
            began = time.monotonic()
            with self._lock:
                leads, now_reign = bool(self._sight.states), self._reign
            if not leads:
                manager = None
            else:
                try:
                    if manager is None or reign != now_reign:
                        reign = now_reign
                        manager = Manager(
                            self._spec.name,
                            store,
                            self._config,
                            time.time(),
                            4 * self._timing.storage_heartbeat,
                            partial(oracle.ask, aim=oracle.NEAR, seconds=_SEARCH_SECONDS),
                        )
                    manager.round(time.monotonic_ns(), time.time(), self._sight_now)
                except StoreError as error:
                    self._observe("notice", text=f"the master's round is left out: {error}")
                except VlockstepError as error:
                    self._observe("notice", text=str(error))
            self._stopped.wait(max(0.0, began + beat / 2 - time.monotonic()))
        store.close()

    def _sight_now(self) -> Sight:
        """Of what is owned that which surely still is."""
        with self._lock:
            sight = self._sight
        owned = frozenset(name for name in sight.owned if self._datastores[name].owned)
        return replace(sight, owned=owned)

    # At the start

    def _only_one(self) -> IO[bytes]:
        """Two agents of one host would start its guests twice."""
        file = (self._spec.directory / "lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise UsageError(
                f"an agent of this host runs already, in {self._spec.directory}: end it, or give "
                "this one another directory"
            ) from error
        return file

    def _identity(self) -> str:
        """Of this host, unlike that of any other of its name."""
        path = self._spec.directory / "identity"
        if not path.exists():
            path.write_text(uuid.uuid4().hex)
        return path.read_text()

    def _open_store(self) -> Store:
        return open_store(self._spec.store)

    def _read_config(self) -> ClusterRecord:
        entry = self._store.get(CLUSTER)
        if entry is None:
            raise UsageError(
                f"there is no cluster in {self._spec.store}: make one by `vlockstep cluster create`"
            )
        return from_plain(ClusterRecord, entry.value)

    def _know_others(self) -> list[str]:
        """The other hosts, as the store has them now."""
        hosts = self._read_hosts(self._store)
        hosts.pop(self._spec.name, None)
        self._network.know({h: p for h, r in hosts.items() if (p := self._peer(r)) is not None})
        return sorted(hosts)

    def _register(self, switch: str | None) -> None:
        spec = self._spec
        record = HostRecord(
            spec.name,
            self._instance,
            self._network.endpoint,
            spec.address,
            spec.cpu,
            spec.ram,
            {name: os.path.abspath(path) for name, path in spec.datastores.items()},  # noqa: PTH100
            (DEFAULT_GROUP, *spec.groups),
            spec.cpu_limit,
            switch,
            standby=spec.standby,
            kvm=device.models(),
        )
        for _ in range(_ATTEMPTS):
            before, version = self._registered()
            if before is not None:
                record = replace(record, maintenance=before.maintenance, left=before.left)
            with suppress(Conflict):
                self._store.put(key(HOSTS, spec.name), to_plain(record), version)
                return
        raise HostError(f"the record of the host {spec.name} changes all the time: try again")

    def _registered(self) -> tuple[HostRecord | None, int]:
        """This host's record, and its version. Raises `UsageError` if it is another host's."""
        name = self._spec.name
        entry = self._store.get(key(HOSTS, name))
        if entry is None:
            return None, 0
        record = from_plain(HostRecord, entry.value)
        if record.instance != self._instance:
            raise UsageError(
                f"the cluster has a host {name!r} already: give this one another name, or remove "
                f"that one by `vlockstep host remove {name}`"
            )
        return record, entry.version

"""A simulated cluster: hosts with their monitors, a network, datastores."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from vlockstep.cluster.ha.actions import Action
from vlockstep.cluster.ha.datastore import heartbeat_datastores
from vlockstep.cluster.ha.monitor import Monitor
from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.ha.timing import Timing
from vlockstep.cluster.sim.agent import PROTECTED_LIST, Agent
from vlockstep.cluster.sim.clock import VirtualTime
from vlockstep.cluster.sim.datastore import SimulatedDatastore
from vlockstep.cluster.sim.host import SimulatedHost
from vlockstep.cluster.sim.network import Network, Station


class Simulation:
    """`connections` are the datastores of each host; `addresses` are isolation addresses, on the
    network with names of their own. Clocks drift by up to `drift` millionths. Hosts are off."""

    def __init__(
        self,
        connections: Mapping[str, Iterable[str]],
        timing: Timing,
        *,
        addresses: Sequence[str] = ("gateway",),
        seed: int = 0,
        drift: int = 0,
    ) -> None:
        self.timing = timing
        self.addresses = addresses
        self.chance = random.Random(seed)
        self.time = VirtualTime()
        self.network = Network(self.time, self.chance)
        self.heartbeats = heartbeat_datastores(connections)
        """Of each host of the cluster."""
        self.maintenance: set[str] = set()
        names = sorted({name for where in connections.values() for name in where})
        self.datastores = {name: SimulatedDatastore(name, self.time) for name in names}
        self.hosts: dict[str, SimulatedHost] = {}
        self.agents: dict[str, Agent] = {}
        for name, where in connections.items():
            for datastore in set(names) - set(where):
                self.datastores[datastore].away.add(name)
            host = SimulatedHost(name, self.time, self.chance.randint(-drift, drift))
            agent = self._agent(host)
            self.hosts[name], self.agents[name] = host, agent
            self.network.attach(name, Station(agent.received, host.answers))
        for address in addresses:
            self.network.attach(address, Station(lambda _sender, _data: None, lambda: True))

    def _agent(self, host: SimulatedHost) -> Agent:
        return Agent(host, self)

    # What there is

    def others(self, name: str) -> dict[str, tuple[str, ...]]:
        """The active hosts but for this one."""
        active = self.heartbeats.keys() - self.maintenance - {name}
        return {host: self.heartbeats[host] for host in sorted(active)}

    def connected(self, name: str) -> list[str]:
        return [d for d, datastore in self.datastores.items() if name not in datastore.away]

    # What happens

    def boot(self) -> None:
        for host in self.hosts.values():
            host.boot()

    def run(self, duration: int) -> None:
        self.time.run(self.time.now + duration)

    def disconnect(self, name: str, *datastores: str) -> None:
        """The host loses them, and knows it."""
        for datastore in datastores:
            self.datastores[datastore].away.add(name)
            self.agents[name].event(partial(Monitor.datastore_lost, datastore=datastore))

    def connect(self, name: str, *datastores: str) -> None:
        for datastore in datastores:
            self.datastores[datastore].away.discard(name)
            self.agents[name].event(partial(Monitor.datastore_connected, datastore=datastore))

    def enter_maintenance(self, name: str) -> None:
        self.maintenance.add(name)
        self.agents[name].event(Monitor.enter_maintenance)
        self.tell_hosts()

    def leave_maintenance(self, name: str) -> None:
        self.maintenance.remove(name)
        self.agents[name].event(Monitor.start)
        self.tell_hosts()

    def tell_hosts(self) -> None:
        """Tell each host which others there are."""
        for name, agent in self.agents.items():
            agent.event(partial(Monitor.hosts_changed, hosts=self.others(name)))

    # What can be seen

    def states(self) -> dict[str, Availability]:
        """Each host's own state, of those whose monitor runs."""
        return {name: a.monitor.state for name, a in self.agents.items() if a.runs}

    def masters(self) -> list[str]:
        return [name for name, state in self.states().items() if state is Availability.MASTER]

    def owner(self, datastore: str) -> str | None:
        """Who has the lock of its protectedlist."""
        return self.datastores[datastore].owner(PROTECTED_LIST)

    def log(self, name: str, *kinds: type[Action]) -> list[tuple[int, Action]]:
        """What the host's monitor asked for of these kinds, and when."""
        return [(time, act) for time, act in self.agents[name].log if isinstance(act, kinds)]

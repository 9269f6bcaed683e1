"""Random faults on a simulated cluster, and what must hold whatever they are."""

from __future__ import annotations

import random
from collections.abc import Callable

from vlockstep.cluster.ha.actions import HostState
from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.ha.timing import Timing
from vlockstep.cluster.sim.simulation import Simulation

NAMES = ("host-8", "host-9", "host-10", "host-11", "host-100")


class Chaos:
    """A cluster that `seed` stands for, and what it goes through."""

    def __init__(self, seed: int, timing: Timing) -> None:
        self.chance = chance = random.Random(f"chaos {seed}")
        self.timing = timing
        datastores = [f"ds{number}" for number in range(1, chance.randint(2, 4))]
        connections = {
            host: datastores
            if chance.random() < 0.6
            else chance.sample(datastores, chance.randint(1, len(datastores)))
            for host in NAMES[: chance.randint(2, 5)]
        }
        self.simulation = Simulation(connections, timing, seed=seed, drift=chance.choice((0, 500)))
        self.home = {host: list(where) for host, where in connections.items()}
        self.happened: list[str] = []
        network = self.simulation.network
        network.delays = (0, chance.choice((0, timing.heartbeat // 10, timing.heartbeat)))
        network.loss = chance.choice((0, 0, 0.02))
        self._troubled = dict.fromkeys(connections, 0)
        """When a host, or its way to a datastore, was last known to be bad."""
        self._seen = dict.fromkeys(connections, 0)
        """How many of each monitor's actions have been checked."""
        self.simulation.time.watchers.append(self._check)

    # What must hold at any time

    def _check(self) -> None:
        simulation = self.simulation
        now = simulation.time.now
        owners: dict[str, str] = {}
        for name, agent in simulation.agents.items():
            if not agent.runs or any(
                name in simulation.datastores[d].away for d in self.home[name]
            ):
                self._troubled[name] = now
            if agent.alive:
                for datastore in agent.owned:
                    assert datastore not in owners, (
                        f"{name} and {owners[datastore]} own {datastore}"
                    )
                    owners[datastore] = name
        for name, agent in simulation.agents.items():
            for _, action in agent.log[self._seen[name] :]:
                if isinstance(action, HostState) and action.state is Availability.DOWN:
                    self._check_down(name, action.host)
            self._seen[name] = len(agent.log)

    def _check_down(self, by: str, host: str) -> None:
        """Nobody is down whose heartbeats its master could see."""
        window = self.timing.storage_watch - self.timing.storage_heartbeat
        since = self.simulation.time.now - window
        seen = set(self.simulation.heartbeats[host]) & set(self.home[by])
        fine = max(self._troubled[host], self._troubled[by]) < since
        assert not (seen and fine), f"{by} says that {host} is down, which lives"

    # What happens

    def strike(self) -> None:
        """One fault."""
        simulation, chance = self.simulation, self.chance
        name = chance.choice(list(simulation.hosts))
        other = chance.choice(list(simulation.network.names))
        host, agent = simulation.hosts[name], simulation.agents[name]
        network, datastore = simulation.network, chance.choice(self.home[name])
        away = simulation.datastores[datastore].away
        some = {n for n in network.names if chance.random() < 0.5}
        faults: dict[str, Callable[[], object]] = {
            "crash": host.crash,
            "boot": host.boot,
            "freeze": host.freeze,
            "thaw": host.thaw,
            "kill": agent.kill,
            "start": agent.start,
            "stop": agent.stop,
            "resume": agent.resume,
            "unplug": lambda: network.unplug(name),
            "plug": lambda: network.plug(name),
            "cut": lambda: network.cut(name, other),
            "part": lambda: network.part(some, set(network.names) - some),
            "heal": network.heal,
            "blind": lambda: away.add(name),
            "see": lambda: away.discard(name),
            "disconnect": lambda: simulation.disconnect(name, datastore),
            "connect": lambda: simulation.connect(name, datastore),
            "restart": lambda: (agent.kill(), agent.start()),
            "maintenance": lambda: self._maintain(name),
        }
        fault = chance.choice(list(faults))
        at = simulation.time.now / self.timing.heartbeat
        self.happened.append(f"{at:.1f} {fault} {name} {other} {datastore}")
        faults[fault]()

    def _maintain(self, name: str) -> None:
        if name in self.simulation.maintenance:
            self.simulation.leave_maintenance(name)
        else:
            self.simulation.enter_maintenance(name)

    def run(self, count: int) -> None:
        """So many faults, some close to each other."""
        self.simulation.boot()
        for _ in range(count):
            self.simulation.run(int(10 ** self.chance.uniform(-1, 1.9) * self.timing.heartbeat))
            self.strike()

    def end(self) -> None:
        """All is well again, but for hosts that are off, and agents that are dead or stopped."""
        simulation = self.simulation
        simulation.network.heal()
        simulation.network.loss = 0
        for name, host in simulation.hosts.items():
            host.thaw()
            simulation.agents[name].resume()
            simulation.connect(name, *self.home[name])
            if name in simulation.maintenance:
                simulation.leave_maintenance(name)

    def settle(self) -> None:
        timing = self.timing
        self.simulation.run(2 * timing.unreachable + timing.election + 6 * timing.heartbeat)

    # What must hold then

    def whole(self) -> list[set[str]]:
        return [set(self.simulation.network.names)]

    def part(self) -> list[set[str]]:
        """Two sides at random, where isolation addresses are stations like others."""
        network = self.simulation.network
        one = {name for name in network.names if self.chance.random() < 0.5}
        sides = [one, set(network.names) - one]
        network.part(*sides)
        self.happened.append(f"parted {sides}")
        return sides

    def check_settled(self, side: set[str]) -> None:
        """One master among the hosts of a side, whom all others follow; but a host that hears
        nobody, nor an isolation address, is isolated."""
        states = self.simulation.states()
        living = side & states.keys()
        if len(living) == 1 and not side & set(self.simulation.addresses):
            assert {states[name] for name in living} == {Availability.ISOLATED}, f"{living}"
            return
        masters = [name for name in living if states[name] is Availability.MASTER]
        assert len(masters) == min(len(living), 1), f"masters: {masters} of {living}"
        for name in living - set(masters):
            assert states[name] is Availability.CONNECTED, f"{name} is {states[name]}"
            assert self.simulation.agents[name].monitor.master == masters[0]

    def check_views(self) -> None:
        """Each master knows of each host what it is, as far as that can be seen, and somebody owns
        what it is connected to."""
        simulation = self.simulation
        for master in simulation.masters():
            for name, state in simulation.agents[master].monitor.hosts.items():
                expected = self._expected(master, name)
                assert state in expected, f"{name} is {state}, not {expected}, says {master}"
            for datastore in self.home[master]:
                assert simulation.owner(datastore), f"nobody owns {datastore}"

    def _expected(self, master: str, name: str) -> set[Availability]:
        simulation = self.simulation
        if simulation.network.reaches(master, name):
            if simulation.agents[name].runs:
                return {Availability.CONNECTED}
            if simulation.hosts[name].answers():
                return {Availability.UNREACHABLE}
        if not set(simulation.heartbeats[name]) & set(self.home[master]):
            return set(Availability)
        if not simulation.agents[name].runs:
            return {Availability.DOWN}
        isolated = simulation.states()[name] is Availability.ISOLATED
        return {Availability.ISOLATED if isolated else Availability.PARTITIONED}

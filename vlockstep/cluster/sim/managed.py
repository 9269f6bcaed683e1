"""A simulated cluster with all that agents do: guests, orders, reports, and a master's rounds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeVar

from vlockstep.arbiter.rule import Record
from vlockstep.cluster.guestfile import GuestFile
from vlockstep.cluster.master.view import Beliefs, View
from vlockstep.cluster.model import Cluster, Replica, Role
from vlockstep.cluster.plain import from_plain, to_plain
from vlockstep.cluster.records import (
    CLUSTER,
    GUESTS,
    HOSTS,
    RULES,
    TASKS,
    ClusterRecord,
    GuestRecord,
    HostRecord,
    Order,
    Power,
    RuleRecord,
    Task,
    key,
    numbered,
)
from vlockstep.cluster.settings import timing_of
from vlockstep.cluster.sim.agent import Agent
from vlockstep.cluster.sim.clock import Call
from vlockstep.cluster.sim.host import SimulatedHost
from vlockstep.cluster.sim.hostagent import HostAgent
from vlockstep.cluster.sim.network import Network, Station
from vlockstep.cluster.sim.register import Records, SimulatedRegister
from vlockstep.cluster.sim.replica import Message, SimulatedReplica
from vlockstep.cluster.sim.simulation import Simulation
from vlockstep.cluster.sim.witness import Witness
from vlockstep.cluster.store import Content, Entry, MemoryStore
from vlockstep.cluster.store.values import decode

_T = TypeVar("_T")
_SECOND = 1_000_000_000
_MILLISECOND = 1_000_000


@dataclass(frozen=True)
class GuestSetting:
    datastore: str
    file: GuestFile
    power: Power = Power.ON


@dataclass(frozen=True)
class Conditions:
    """What a cluster is made of, and what varies: the times of messages and of operations on the
    store are up to these, in nanoseconds; so many answers of replicas that have moved get lost.
    Clocks drift by up to `drift` millionths."""

    hosts: Mapping[str, HostRecord]
    guests: Mapping[str, GuestSetting] = field(default_factory=dict)
    rules: tuple[RuleRecord, ...] = ()
    config: ClusterRecord = field(default_factory=lambda: ClusterRecord("simulated", "1"))
    seed: int = 0
    message: int = _MILLISECOND
    operation: int = _MILLISECOND
    lost_answers: float = 0
    drift: int = 0
    output_interval: int = 100 * _MILLISECOND


class ManagedCluster(Simulation):
    """All hosts are off, and what shall be is in the store."""

    def __init__(self, conditions: Conditions) -> None:
        self.conditions = conditions
        self.records = conditions.hosts
        self.fence = conditions.config.fence * _MILLISECOND
        self.output_interval = conditions.output_interval
        self.disks: dict[str, dict[str, SimulatedReplica]] = {h: {} for h in conditions.hosts}
        """By host and guest, the replica that its agent has started last."""
        self._numbers = count(1)
        self._replicas: dict[str, SimulatedReplica] = {}
        self._registers: dict[str, Records] = {}
        self._hung: set[tuple[str, int]] = set()
        self._failing: dict[tuple[str, int], str] = {}
        self._host_records: dict[tuple[str, int], HostRecord] = {}
        self._refusals: dict[str, int] = {}
        super().__init__(
            {name: tuple(record.datastores) for name, record in conditions.hosts.items()},
            timing_of(conditions.config.profile, dict(conditions.config.timing)),
            seed=conditions.seed,
            drift=conditions.drift,
        )
        self.links = Network(self.time, self.chance)
        """Between replicas."""
        self.network.delays = self.links.delays = (0, conditions.message)
        for host in self.hosts.values():
            self.links.attach(host.name, Station(lambda _sender, _data: None, host.answers))
        self.content = Content(lambda: self.time.now / _SECOND)
        self.witness = Witness(self)
        self._store = MemoryStore(self.content)
        self._fill()

    def _agent(self, host: SimulatedHost) -> Agent:
        return HostAgent(host, self)

    def agent(self, host: str) -> HostAgent:
        found = self.agents[host]
        assert isinstance(found, HostAgent)
        return found

    # The store, as somebody sees it who sees everything

    def _fill(self) -> None:
        conditions = self.conditions
        self.put(CLUSTER, conditions.config)
        for name, host in conditions.hosts.items():
            self.put(key(HOSTS, name), host)
        for name, guest in conditions.guests.items():
            record = GuestRecord(name, guest.datastore, name, guest.file.to_dict(), guest.power)
            self.put(key(GUESTS, name), record)
        for rule in conditions.rules:
            self.put(key(RULES, rule.name), rule)

    def put(self, name: str, record: Any) -> None:
        self._store.put(name, to_plain(record), None)
        self.witness.changed(name)

    def delete(self, name: str) -> None:
        self._store.delete(name, None)

    def stored(self, kind: type[_T], name: str) -> _T | None:
        found = self.content.entries.get(name)
        return None if found is None else from_plain(kind, decode(name, found.text))

    def all(self, kind: type[_T], prefix: str) -> dict[str, _T]:
        """By their keys."""
        return {
            name: from_plain(kind, decode(name, self.content.entries[name].text))
            for name in self.content.within(prefix)
        }

    def view(self) -> Cluster:
        """As decisions see it, with all hosts whose agents run, and only what they really run."""
        view = View(self._store, self.wall())
        up = frozenset(name for name, agent in self.agents.items() if agent.runs)
        view.beliefs = Beliefs(usable=up, trusted=up)
        placed = {
            Replica(guest, replica.role or Role.SECONDARY): host
            for host, replicas in self.disks.items()
            for guest, replica in replicas.items()
            if replica.alive
        }
        return replace(view.cluster(), placed=placed, moving={})

    def host_record(self, name: str, entry: Entry) -> HostRecord:
        """What all hosts read again and again."""
        known = self._host_records.get((name, entry.version))
        if known is None:
            known = from_plain(HostRecord, entry.value)
            self._host_records[name, entry.version] = known
        return known

    def config(self) -> ClusterRecord:
        found = self.stored(ClusterRecord, CLUSTER)
        assert found is not None
        return found

    def submit(self, kind: str, target: str, **details: Any) -> None:
        number = max((t.number for t in self.all(Task, TASKS).values()), default=0) + 1
        task = Task(number, kind, target, "somebody", self.wall(), details)
        self.put(numbered(TASKS, number), task)

    def wall(self) -> float:
        return self.time.now / _SECOND

    # What varies

    def latency(self) -> int:
        return self.chance.randint(0, self.conditions.operation)

    def answer_lost(self) -> bool:
        return self.chance.random() < self.conditions.lost_answers

    def identity(self) -> str:
        """Unlike any other."""
        return f"{random.Random(next(self._numbers)).getrandbits(64):x}"

    # Replicas

    def start_replica(self, host: str, order: Order) -> SimulatedReplica:
        replica = SimulatedReplica(self.hosts[host], self, order, next(self._numbers))
        self._replicas[replica.endpoint] = replica
        replica.start()
        self.hosts[host].processes = [
            p for p in self.hosts[host].processes if p.alive or p is self.agents[host]
        ]
        return replica

    def register(self, order: Order, pause: Call, host: str) -> SimulatedRegister:
        records = self._registers.setdefault(order.guest, Records())
        return SimulatedRegister(records, self.datastores[order.datastore], host, pause)

    def newest(self, guest: str) -> Record | None:
        """The record of whoever owns the guest, or owned it last."""
        records = self._registers.get(guest, Records()).records
        return records[max(records)] if records else None

    def live(self, guest: str) -> list[SimulatedReplica]:
        return [r for r in self._replicas.values() if r.guest == guest and r.alive]

    def between_replicas(self, host: str, endpoint: str, message: Message) -> None:
        def arrive() -> None:
            replica = self._replicas.get(endpoint)
            if replica is not None:
                replica.do(lambda: replica.received(message))

        to = endpoint.partition("/")[0]
        if to == host:
            self.time.after(0, arrive)
        elif to in self.hosts:
            self.links.carry(host, to, arrive)

    def reaches_datastore(self, host: str, datastore: str) -> bool:
        return datastore in self.datastores and host not in self.datastores[datastore].away

    def adopted(self, host: str, order: Order) -> bool:
        """The order is for a replica that runs there already."""
        replica = self.disks[host].get(order.guest)
        return replica is not None and replica.order.attempt >= order.attempt

    # What guests do

    def hung(self, replica: SimulatedReplica) -> bool:
        return (replica.guest, replica.life) in self._hung

    def failure(self, replica: SimulatedReplica) -> str | None:
        return self._failing.get((replica.guest, replica.life))

    def refused(self, guest: str) -> str:
        """Why it does not start now, "" if it does."""
        left = self._refusals.get(guest, 0)
        self._refusals[guest] = max(0, left - 1)
        return "it is simulated not to start" if left else ""

    def hang(self, guest: str) -> None:
        if record := self.owner_of(guest):
            self._hung.add((guest, record.life))

    def fail(self, guest: str, how: str) -> None:
        """`ended`: it ends by itself; else this is its error."""
        if record := self.owner_of(guest):
            self._failing[guest, record.life] = how

    def refuse(self, guest: str, times: int) -> None:
        """It does not start so many times."""
        self._refusals[guest] = times

    def owner_of(self, guest: str) -> SimulatedReplica | None:
        """Who owns it, and lives."""
        newest = self.newest(guest)
        owners = [r for r in self.live(guest) if r.owns and r.record is newest]
        return owners[0] if owners else None

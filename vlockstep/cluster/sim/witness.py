"""Who looks at a simulated cluster from outside: what must hold at any time, and what happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlockstep.cluster.guestfile import parse
from vlockstep.cluster.ha.actions import Became, HostState
from vlockstep.cluster.ha.states import Availability
from vlockstep.cluster.model import OnHosts
from vlockstep.cluster.plain import PlainError, from_plain
from vlockstep.cluster.records import (
    ADVICE,
    CLUSTER,
    EVENTS,
    GUESTS,
    HOSTS,
    ORDERS,
    REPORTS,
    RULES,
    STATUS,
    TASKS,
    Advice,
    ClusterEvent,
    ClusterRecord,
    End,
    GuestRecord,
    HostRecord,
    Life,
    MasterStatus,
    Order,
    Power,
    Report,
    RuleRecord,
    Task,
    TaskState,
    key,
)
from vlockstep.cluster.sim.replica import SimulatedReplica
from vlockstep.cluster.store.values import decode

if TYPE_CHECKING:
    from vlockstep.cluster.sim.managed import ManagedCluster

_SECOND = 1_000_000_000
_KINDS: dict[str, type[Any]] = {
    CLUSTER: ClusterRecord,
    HOSTS: HostRecord,
    GUESTS: GuestRecord,
    RULES: RuleRecord,
    ORDERS: Order,
    REPORTS: Report,
    TASKS: Task,
    EVENTS: ClusterEvent,
    STATUS: MasterStatus,
    ADVICE: Advice,
}
_KNOWN_BY_THEN = 2 * _SECOND
"""What stands in the store for so long every round has read."""
_EXCUSES = ("this host is isolated", "it took too long to start", "the guest is hung")


@dataclass
class _Emitted:
    """A guest's last output."""

    life: int
    number: int
    generation: int
    by: str
    time: int


class Witness:
    """`log` is what happens, `violations` what must not, both with the time."""

    def __init__(self, world: ManagedCluster) -> None:
        self.log: list[tuple[int, str]] = []
        self.violations: list[str] = []
        self.emissions: dict[str, _Emitted] = {}
        self.given_up: set[str] = set()
        self._world = world
        self._attempts: dict[str, int] = {}
        """By key, the last order that was checked."""
        self._since: dict[str, int] = {}
        """By key of a rule or a host, when it was changed."""
        self._told: set[str] = set()

    def happened(self, text: str) -> None:
        self.log.append((self._world.time.now, text))

    def violated(self, text: str) -> None:
        self.violations.append(f"{self._world.time.now / _SECOND:.3f} {text}")
        self.happened(f"VIOLATION {text}")

    # Guests

    def owns(self, replica: SimulatedReplica) -> None:
        assert replica.record is not None
        generation = replica.record.generation
        verb = "begins" if replica.life == generation else "goes on"
        self.happened(f"{replica.guest} {verb} on {replica.host.name}")

    def emitted(self, replica: SimulatedReplica, number: int) -> None:
        assert replica.record is not None
        guest, generation = replica.guest, replica.record.generation
        now = _Emitted(replica.life, number, generation, replica.endpoint, self._world.time.now)
        last = self.emissions.get(guest)
        if last is not None and generation < last.generation:
            self.violated(f"{guest} makes an output at {now.by} after {last.by} has taken over")
        elif last is not None and now.by != last.by and generation == last.generation:
            self.violated(f"{guest} makes outputs at {now.by} and {last.by} at once")
        elif last is not None and now.life < last.life:
            self.violated(f"{guest} goes back to a life that is over, at {now.by}")
        elif last is None or now.life > last.life:
            if number != 1:
                self.violated(f"{guest} begins with output {number} at {now.by}")
        elif number > last.number + 1:
            self.violated(f"{guest} lost outputs from {last.number + 1} to {number - 1}")
        elif number <= last.number and generation == last.generation:
            self.violated(f"{guest} makes output {number} once more at {now.by}")
        newest = self._world.newest(guest)
        if replica.hold and not replica.ending and newest is not None and len(newest.members) == 1:
            self.violated(f"{guest} makes an output at {now.by} that nobody else has")
        self.emissions[guest] = now

    def ends(self, replica: SimulatedReplica, how: End, reason: str) -> None:
        """An agent ends a replica in this way."""
        guest = self._world.stored(GuestRecord, key(GUESTS, replica.guest))
        if how is End.POWER_OFF or not replica.owns or not replica.alive or guest is None:
            return
        record = replica.record
        assert record is not None
        if guest.power is Power.ON and not self._world.hung(replica) and reason not in _EXCUSES:
            newest = self._world.newest(replica.guest)
            if newest is record and len(record.members) == 1:
                self.violated(f"{replica.guest} is ended at {replica.endpoint}: {how}, {reason}")

    # What monitors and agents say

    def judged(self, by: str, action: Became | HostState) -> None:
        match action:
            case HostState(host, state):
                self.happened(f"{host} is {state}, says {by}")
            case Became(Availability.MASTER):
                self.happened(f"{by} is master")
            case Became(Availability.ISOLATED):
                self.happened(f"{by} is isolated")

    def notice(self, host: str, error: Exception) -> None:
        """A round was left out."""

    # The store

    def changed(self, name: str) -> None:
        """Something may be new there."""
        stored = self._world.content.entries.get(name)
        if stored is None:
            return
        kind = name.partition("/")[0]
        try:
            record = from_plain(_KINDS[kind], decode(name, stored.text))
        except (PlainError, KeyError) as error:
            self.violated(f"{name} is none of its kind: {error}")
            return
        match record:
            case Order():
                self._ordered(name, record)
            case ClusterEvent():
                self._event(name, record)
            case Task():
                self._task(name, record)
            case RuleRecord() | HostRecord():
                self._since[name] = self._world.time.now

    def _event(self, name: str, event: ClusterEvent) -> None:
        if name in self._told:
            return
        self._told.add(name)
        about = " ".join(each for each in (event.guest, event.host) if each is not None)
        self.happened(f"{event.kind} {about}")
        if event.guest is not None and event.kind == "restart-given-up":
            self.given_up.add(event.guest)

    def _task(self, name: str, task: Task) -> None:
        if task.state.over and name not in self._told:
            self._told.add(name)
            why = f": {task.reason}" if task.state is not TaskState.DONE else ""
            self.happened(f"task {task.kind} {task.target} is {task.state}{why}")

    # Orders

    def _ordered(self, name: str, order: Order) -> None:
        if order.attempt <= self._attempts.get(name, 0):
            return
        self._attempts[name] = order.attempt
        host = name.split("/")[1]
        if order.end is not None or self._world.adopted(host, order):
            return
        for obstacle in self._obstacles(host, order):
            self.violated(f"{order.guest} is ordered to {host}: {obstacle}")

    def _obstacles(self, host: str, order: Order) -> list[str]:
        record = self._world.stored(HostRecord, key(HOSTS, host))
        if record is None:
            return ["it is no host of the cluster"]
        found = []
        if record.maintenance and self._stood(key(HOSTS, host)):
            found.append("it is in maintenance")
        if order.datastore not in record.datastores:
            found.append(f"it has no datastore {order.datastore}")
        for name, stored in self._world.all(RuleRecord, RULES).items():
            rule = stored.rule()
            if not isinstance(rule, OnHosts) or not rule.mandatory or not rule.enabled:
                continue
            if order.guest in rule.guests and (host in rule.hosts) != rule.inside:
                found += [f"rule {rule.name} forbids it"] * self._stood(name)
        memory, cpu = self._reserved(host)
        if memory > record.memory:
            found.append(f"{memory:g} MiB are reserved of {record.memory:g}")
        if cpu > record.cpu:
            found.append(f"{cpu:g} MIPS are reserved of {record.cpu:g}")
        return found

    def _reserved(self, host: str) -> tuple[float, float]:
        """By all that was ordered there and is not over."""
        memory = cpu = 0.0
        report = self._world.stored(Report, key(REPORTS, host))
        for order in self._world.all(Order, key(ORDERS, host)).values():
            told = report.replicas.get(order.guest) if report is not None else None
            over = told is not None and told.attempt >= order.attempt and told.life is Life.ENDED
            if not over:
                model = parse(order.file).model(order.guest, order.datastore)
                if model.ram.reservation:
                    memory += model.ram.reservation + model.overhead
                cpu += model.cpu.reservation
        return memory, cpu

    def _stood(self, name: str) -> bool:
        return self._world.time.now >= self._since.get(name, 0) + _KNOWN_BY_THEN

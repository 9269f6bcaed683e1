"""Whether a simulated cluster has become what it shall be, once all faults are over."""

from __future__ import annotations

from collections.abc import Iterator

from vlockstep.cluster.guestfile import parse
from vlockstep.cluster.model import Priority, Replica, Role
from vlockstep.cluster.placement import why_not
from vlockstep.cluster.records import (
    GUESTS,
    HOSTS,
    ORDERS,
    TASKS,
    GuestRecord,
    HostRecord,
    Order,
    Power,
    Task,
    key,
)
from vlockstep.cluster.sim.managed import ManagedCluster
from vlockstep.cluster.sim.replica import SimulatedReplica

SECOND = 1_000_000_000
BOUND = 200 * SECOND
"""After all faults are over: to find a master, to let all attempts that are under way come to their
end (60 s), and the longest pause before the next (48 s) and that one, too."""
_SILENT = 2 * SECOND
_EACH = SECOND


def settle(cluster: ManagedCluster) -> list[str]:
    """Let time pass until all is as it shall be, or for as long as that may take: what is not."""
    until = cluster.time.now + BOUND
    while True:
        cluster.run(_EACH)
        left = list(unsettled(cluster))
        if not left or cluster.time.now >= until or cluster.witness.violations:
            return left


def unsettled(cluster: ManagedCluster) -> Iterator[str]:
    masters = cluster.masters()
    if len(masters) != 1:
        yield f"masters are {masters}"
        return
    guests = {n.partition("/")[2]: g for n, g in cluster.all(GuestRecord, GUESTS).items()}
    orders = [(name.split("/")[1], o.guest) for name, o in cluster.all(Order, ORDERS).items()]
    for task in cluster.all(Task, TASKS).values():
        about = {task.target, *(guest for host, guest in orders if host == task.target)}
        ours = all(_ours(cluster, guests[each]) for each in about & guests.keys())
        if not task.state.over and ours and "no place for" not in task.progress:
            yield f"task {task.number}, {task.kind} {task.target}, is {task.state}: {task.progress}"
    for guest in guests.values():
        if _ours(cluster, guest):
            yield from _guest(cluster, guest)
    yield from _orders(cluster, guests)


def _ours(cluster: ManagedCluster, record: GuestRecord) -> bool:
    """The master is connected to its datastore: else nobody is responsible for the guest."""
    return cluster.owner(record.datastore) is not None


def _guest(cluster: ManagedCluster, record: GuestRecord) -> Iterator[str]:
    name = record.name
    live = cluster.live(name)
    if record.power is Power.OFF:
        if live:
            yield f"{name} is powered off, and has {_named(live)}"
        return
    owner = cluster.owner_of(name)
    file = parse(record.file)
    if owner is None:
        excused = file.priority is Priority.DISABLED or name in cluster.witness.given_up
        if not excused and _could(cluster, Replica(name)):
            yield f"{name} does not run"
        return
    emitted = cluster.witness.emissions.get(name)
    patience = _SILENT + 2 * cluster.output_interval
    silent = emitted is None or emitted.time < cluster.time.now - patience
    others = [replica for replica in live if replica is not owner]
    waits = file.ft and file.hold and not others
    if silent and not waits and not cluster.hung(owner):
        yield f"{name} is silent"
    if not file.ft:
        if others:
            yield f"{name} runs at {owner.endpoint}, and has {_named(others)}"
    elif len(others) != 1 or others[0].role is not Role.SECONDARY:
        if others or _could(cluster, Replica(name, Role.SECONDARY)):
            yield f"{name} runs at {owner.endpoint}, and is protected by {_named(others)}"
    elif others[0].host is owner.host:
        yield f"{name} has both replicas on {owner.host.name}"


def _could(cluster: ManagedCluster, replica: Replica) -> bool:
    """A host could run it."""
    view = cluster.view()
    return len(why_not(view, replica, failover=True)) < len(view.hosts)


def _orders(cluster: ManagedCluster, guests: dict[str, GuestRecord]) -> Iterator[str]:
    ordered = set()
    for name, order in cluster.all(Order, ORDERS).items():
        host = name.split("/")[1]
        ordered.add((host, order.guest))
        replica = cluster.disks[host].get(order.guest) if host in cluster.disks else None
        alive = replica is not None and replica.alive
        record = guests.get(order.guest)
        off = record is None or record.power is Power.OFF
        pending = not off and cluster.owner_of(order.guest) is None
        ours = record is None or _ours(cluster, record)
        if ours and not alive and not pending:
            yield f"{host} has an order for {order.guest}, and does not run it"
    hosts = cluster.all(HostRecord, HOSTS)
    for host, replicas in cluster.disks.items():
        for guest, replica in replicas.items():
            if replica.alive and (host, guest) not in ordered and key(HOSTS, host) in hosts:
                yield f"{replica.endpoint} runs {guest} without an order"


def _named(replicas: list[SimulatedReplica]) -> str:
    return ", ".join(f"{r.endpoint} ({r.state or 'starting'})" for r in replicas) or "nothing"

"""How the guests and hosts of a cluster stand, for people: what is wanted, ordered and reported, in
one picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vlockstep.cluster.operator import Operator
from vlockstep.cluster.plain import to_plain
from vlockstep.cluster.records import GuestRecord, HostRecord, MasterStatus, ReplicaReport

SILENT = ("hostDown", "fdmUnreachable")
"""States of hosts whose last reports may be true no longer."""
_HINTS = {
    "uninitialized": "takes no part yet",
    "fdmUnreachable": "its agent does not answer, the host does: start the agent again",
    "networkPartitionedFromMaster": "lives, but the master does not reach it",
    "networkIsolated": "lives, but reaches nobody",
}


def look(cluster: Operator) -> list[dict[str, Any]]:
    """All guests, by name: their records, `replicas` as they are reported, why they are `pending`,
    and their `state` in words."""
    seen = seats(cluster)
    return [stand(record, seen[name]) for name, record in sorted(cluster.guests().items())]


class Seats(NamedTuple):
    """Where a guest is: each of its replicas with its host and what the master says of that; and
    why it is `pending`."""

    replicas: tuple[tuple[str, ReplicaReport, str], ...]
    pending: str


def seats(cluster: Operator) -> Mapping[str, Seats]:
    """Of each guest."""
    orders, status = cluster.ordered(), cluster.status()
    states = status.hosts if status is not None else {}
    found: dict[str, list[tuple[str, ReplicaReport, str]]] = {}
    for host, report in sorted(cluster.reports().items()):
        for name, replica in report.replicas.items():
            if (host, name) in orders:
                found.setdefault(name, []).append((host, replica, states.get(host, "")))
    pending = status.pending if status is not None else {}
    return {
        name: Seats(tuple(found.get(name, ())), pending.get(name, "")) for name in cluster.guests()
    }


def stand(record: GuestRecord, seats: Seats) -> dict[str, Any]:
    """One of those."""
    replicas = [
        {"host": host, **to_plain(replica), "host_state": state}
        for host, replica, state in seats.replicas
    ]
    facts = {**to_plain(record), "replicas": replicas, "pending": seats.pending}
    return {**facts, "state": _state(facts)}


def _state(facts: Mapping[str, Any]) -> str:
    there = alive(facts)
    live = [replica for replica in there if replica["role"] == "primary"]
    if live:
        members = max(replica["members"] for replica in live)
        wanted = facts["file"].get("ft", False)
        if any(replica["holding"] for replica in live):
            return "not protected, its outputs wait"
        return "protected" if members > 1 else "not protected" if wanted else "runs"
    silent = {
        replica["host"]: replica["host_state"]
        for replica in facts["replicas"]
        if replica["life"] != "ended" and replica not in there
    }
    if silent and all(replica["state"] == "following" for replica in there):
        return "unknown: " + ", ".join(f"{host} is {state}" for host, state in silent.items())
    if facts["power"] == "off":
        if there:
            return "is being ended"
        return f"off: {facts['ended']}" if facts["ended"] else "off"
    return f"waits: {facts['pending']}" if facts["pending"] else "is being started"


def alive(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A guest's replicas that run, as far as their hosts still tell."""
    return [
        replica
        for replica in facts["replicas"]
        if replica["life"] != "ended" and replica["host_state"] not in SILENT
    ]


def host_state(name: str, record: HostRecord, status: MasterStatus | None) -> str:
    """What the master says of a host."""
    if record.left:
        return "in maintenance"
    state = status.hosts.get(name, "unknown") if status is not None else "unknown"
    return f"{state}, in maintenance" if record.maintenance else state


def hint(state: str) -> str:
    """What a host's state means, for who does not know it by its name; "" if there is no more to
    say."""
    return _HINTS.get(state, "")


def explained(state: str) -> str:
    return f"{state}: {hint(state)}" if hint(state) else state

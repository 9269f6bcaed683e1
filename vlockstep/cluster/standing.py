"""How the guests and hosts of a cluster stand, for people: what is wanted, ordered and reported, in
one picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlockstep.cluster.operator import Operator
from vlockstep.cluster.plain import to_plain
from vlockstep.cluster.records import HostRecord, MasterStatus

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
    reports, orders = cluster.reports(), cluster.ordered()
    status = cluster.status()
    states = status.hosts if status is not None else {}
    found = []
    for name, record in sorted(cluster.guests().items()):
        replicas = [
            {"host": host, **to_plain(report.replicas[name]), "host_state": states.get(host, "")}
            for host, report in sorted(reports.items())
            if name in report.replicas and (host, name) in orders
        ]
        pending = status.pending.get(name, "") if status is not None else ""
        found.append({**to_plain(record), "replicas": replicas, "pending": pending})
        found[-1]["state"] = _state(found[-1])
    return found


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
        return "off" if not there else "is being ended"
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

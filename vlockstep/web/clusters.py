"""The view of a cluster, by its store: what is wanted, ordered and reported there."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from vlockstep.cluster import guestfile
from vlockstep.cluster.drs.balance import aim_of
from vlockstep.cluster.master.protecting import out_of_step
from vlockstep.cluster.master.view import Beliefs
from vlockstep.cluster.master.view import View as MasterView
from vlockstep.cluster.model import Replica, Role
from vlockstep.cluster.operator import Operator
from vlockstep.cluster.placement import fits
from vlockstep.cluster.plain import to_plain
from vlockstep.cluster.records import (
    ClusterEvent,
    ClusterRecord,
    GuestRecord,
    HostRecord,
    MasterStatus,
    Report,
)
from vlockstep.cluster.standing import Seats, alive, hint, host_state, seats, stand
from vlockstep.cluster.store import Store, open_store
from vlockstep.cluster.store.values import entry_or_unreadable
from vlockstep.errors import UsageError, VlockstepError
from vlockstep.web import shapes
from vlockstep.web.applying import Applying
from vlockstep.web.arbiters import reigns_of
from vlockstep.web.consoles import read_console
from vlockstep.web.history import History
from vlockstep.web.mirror import Mirror
from vlockstep.web.model import Picture
from vlockstep.web.problems import problems_of_cluster, problems_of_records
from vlockstep.web.records import Reader
from vlockstep.web.reigns import Reigns
from vlockstep.web.source import Absent, refuse_others, role_of
from vlockstep.web.standings import Guests, Tasks

WAIT_SECONDS = 0.05
"""For changes, at each look."""
CONSOLE, ARBITER = "console.txt", "arbiter"
_TAKING = ("master", "connectedToMaster")
"""States of hosts that take guests."""


class ClusterSource:
    """Raises `UsageError` if the store has no cluster, `StoreError` if it does not answer."""

    kind: shapes.Kind = "cluster"

    def __init__(self, store: str, opened: Store | None = None) -> None:
        """`opened` is that store, if it has been."""
        opened = opened or open_store(store, entry=entry_or_unreadable)
        self.name = store
        self._mirror = Mirror(opened)
        self._seen = Reader(self._mirror)
        self._asked = Operator(opened)
        self._asked.config()
        self._lock = threading.Lock()
        self._applying = Applying(self._asked)
        self._guests = Guests()
        self._tasks = Tasks()
        self._told = 0
        """The number of the last event."""

    def look(self) -> Picture:
        self._mirror.update(WAIT_SECONDS)
        seen, now = self._seen, time.time()
        config, status, reports = seen.config(), seen.status(), seen.reports()
        events = seen.events(self._told)
        records = seen.hosts()
        tasks = self._tasks.of(seen.tasks())
        moving = {
            task["target"]: task["result"]
            for task in tasks.values()
            if task["kind"] == "migrate" and task["state"] == "running"
        }
        with self._lock:
            for event in events:
                self._told = event.number
            guests = self._guests.look(seen, moving, now)
        hosts = {name: _host(name, each, status, reports) for name, each in records.items()}
        told = None if status is None else to_plain(status)
        advice = seen.advice()
        advised = advice.recommendations if advice is not None else ()
        return Picture(
            _cluster(config, told, records, status),
            hosts,
            guests,
            tasks,
            {each["key"]: cast(shapes.Recommendation, dict(each)) for each in advised},
            [
                *self._applying.problems(),
                *problems_of_records(seen.broken()),
                *problems_of_cluster(told, now, hosts, guests.values()),
            ],
            [_event(event) for event in events],
        )

    # What a person asks

    def details(self, guest: str) -> shapes.GuestDetails:
        facts, record = self._facts(guest), self._seen.guest(guest)
        with self._lock:
            history = self._guests.histories.get(guest) or History()
            reigns = (self._guests.reigns.get(guest) or Reigns()).copy()
            samples = history.samples
        generations = reigns.all(reigns_of(self._arbiter_of(record)))
        file = facts["file"]
        return {
            "name": guest,
            "generations": generations,
            "samples": samples,
            "disks": {name: dict(disk) for name, disk in file.get("disk", {}).items()},
            "nics": {name: dict(nic) for name, nic in file.get("nic", {}).items()},
            "arguments": list(file.get("arguments", ())),
            "console": self._no_console(record),
            "actions": self._actions(facts),
            "secondary": "",
            "hosts": sorted(self._seen.hosts()),
        }

    def console(self, guest: str, after: int | None) -> shapes.Console:
        record = self._seen.guest(guest)
        if problem := self._no_console(record):
            raise UsageError(problem)
        return read_console(guest, self._console_of(record), after)

    def compatibility(self, guest: str, host: str, role: str) -> shapes.Compatibility:
        facts, moved = self._facts(guest), role_of(role)
        record = self._seen.hosts().get(host)
        if record is None:
            raise Absent(f"there is no host {host!r}")
        status = self._seen.status()
        states = status.hosts if status is not None else {}
        view = MasterView(self._mirror, time.time())
        taking = frozenset(name for name, state in states.items() if state in _TAKING)
        view.beliefs = Beliefs(states, usable=taking, trusted=taking)
        there = {each["host"]: each["role"] for each in alive(facts)}
        runs = moved in there.values()
        what = "runs" if moved is Role.PRIMARY else "has its secondary"
        here = f"{guest} {what} on {host} already" if there.get(host) == moved else ""
        state = host_state(host, record, status)
        connected = "" if state in _TAKING else f"{host} is {state}"
        checks = [
            (f"its {moved} runs", "" if runs else f"{guest} has no {moved} that runs"),
            ("it is another host", here),
            ("the host takes guests", connected),
        ]
        if guest in view.damaged:
            checks.append((_SUITS, view.damaged[guest]))
        elif not connected and not here:
            reasons = fits(view.cluster(), Replica(guest, moved), host)
            checks += [(_SUITS, reason) for reason in reasons or ("",)]
        return {"host": host, "possible": not any(why for _, why in checks), "checks": checks}

    def act_on_guest(self, guest: str, action: str, given: Mapping[str, Any]) -> shapes.Done:
        details: dict[str, Any] = {}
        self._asked.guest(guest)
        refuse_others(given, ("host", "role"), "of a cluster's guest")
        if action == "switchover" and (problem := _no_switchover(self._facts(guest))):
            raise UsageError(problem)
        host = given.get("host")
        if host is not None and not isinstance(host, str):
            raise UsageError('"host" is the name of a host')
        if action in ("migrate", "start") and host is not None:
            details["host"] = host
        if action == "migrate":
            details["role"] = str(role_of(given.get("role", "primary")))
        if action in ("protect", "unprotect"):
            self._asked.want_protection(guest, action == "protect")
        return {"task": to_plain(self._asked.submit(action, guest, **details))}

    def act_on_host(self, host: str, maintenance: bool) -> shapes.Done:
        if host not in self._asked.hosts():
            raise Absent(f"there is no host {host!r}")
        return {"task": to_plain(self._asked.submit("maintenance", host, on=maintenance))}

    def apply(self, keys: list[str]) -> shapes.Done:
        return {"task": to_plain(self._applying.start(self._asked.recommended(keys)))}

    def cancel(self, task: int) -> shapes.Done:
        self._asked.cancel(task)
        return {"task": to_plain(self._asked.task(task))}

    def close(self) -> None:
        self._mirror.close()

    def _facts(self, guest: str) -> dict[str, Any]:
        records = self._seen.guests()
        if guest not in records:
            raise Absent(f"there is no guest {guest!r}")
        where = seats(self._seen).get(guest, Seats((), ""))
        return stand(records[guest], where)

    def _console_of(self, record: GuestRecord) -> Path:
        return self._seen.datastore(record.datastore) / record.folder / CONSOLE

    def _arbiter_of(self, record: GuestRecord) -> Path | None:
        try:
            return self._console_of(record).with_name(ARBITER)
        except VlockstepError:  # its datastore is not mounted here
            return None

    def _no_console(self, record: GuestRecord) -> str:
        try:
            guestfile.check_folder(record.folder)
            there = self._console_of(record).exists()
        except (VlockstepError, OSError) as error:
            return str(error)
        return "" if there else "it has written nothing yet"

    def _actions(self, facts: Mapping[str, Any]) -> dict[str, str]:
        """Why each is refused, as far as that can be told before it is asked for."""
        name, wanted = facts["name"], facts["file"].get("ft", False)
        on = facts["power"] == "on"
        off = "" if on else f"{name} is powered off"
        unprotected = "" if facts["state"] == "protected" else f"{name} is not protected"
        no_ft = "" if self._seen.config().ft else "fault tolerance is off in this cluster"
        return {
            "switchover": off or _no_switchover(facts),
            "protect": no_ft or (f"{name} is to be protected already" if wanted else ""),
            "unprotect": "" if wanted else f"{name} is not to be protected",
            "migrate": off,
            "start": f"{name} is powered on" if on else "",
            "stop": off,
            "test-failover": off or unprotected,
            "test-restart-secondary": off or unprotected,
        }


_SUITS = "datastores, networks, CPU, room and rules suit"


def _no_switchover(facts: Mapping[str, Any]) -> str:
    """Why its replicas cannot swap roles now, as the master would say."""
    roles = {replica["role"]: replica for replica in alive(facts)}
    primary, secondary = roles.get("primary"), roles.get("secondary")
    if facts["state"] != "protected" or primary is None or secondary is None:
        return f"{facts['name']} is not protected: nobody could take over"
    return out_of_step(facts["name"], secondary["state"], primary["lag_ms"])


def _cluster(
    config: ClusterRecord,
    told: dict[str, Any] | None,
    hosts: Mapping[str, HostRecord],
    status: MasterStatus | None,
) -> shapes.Cluster:
    states = status.hosts.values() if status is not None else ()
    taking = sum(state in _TAKING for state in states)
    aims = config.drs and config.threshold > 1 and taking > 0
    stores = sorted({name for host in hosts.values() for name in host.datastores})
    cluster = {
        **to_plain(config),
        "status": told,
        "target": round(aim_of(config.threshold, taking), 4) if aims else None,
        "datastores": {
            name: sorted(host.name for host in hosts.values() if name in host.datastores)
            for name in stores
        },
    }
    return cast(shapes.Cluster, cluster)


def _host(
    name: str, record: HostRecord, status: MasterStatus | None, reports: Mapping[str, Report]
) -> shapes.Host:
    state = status.hosts.get(name, "unknown") if status is not None else "unknown"
    report = reports.get(name)
    load: shapes.HostLoad | None = None
    if report is not None:
        load = {"time": report.time, "cpu": report.cpu, "memory": report.memory}
    host = {
        **to_plain(record),
        "state": state,
        "explanation": hint(state),
        "master": status is not None and status.master == name,
        "level": _level_of_host(record, state),
        "report": load,
    }
    return cast(shapes.Host, host)


def _level_of_host(record: HostRecord, state: str) -> shapes.Level:
    if record.maintenance or record.left:
        return "plain"
    return "good" if state in _TAKING else "bad" if state == "hostDown" else "warn"


def _event(event: ClusterEvent) -> shapes.Event:
    told: shapes.Event = {
        "number": 0,
        "time": event.time,
        "kind": event.kind,
        "text": event.text,
        "host": event.host,
        "guest": event.guest,
    }
    if event.details:
        told["details"] = dict(event.details)
    return told

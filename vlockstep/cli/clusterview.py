"""`vlockstep cluster watch`: a cluster in a table that changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vlockstep.cli import output
from vlockstep.errors import UsageError

if TYPE_CHECKING:
    from vlockstep.cluster.operator import Operator

_INTERVAL = 0.5
_EVENTS = 8


def watch(cluster: Operator) -> None:
    console = Console()
    if not console.is_terminal:
        raise UsageError("this is for a terminal: `cluster status` and `cluster events` print")
    with Live(console=console, refresh_per_second=4, screen=True) as live:
        while True:
            live.update(_picture(cluster))
            time.sleep(_INTERVAL)


def _picture(cluster: Operator) -> Group:
    from vlockstep.cluster.standing import host_state

    status, reports, guests = cluster.status(), cluster.reports(), cluster.guests()
    hosts = Table("host", "state", "CPU", "memory", "guests", expand=True)
    for name, record in sorted(cluster.hosts().items()):
        report = reports.get(name)
        replicas = report.replicas if report is not None else {}
        running = [
            f"{guest}{'' if replica.role == 'primary' else ' (secondary)'}"
            for guest, replica in sorted(replicas.items())
            if replica.life != "ended"
        ]
        used = (report.cpu, report.memory) if report is not None else (0.0, 0.0)
        hosts.add_row(
            Text(name),
            Text(host_state(name, record, status)),
            f"{used[0]:.0f} / {record.cpu:.0f}",
            f"{used[1]:.0f} / {record.memory:.0f}",
            Text(", ".join(running)),
        )
    rows: list[Any] = [hosts]
    if status is not None:
        waiting = "".join(f"; {name} waits: {why}" for name, why in status.pending.items())
        rows.insert(0, Text(f"master {status.master}, {len(guests)} guests{waiting}"))
    for event in cluster.events()[-_EVENTS:]:
        rows.append(Text(f"{output.clock(event.time)} {event.text}"))
    return Group(*rows)

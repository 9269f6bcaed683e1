"""What commands that speak of a cluster share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import output
from vlockstep.cli.command import OTHER
from vlockstep.errors import UsageError
from vlockstep.program.progress import Progress

if TYPE_CHECKING:
    from vlockstep.cluster.operator import Operator
    from vlockstep.cluster.records import Task

VARIABLE = "VLOCKSTEP_CLUSTER"
CLUSTER = "Cluster"

ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="STORE",
        envvar=VARIABLE,
        rich_help_panel=CLUSTER,
        help="The cluster's store: a directory that all its hosts share, or etcd://HOST:2379.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", rich_help_panel=OTHER, help="Print lines of JSON.")
]
DetachOption = Annotated[
    bool,
    typer.Option(
        "--detach", help="Do not wait for the end of the task: `cluster tasks` shows how it stands."
    ),
]


def operator(store: str | None, *, new: bool = False) -> Operator:
    """Of the cluster in this store, which is there already if it is not to be a `new` one."""
    from vlockstep.cluster.operator import Operator
    from vlockstep.cluster.store import open_store

    if store is None:
        raise UsageError(f"which cluster? Give --cluster STORE, or set {VARIABLE}")
    found = Operator(open_store(store))
    if not new:
        found.config()
    return found


def do(
    cluster: Operator, as_json: bool, detach: bool, kind: str, target: str, **details: Any
) -> None:
    """A task, to its end. Ctrl-C calls it off, and a second one waits no longer."""
    task = cluster.submit(kind, target, **details)
    if detach:
        show_task(task, as_json)
        return
    progress, told = Progress(), task

    def tell(newer: Task) -> None:
        nonlocal told
        if not as_json:
            progress.tell(f"{newer.target}: {newer.progress or 'waits for the master'}")
        elif newer != told:
            show_task(newer, as_json)
        told = newer

    try:
        try:
            ended = cluster.follow(task, tell)
        except KeyboardInterrupt:
            cluster.cancel(task.number)
            output.note("asks to call it off; Ctrl-C again waits no longer")
            ended = cluster.follow(task, tell)
    finally:
        progress.clear()
    if not as_json:
        seconds = (ended.ended or ended.created) - ended.created
        outcome = f": {ended.progress}" if ended.progress else ""
        print(f"{ended.kind} {ended.target}: done in {seconds:.1f} s{outcome}")


def show_task(task: Task, as_json: bool) -> None:
    if as_json:
        from vlockstep.cluster.plain import to_plain

        output.emit(to_plain(task), flush=True)
    else:
        print(f"task {task.number}: {task.kind} {task.target}, {task.state}")


def moment(seconds: float | None) -> str:
    """A time since the epoch."""
    return "" if seconds is None else time.strftime("%F %T", time.localtime(seconds))

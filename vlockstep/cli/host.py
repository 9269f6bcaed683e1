"""`vlockstep host`: the agent of a host, and the hosts of a cluster."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from vlockstep.cli import clusteroptions, output
from vlockstep.cli.clusteroptions import ClusterOption, DetachOption, JsonOption
from vlockstep.cli.command import OTHER, TESTS, Command, DefaultGroup
from vlockstep.errors import UsageError

HOST, NETWORK = "Host", "Network"

host = typer.Typer(
    cls=DefaultGroup,
    no_args_is_help=True,
    help="The agent of a host (`vlockstep host NAME`), and the hosts of a cluster.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep host a --cluster /shared/lab --datastore shared=/shared",
)
HostArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="What the host is called.", show_default=False)
]
EVENTS = {
    "started": "the host {host} belongs to the cluster {cluster}",
    "state": "this host: {state}",
    "master": "the master is {master}",
    "host-state": "{host}: {state}",
    "store-lost": "the store does not answer: {reason}",
    "store-back": "the store answers again",
    "datastore-lost": "the datastore {datastore} cannot be used: {reason}",
    "datastore-back": "the datastore {datastore} can be used again",
    "notice": "{text}",
}


@host.command(
    cls=Command,
    epilog="Example: vlockstep host run a --cluster /shared/lab --datastore shared=/shared",
)
def run(
    name: HostArgument,
    datastores: Annotated[
        list[str] | None,
        typer.Option(
            "--datastore",
            metavar="NAME=PATH",
            rich_help_panel=HOST,
            help="Storage with guests' folders, and where it is here. May be repeated.",
            show_default=False,
        ),
    ] = None,
    management: Annotated[
        str,
        typer.Option(
            "--management",
            metavar="ENDPOINT",
            rich_help_panel=NETWORK,
            help="Where the agent listens for others: tcp://ADDRESS:PORT.",
        ),
    ] = "tcp://127.0.0.1:0",
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            metavar="DIR",
            rich_help_panel=NETWORK,
            help="Keys from `vlockstep keys hosts`; needed for any address that is not of this "
            "machine alone.",
            show_default=False,
        ),
    ] = None,
    isolation_addresses: Annotated[
        list[str] | None,
        typer.Option(
            "--isolation-address",
            metavar="ENDPOINT",
            rich_help_panel=NETWORK,
            help="tcp://ADDRESS:PORT that answers as long as this host is not cut off. May be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    uplink: Annotated[
        list[str] | None,
        typer.Option(
            "--uplink",
            metavar="UPLINK",
            rich_help_panel=NETWORK,
            help="Of the switch for this host's guests: as `vlockstep switch` has it. May be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--port-group",
            metavar="NAME",
            rich_help_panel=NETWORK,
            help="A port group that NICs of guests can be in here. May be repeated.",
            show_default=False,
        ),
    ] = None,
    capacity: Annotated[
        float | None,
        typer.Option(
            "--capacity",
            metavar="MIPS",
            rich_help_panel=HOST,
            help="What guests can have of its processors; by default all of them.",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            "--memory",
            metavar="MB",
            rich_help_panel=HOST,
            help="What guests can have of its memory; by default what is available now.",
            show_default=False,
        ),
    ] = None,
    cpu_limit: Annotated[
        str | None,
        typer.Option(
            "--cpu-limit",
            metavar="MODEL",
            rich_help_panel=HOST,
            help="The CPU model that bounds those of its guests.",
            show_default=False,
        ),
    ] = None,
    standby: Annotated[
        bool,
        typer.Option(
            "--failover", rich_help_panel=HOST, help="Keep it free for guests of failed hosts."
        ),
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            rich_help_panel=HOST,
            help="Where it keeps its own files; by default a directory of your own.",
            show_default=False,
        ),
    ] = None,
    cut: Annotated[
        Path | None,
        typer.Option(
            "--cut",
            metavar="FILE",
            rich_help_panel=TESTS,
            help="While this file is there, the host is cut off from the management network.",
            show_default=False,
        ),
    ] = None,
    cluster: ClusterOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=OTHER, help="Events as JSON lines on stderr.")
    ] = False,
) -> None:
    """Run the agent of a host: it runs guests there, and with others of its kind sees to them all.

    Its guests outlive it, and an agent that is started again finds them.
    """
    from vlockstep.cluster.agent.agent import Agent
    from vlockstep.cluster.agent.spec import AgentSpec

    if cluster is None:
        raise UsageError(f"which cluster? Give --cluster STORE, or set {clusteroptions.VARIABLE}")
    spec = AgentSpec(
        name=name,
        store=cluster,
        datastores=dict(_datastore(text) for text in datastores or []),
        management=management,
        keys=keys,
        isolation_addresses=tuple(isolation_addresses or ()),
        uplinks=tuple(uplink or ()),
        groups=tuple(groups or ()),
        capacity=capacity,
        memory=memory,
        cpu_limit=cpu_limit,
        standby=standby,
        state=state,
        cut=cut,
    )
    events = output.observer(EVENTS, as_json)
    agent = Agent(spec, events.observe)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()


@host.command("list", cls=Command, epilog="Example: vlockstep host list")
def list_(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """List the hosts, how they are and what they run."""
    from vlockstep.cluster.plain import to_plain
    from vlockstep.cluster.standing import host_state

    asked = clusteroptions.operator(cluster)
    status, reports = asked.status(), asked.reports()
    rows = []
    for name, record in sorted(asked.hosts().items()):
        report = reports.get(name)
        running = [g for g, r in report.replicas.items() if r.life != "ended"] if report else []
        if as_json:
            state = status.hosts.get(name, "unknown") if status is not None else "unknown"
            output.emit({**to_plain(record), "state": state, "guests": running})
            continue
        cpu, used = (report.cpu, report.memory) if report is not None else (0.0, 0.0)
        rows.append(
            [
                name,
                host_state(name, record, status),
                ", ".join(running),
                f"{cpu:.0f} of {record.cpu:.0f} MIPS",
                f"{used:.0f} of {record.memory:.0f} MiB",
                ", ".join(sorted(record.datastores)),
            ]
        )
    if not as_json:
        output.table(("host", "state", "guests", "CPU", "memory", "datastores"), rows)


@host.command(cls=Command, epilog="Example: vlockstep host show a")
def show(name: HostArgument, cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """Show what a host is."""
    from vlockstep.cluster.plain import to_plain

    asked = clusteroptions.operator(cluster)
    found = asked.hosts().get(name)
    if found is None:
        raise UsageError(f"there is no host {name!r}")
    if as_json:
        output.emit(to_plain(found))
        return
    rows: list[tuple[str, Any]] = [
        ("host", found.name),
        ("management", found.management),
        ("CPU", f"{found.cpu:.0f} MIPS"),
        ("memory", f"{found.memory:.0f} MiB"),
        ("CPU limit", found.cpu_limit or "none"),
        ("engine kvm for", ", ".join(found.kvm) or "no guest"),
        ("maintenance", "yes" if found.maintenance else "no"),
    ]
    rows += [(f"datastore {ds}", path) for ds, path in sorted(found.datastores.items())]
    output.fields(rows)


@host.command(cls=Command, epilog="Example: vlockstep host maintenance a on")
def maintenance(
    name: HostArgument,
    on: Annotated[str, typer.Argument(metavar="on|off", help="Into it, or out of it.")],
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="S",
            min=0,
            help="Give up if guests are still there after so long.",
            show_default=False,
        ),
    ] = None,
    detach: DetachOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let all guests leave a host, and give it none; or let it have guests again."""
    if on not in ("on", "off"):
        raise UsageError(f"{on!r}: write on or off")
    clusteroptions.do(
        clusteroptions.operator(cluster),
        as_json,
        detach,
        "maintenance",
        name,
        on=on == "on",
        timeout=timeout,
    )


@host.command(cls=Command, epilog="Example: vlockstep host remove a")
def remove(
    name: HostArgument,
    detach: DetachOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a host that runs no guest out of the cluster."""
    clusteroptions.do(clusteroptions.operator(cluster), as_json, detach, "remove-host", name)


def _datastore(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not name or not equals or not path:
        raise UsageError(f"{text!r} is no datastore: write --datastore NAME=PATH")
    return name, Path(path)

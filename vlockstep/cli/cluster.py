"""`vlockstep cluster`: a cluster as a whole."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import clusteroptions, output
from vlockstep.cli.clusteroptions import ClusterOption, JsonOption
from vlockstep.cli.command import Command, Group
from vlockstep.errors import UsageError

if TYPE_CHECKING:
    from vlockstep.cluster.records import ClusterEvent

cluster = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="A cluster of hosts: make it, look at it, set it.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep cluster create lab --cluster /shared/cluster",
)
rule = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Rules: which guests belong together, apart, or on which hosts.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep cluster rule apart web --guest web1 --guest web2",
)
cluster.add_typer(rule, name="rule")

_POLL = 0.2
RuleArgument = Annotated[str, typer.Argument(metavar="NAME", help="What the rule is called.")]
GuestsOption = Annotated[
    list[str], typer.Option("--guest", metavar="GUEST", help="Repeat it for each.")
]
SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE...]",
        help="Settings, such as automation=manual or profile=vsphere55: [ha|ft|drs]=on|off, "
        "automation, threshold, interval and hold of load balancing, baseline (a CPU model), "
        "isolation, apart, admission.policy, profile, timing.…, fence, misses. "
        "vlockstep/cluster/README.md tells what they mean.",
        show_default=False,
    ),
]


@cluster.command(cls=Command, epilog="Example: vlockstep cluster create lab --cluster /shared/lab")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    settings: SettingsArgument = None,
    store: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a cluster in a store that holds none. Then start the agents of its hosts."""
    changes = _settings(settings)
    if store is not None and "://" not in store:
        Path(store).mkdir(parents=True, exist_ok=True)
    record = clusteroptions.operator(store, new=True).create(name, **changes)
    if as_json:
        output.emit({"name": name, "identity": record.identity})
    else:
        print(
            f"{name} is made: start its hosts with `vlockstep host NAME --cluster {store} "
            "--datastore NAME=PATH`"
        )


@cluster.command("set", cls=Command, epilog="Example: vlockstep cluster set automation=manual")
def set_(
    settings: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="As `cluster create` has them.")
    ],
    store: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change how the cluster is set."""
    from vlockstep.cluster.plain import to_plain

    record = clusteroptions.operator(store).set_config(**_settings(settings))
    if as_json:
        output.emit(to_plain(record))
    else:
        print(f"the cluster {record.name} is changed")


@cluster.command(cls=Command, epilog="Example: vlockstep cluster status")
def status(store: ClusterOption = None, as_json: JsonOption = False) -> None:
    """Show the cluster: who is master, how its hosts are, what waits."""
    from vlockstep.cluster.plain import to_plain
    from vlockstep.cluster.standing import explained

    asked = clusteroptions.operator(store)
    record, told = asked.config(), asked.status()
    if as_json:
        output.emit({**to_plain(record), "status": None if told is None else to_plain(told)})
        return
    rows: list[tuple[str, object]] = [
        ("cluster", record.name),
        ("HA", "on" if record.ha else "off"),
        ("FT", "on" if record.ft else "off"),
        ("DRS", f"{record.automation}, threshold {record.threshold}" if record.drs else "off"),
    ]
    if told is not None:
        late = time.time() - told.time
        rows.append(("master", told.master + (f", silent for {late:.0f} s" if late > 5 else "")))
        rows.append(("imbalance", f"{told.imbalance:.3f}"))
        rows += [(f"host {name}", explained(state)) for name, state in sorted(told.hosts.items())]
        rows += [("waits", f"{name}: {why}") for name, why in sorted(told.pending.items())]
        rows += [("fault", fault) for fault in told.faults]
    else:
        rows.append(("master", "none yet"))
    output.fields(rows)


@cluster.command(cls=Command, epilog="Example: vlockstep cluster events --follow")
def events(
    follow: Annotated[bool, typer.Option("--follow", help="Go on with those to come.")] = False,
    after: Annotated[
        int, typer.Option("--after", metavar="NUMBER", min=0, help="Begin behind this one.")
    ] = 0,
    store: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what has happened: the newest thousand events."""
    asked = clusteroptions.operator(store)
    while True:
        for event in asked.events(after):
            _show_event(event, as_json)
            after = event.number
        if not follow:
            return
        time.sleep(_POLL)


@cluster.command(cls=Command, epilog="Example: vlockstep cluster tasks")
def tasks(
    cancel: Annotated[
        int | None,
        typer.Option("--cancel", metavar="NUMBER", help="Call this one off.", show_default=False),
    ] = None,
    store: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was asked for, and what came of it."""
    from vlockstep.cluster.plain import to_plain

    asked = clusteroptions.operator(store)
    if cancel is not None:
        asked.cancel(cancel)
    found = asked.tasks()
    if as_json:
        for task in found:
            output.emit(to_plain(task))
        return
    headers = ("task", "what", "target", "by", "asked", "state", "progress or reason")
    output.table(
        headers,
        [
            [
                str(task.number),
                task.kind,
                task.target,
                task.by,
                clusteroptions.moment(task.created),
                str(task.state),
                task.reason or task.progress,
            ]
            for task in found
        ],
    )


@cluster.command(cls=Command, epilog="Example: vlockstep cluster watch")
def watch(store: ClusterOption = None) -> None:
    """Follow the cluster in a table that changes, until Ctrl-C."""
    from vlockstep.cli.clusterview import watch as show

    show(clusteroptions.operator(store))


@cluster.command(cls=Command, epilog="Example: vlockstep cluster recommendations")
def recommendations(
    apply: Annotated[
        list[str] | None,
        typer.Option(
            "--apply",
            metavar="KEY",
            help="Carry this one out, after those that it needs. May be repeated.",
            show_default=False,
        ),
    ] = None,
    store: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what load balancing recommends and does not do by itself."""
    asked = clusteroptions.operator(store)
    advice = asked.advice()
    found = list(advice.recommendations) if advice is not None else []
    if apply:
        for move in asked.recommended(apply):
            how = {"host": move["to"], "role": move["role"], "reason": move["code"]}
            clusteroptions.do(asked, as_json, False, "migrate", move["guest"], **how)
        return
    if as_json:
        for each in found:
            output.emit(dict(each))
        return
    headers = ("key", "priority", "needs", "move", "reason")
    output.table(headers, [_advice(each) for each in found])


@rule.command(cls=Command, epilog="Example: vlockstep cluster rule together db --guest a --guest b")
def together(
    name: RuleArgument,
    guests: GuestsOption,
    store: ClusterOption = None,
) -> None:
    """Keep these guests on one host."""
    _add_rule(store, name, "together", guests)


@rule.command(cls=Command, epilog="Example: vlockstep cluster rule apart web --guest a --guest b")
def apart(
    name: RuleArgument,
    guests: GuestsOption,
    store: ClusterOption = None,
) -> None:
    """Keep these guests, and their replicas, on different hosts."""
    _add_rule(store, name, "apart", guests)


@rule.command(cls=Command, epilog="Example: vlockstep cluster rule hosts gpu --guest a --host b")
def hosts(
    name: RuleArgument,
    guests: GuestsOption,
    on: Annotated[list[str], typer.Option("--host", metavar="HOST", help="Repeat it for each.")],
    never: Annotated[bool, typer.Option("--never", help="On none of these hosts.")] = False,
    should: Annotated[bool, typer.Option("--should", help="If it can be; else they must.")] = False,
    store: ClusterOption = None,
) -> None:
    """Keep these guests on these hosts."""
    _add_rule(store, name, "hosts", guests, on, inside=not never, mandatory=not should)


@rule.command("list", cls=Command, epilog="Example: vlockstep cluster rule list")
def list_rules(store: ClusterOption = None, as_json: JsonOption = False) -> None:
    """List the rules, the oldest first: of two that cannot both hold the newer one is off."""
    from vlockstep.cluster.plain import to_plain

    found = clusteroptions.operator(store).rules()
    if as_json:
        for each in found:
            output.emit(to_plain(each))
        return
    rows = [
        [
            each.name,
            each.kind if each.inside else f"not {each.kind}",
            ", ".join(each.guests),
            ", ".join(each.hosts),
            "" if each.kind != "hosts" else "must" if each.mandatory else "should",
        ]
        for each in found
    ]
    output.table(("name", "kind", "guests", "hosts", "strength"), rows)


@rule.command("remove", cls=Command, epilog="Example: vlockstep cluster rule remove web")
def remove_rule(
    name: RuleArgument,
    store: ClusterOption = None,
) -> None:
    """Take a rule away."""
    clusteroptions.operator(store).remove_rule(name)
    print(f"the rule {name} is gone")


def _add_rule(
    store: str | None,
    name: str,
    kind: str,
    guests: list[str],
    hosts: list[str] | None = None,
    **details: Any,
) -> None:
    from vlockstep.cluster.records import RuleRecord

    if kind != "hosts" and len({*guests}) < 2:
        raise UsageError(f"a rule {kind!r} is about two guests or more")
    asked = clusteroptions.operator(store)
    asked.add_rule(RuleRecord(name, kind, 0, tuple(guests), tuple(hosts or ()), **details))
    print(f"the rule {name} holds from now on")


def _settings(texts: list[str] | None) -> dict[str, Any]:
    from vlockstep.cluster.settings import parse_settings

    return parse_settings(texts or [])


def _show_event(event: ClusterEvent, as_json: bool) -> None:
    if as_json:
        from vlockstep.cluster.plain import to_plain

        output.emit(to_plain(event), flush=True)
    else:
        print(f"{clusteroptions.moment(event.time)} {event.number:>5} {event.text}", flush=True)


def _advice(each: Any) -> list[str]:
    moves = "; ".join(f"{m['guest']} from {m['from']} to {m['to']}" for m in each["moves"])
    needs = ", ".join(each["prerequisites"])
    return [each["key"], str(each["priority"]), needs, moves, each["reason"]]

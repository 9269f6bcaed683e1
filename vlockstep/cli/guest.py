"""`vlockstep guest`: the guests of a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli import clusteroptions, options, output
from vlockstep.cli.clusteroptions import ClusterOption, DetachOption, JsonOption
from vlockstep.cli.command import GUEST, Command, Group
from vlockstep.errors import UsageError

if TYPE_CHECKING:
    from vlockstep.cluster.guestfile import GuestFile

guest = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="The guests of a cluster: make, start, move, protect them.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep guest create books --image kv --datastore shared",
)


_AT_ONCE = {"automation", "ft", "hold", "monitoring", "priority", "resources"}
"""Keys of guest.toml that count for a guest that runs."""


class Priority(StrEnum):
    DISABLED = "disabled"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Role(StrEnum):
    PRIMARY = "primary"
    SECONDARY = "secondary"


def _guests(ctx: typer.Context, incomplete: str) -> list[str]:
    """What a shell offers where a guest is named."""
    from vlockstep.errors import VlockstepError

    try:
        found = clusteroptions.operator(ctx.params.get("cluster")).guests()
    except VlockstepError:
        return []
    return [name for name in sorted(found) if name.startswith(incomplete)]


GuestArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", autocompletion=_guests, help="The guest's name.", show_default=False
    ),
]
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="HOST",
        help="Where; by default the cluster chooses.",
        show_default=False,
    ),
]
DatastoreOption = Annotated[
    str,
    typer.Option("--datastore", metavar="NAME", help="Where its folder lies.", show_default=False),
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        rich_help_panel=GUEST,
        help="A line of guest.toml, such as priority=high or resources.cpu.shares=2000. May be "
        "repeated.",
        show_default=False,
    ),
]


@guest.command(
    cls=Command,
    epilog="Example: vlockstep guest create books --image ledger --datastore shared "
    "--disk disk=1M --ft -- --lines=1000",
)
def create(
    name: GuestArgument,
    datastore: DatastoreOption,
    image: Annotated[
        str,
        typer.Option(
            "--image",
            metavar="IMAGE",
            rich_help_panel=GUEST,
            autocompletion=options.bundled_guests,
            help="The name of a bundled guest, or the path of an image, which is copied.",
            show_default=False,
        ),
    ],
    arguments: options.GuestArguments = None,
    memory: Annotated[
        int,
        typer.Option("--mem", metavar="MB", rich_help_panel=GUEST, help="A multiple of 2."),
    ] = 64,
    disks: Annotated[
        list[str] | None,
        typer.Option(
            "--disk",
            metavar="NAME=SIZE|PATH",
            rich_help_panel=GUEST,
            help="A disk: so large (with K, M, G), or a copy of a file. May be repeated.",
            show_default=False,
        ),
    ] = None,
    nics: Annotated[
        list[str] | None,
        typer.Option(
            "--nic",
            metavar="NAME=GROUP",
            rich_help_panel=GUEST,
            help="A NIC, and the port group that it is in. May be repeated.",
            show_default=False,
        ),
    ] = None,
    ft: Annotated[
        bool, typer.Option("--ft", rich_help_panel=GUEST, help="Protect it by a secondary.")
    ] = False,
    settings: SettingsOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a guest: its folder in a datastore, with its image, its disks and guest.toml."""
    from vlockstep.machine.bundled import open_image

    open_image(image)
    given: dict[str, Any] = {"image": image, "memory": memory, "arguments": arguments or []}
    path = Path(image) if "/" in image or image.endswith(".hvt") else None
    if path is not None:
        given["image"] = path.name
    if ft:
        given["ft"] = True
    if nics:
        given["nic"] = {nic: {"group": group} for nic, group in map(_pair_of_nic, nics)}
    made = _parse(given, settings)
    sources = dict(_disk(text) for text in disks or [])
    record = clusteroptions.operator(cluster).create_guest(name, datastore, made, path, sources)
    _tell(as_json, f"{name} is made, in {record.folder} of {datastore}", name=name)


@guest.command(cls=Command, epilog="Example: vlockstep guest register books --datastore shared")
def register(
    name: GuestArgument,
    datastore: DatastoreOption,
    folder: Annotated[
        str | None,
        typer.Option(
            "--folder", metavar="DIR", help="If it is not called as the guest.", show_default=False
        ),
    ] = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a guest whose folder is there into the inventory."""
    clusteroptions.operator(cluster).register(name, datastore, folder or name)
    _tell(as_json, f"{name} is registered", name=name)


@guest.command(cls=Command, epilog="Example: vlockstep guest start books --host a")
def start(
    name: GuestArgument,
    host: HostOption = None,
    detach: DetachOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Power a guest on, on the host that suits it best."""
    clusteroptions.do(clusteroptions.operator(cluster), as_json, detach, "start", name, host=host)


@guest.command(cls=Command, epilog="Example: vlockstep guest stop books")
def stop(
    name: GuestArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Kill its processes, without asking it first.")
    ] = False,
    detach: DetachOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Power a guest off, with all its replicas."""
    clusteroptions.do(
        clusteroptions.operator(cluster), as_json, detach, "stop", name, force=force or None
    )


@guest.command(cls=Command, epilog="Example: vlockstep guest migrate books --host b")
def migrate(
    name: GuestArgument,
    host: HostOption = None,
    role: Annotated[Role, typer.Option("--role", help="Which of its replicas.")] = Role.PRIMARY,
    detach: DetachOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a guest that runs to another host. Who talks to it notices nothing."""
    clusteroptions.do(
        clusteroptions.operator(cluster),
        as_json,
        detach,
        "migrate",
        name,
        host=host,
        role=str(role),
    )


@guest.command(cls=Command, epilog="Example: vlockstep guest protect books")
def protect(
    name: GuestArgument,
    detach: DetachOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a secondary on another host follow the guest, and replace each one that is lost."""
    _set_protection(name, True, detach, cluster, as_json)


@guest.command(cls=Command, epilog="Example: vlockstep guest unprotect books")
def unprotect(
    name: GuestArgument,
    detach: DetachOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the guest run without a secondary."""
    _set_protection(name, False, detach, cluster, as_json)


@guest.command(cls=Command, epilog="Example: vlockstep guest switchover books")
def switchover(
    name: GuestArgument,
    detach: DetachOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a protected guest's secondary and primary swap roles. Who talks to it notices nothing."""
    clusteroptions.do(clusteroptions.operator(cluster), as_json, detach, "switchover", name)


@guest.command(cls=Command, epilog="Example: vlockstep guest test-failover books")
def test_failover(
    name: GuestArgument,
    detach: DetachOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """A drill: kill a protected guest's primary, and see the guest protected again."""
    clusteroptions.do(clusteroptions.operator(cluster), as_json, detach, "test-failover", name)


@guest.command(cls=Command, epilog="Example: vlockstep guest test-restart-secondary books")
def test_restart_secondary(
    name: GuestArgument,
    detach: DetachOption = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """A drill: kill a protected guest's secondary, and see it get another one."""
    clusteroptions.do(
        clusteroptions.operator(cluster), as_json, detach, "test-restart-secondary", name
    )


@guest.command("set", cls=Command, epilog="Example: vlockstep guest set books priority=high")
def set_(
    name: GuestArgument,
    settings: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...",
            help="Lines of guest.toml, such as priority=high or resources.cpu.shares=2000.",
        ),
    ],
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what a guest is.

    automation, ft, hold, monitoring, priority and resources count at once, the rest when it starts
    next. KEY= takes a key away.
    """
    asked = clusteroptions.operator(cluster)
    asked.set_guest(name, lambda file: _parse(file.to_dict(), settings))
    later = {re.split("[.=]", setting)[0] for setting in settings} - _AT_ONCE
    runs = asked.guest(name).power == "on"
    waits = f"; {', '.join(sorted(later))} when it starts next" if later and runs else ""
    _tell(as_json, f"{name} is changed{waits}", name=name)


@guest.command(cls=Command, epilog="Example: vlockstep guest delete books")
def delete(
    name: GuestArgument,
    keep: Annotated[
        bool, typer.Option("--keep-files", help="Forget it, and leave its folder.")
    ] = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a guest that is powered off, with its folder."""
    clusteroptions.operator(cluster).unregister(name, delete=not keep)
    _tell(as_json, f"{name} is {'forgotten' if keep else 'deleted'}", name=name)


@guest.command("list", cls=Command, epilog="Example: vlockstep guest list")
def list_(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """List the guests, and where their replicas run."""
    from vlockstep.cluster.standing import look

    found = look(clusteroptions.operator(cluster))
    if as_json:
        for facts in found:
            output.emit(facts)
        return
    headers = ("name", "power", "host", "secondary", "state", "priority", "CPU", "memory")
    output.table(headers, [_row(facts) for facts in found])


@guest.command(cls=Command, epilog="Example: vlockstep guest show books")
def show(name: GuestArgument, cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """Show what a guest is, and how it stands."""
    from vlockstep.cluster.standing import SILENT, look

    asked = clusteroptions.operator(cluster)
    asked.guest(name)
    facts = next(each for each in look(asked) if each["name"] == name)
    if as_json:
        output.emit(facts)
        return
    from vlockstep.cluster.guestfile import parse, to_toml

    output.fields(
        [
            ("name", name),
            ("power", facts["power"]),
            ("state", facts["state"]),
            ("folder", f"{facts['folder']} in {facts['datastore']}"),
        ]
    )
    for replica in sorted(facts["replicas"], key=lambda replica: replica["role"] != "primary"):
        where = f"{replica['role'] or 'replica'} on {replica['host']}"
        what = replica["problem"] or f"{replica['state']}, generation {replica['generation']}"
        state = replica["host_state"]
        last = f"{state}, was " if state in SILENT else ""
        print(f"{where}: {last}{replica['life']}, {what}")
    print(f"\n{to_toml(parse(facts['file']))}", end="")


def _set_protection(
    name: str, wanted: bool, detach: bool, cluster: str | None, as_json: bool
) -> None:
    asked = clusteroptions.operator(cluster)
    asked.want_protection(name, wanted)
    clusteroptions.do(asked, as_json, detach, "protect" if wanted else "unprotect", name)


def _row(facts: Mapping[str, Any]) -> list[str]:
    from vlockstep.cluster.standing import alive

    hosts: dict[str, list[str]] = {"primary": [], "secondary": []}
    cpu = memory = 0.0
    for replica in alive(facts):
        if replica["role"]:
            hosts[replica["role"]].append(replica["host"])
            cpu, memory = cpu + replica["cpu"], memory + replica["memory"]
    return [
        facts["name"],
        facts["power"],
        ", ".join(hosts["primary"]) or facts["host"] or "",
        ", ".join(hosts["secondary"]),
        facts["state"],
        facts["file"].get("priority", "medium"),
        f"{cpu:.0f} MIPS",
        f"{memory:.0f} MiB",
    ]


def _pair_of_nic(text: str) -> tuple[str, str]:
    name, equals, group = text.partition("=")
    if not name or not equals or not group:
        raise UsageError(f"{text!r} is no NIC: write --nic NAME=GROUP")
    return name, group


def _disk(text: str) -> tuple[str, int | Path]:
    from vlockstep.cli.disk import parse_size

    name, equals, source = text.partition("=")
    if not name or not equals or not source:
        raise UsageError(f"{text!r} is no disk: write --disk NAME=SIZE or NAME=PATH")
    if re.fullmatch(r"\d+[KMGTkmgt]?(i?[bB])?", source):
        return name, parse_size(source)
    return name, Path(source)


def _parse(given: dict[str, Any], settings: list[str] | None) -> GuestFile:
    """With these lines of guest.toml changed. Every error names the key of what is wrong."""
    from vlockstep.cluster.guestfile import parse
    from vlockstep.supervise.spec import dotted

    try:
        return parse(_with_settings(given, settings))
    except UsageError as error:
        if not error.key:
            raise
        raise UsageError(f"{dotted(error.key)}: {error}") from error


def _with_settings(given: dict[str, Any], settings: list[str] | None) -> dict[str, Any]:
    """With these lines of guest.toml changed."""
    for setting in settings or []:
        key, equals, text = setting.partition("=")
        if not key or not equals:
            raise UsageError(f"{setting!r} is no setting: write KEY=VALUE")
        place = given
        *path, last = key.split(".")
        for part in path:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise UsageError(f"{setting!r}: {part} is no table")
            place = inner
        if text in ("", "none"):
            place.pop(last, None)
        else:
            place[last] = _value(text)
    return given


def _value(text: str) -> Any:
    """As TOML has it; what is none of its values is a text."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, KeyError):
        return text


def _tell(as_json: bool, text: str, **facts: Any) -> None:
    if as_json:
        output.emit(facts)
    else:
        print(text)

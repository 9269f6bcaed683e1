"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlockstep.cli.command import FILES, GUEST, OTHER, REPLAY
from vlockstep.errors import Key, UsageError

if TYPE_CHECKING:
    from vlockstep.supervise.spec import ReplicaSpec, Role

DEFAULT_MEMORY_MB = 512
DEFAULT_CPU = "westmere"
AUTO = "auto"
STDOUT = "-"
OFF = "off"
MAX_SECONDS = 86_400


def bundled_guests(incomplete: str) -> list[str]:
    """What a shell offers where an image is named; it offers files by itself."""
    from vlockstep.machine import bundled

    return [name for name in bundled.names() if name.startswith(incomplete)]


def cpu_models(incomplete: str) -> list[str]:
    from vlockstep.machine.cpumodels import MODELS

    return [name for name in MODELS if name.startswith(incomplete)]


def engine_names(incomplete: str) -> list[str]:
    from vlockstep.machine.engines import CHOICES

    return [name for name in CHOICES if name.startswith(incomplete)]


ImageArgument = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        autocompletion=bundled_guests,
        help="The name of a bundled guest, or the path of a Solo5 hvt image: ./NAME if a bundled "
        "guest is called so, too. Or a file NAME.toml, which says all that options do not.",
        show_default=False,
    ),
]
LogImageOption = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="IMAGE",
        rich_help_panel=REPLAY,
        help="The log's image, if it is no bundled guest's and lies no longer where it was "
        "recorded.",
        show_default=False,
    ),
]
GuestArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[-- ARGS]", help="The guest's own command line, behind --.", show_default=False
    ),
]
MemoryOption = Annotated[
    int,
    typer.Option(
        "--mem",
        metavar="MB",
        rich_help_panel=GUEST,
        help="Guest memory: a multiple of 2, up to 4096.",
    ),
]
BlockOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--block",
        metavar="NAME=PATH[,local]",
        rich_help_panel=GUEST,
        help="The file behind a block device of the guest; local if every replica has its own "
        "identical copy. Repeat it for each device.",
        show_default=False,
    ),
]
BlockSizeOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--block-sector-size",
        metavar="NAME=N",
        rich_help_panel=GUEST,
        help="The bytes of a block of a block device: a power of two from 512, which is the "
        "default, to 32768.",
        show_default=False,
    ),
]
NetOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--net",
        metavar="NAME=BACKEND",
        rich_help_panel=GUEST,
        help="What a NIC of the guest is connected to: tap:IFACE, an existing tap device, or "
        "switch:ENDPOINT, where `vlockstep switch` listens, with ,group=NAME for another port "
        "group; with ,mtu=N for another MTU than the tap device's, or 1500 at a switch; with "
        ",pcap=FILE to capture. Repeat it for each NIC.",
        show_default=False,
    ),
]
MacOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--net-mac",
        metavar="NAME=MAC",
        rich_help_panel=GUEST,
        help="The address of a NIC; by default one made from the guest's name.",
        show_default=False,
    ),
]
SwitchKeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        rich_help_panel=GUEST,
        help="Keys from `vlockstep keys new` for a switch; needed for any that is not of this "
        "machine alone. There the guest shows those of the primary.",
        show_default=False,
    ),
]
ConsoleOption = Annotated[
    str,
    typer.Option(
        "--console",
        metavar="PATH",
        rich_help_panel=FILES,
        help="Write the guest's console to this file; - is stdout.",
    ),
]
CpuOption = Annotated[
    str,
    typer.Option(
        "--cpu",
        metavar="MODEL",
        rich_help_panel=GUEST,
        autocompletion=cpu_models,
        help="The CPU model that the guest sees: one of `vlockstep cpu list`.",
    ),
]
CpuLimitOption = Annotated[
    str | None,
    typer.Option(
        "--cpu-limit",
        metavar="MODEL",
        rich_help_panel=GUEST,
        autocompletion=cpu_models,
        help="The CPU model that bounds those of guests on this host: one that needs more is "
        "refused. Say the same on all hosts that are to take guests over from each other.",
        show_default=False,
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        rich_help_panel=GUEST,
        autocompletion=engine_names,
        help="What executes the guest: unicorn, anywhere, or kvm, at the processor's own speed, "
        "where `vlockstep engines` says so. auto: unicorn, unless the guest began on kvm.",
    ),
]
DumpcoreOption = Annotated[
    Path | None,
    typer.Option(
        "--dumpcore",
        metavar="DIR",
        rich_help_panel=FILES,
        help="Write a core file for gdb here if the guest aborts.",
        show_default=False,
    ),
]


def replica_spec(
    ctx: typer.Context, role: Role | None, base: Mapping[str, Any] | None = None
) -> ReplicaSpec:
    """What the command is to run: what its options say and, where they say nothing, what `base`
    says, or IMAGE if that is a file NAME.toml."""
    from vlockstep.cli.devices import disks, nics
    from vlockstep.supervise.spec import ReplicaSpec
    from vlockstep.supervise.specfile import SUFFIX, naming, read_fields

    given = {
        name: value
        for name, value in ctx.params.items()
        if value is not None and is_given(ctx, name)
    }
    if "keyframes" in given:
        given["keyframes"] = seconds_or_off("keyframes", given["keyframes"])
    fields = {"image": str(ctx.params.get("image")), **(base or {})}
    image = fields["image"]
    if base is None and image.endswith(SUFFIX):
        fields = {"image": "", **read_fields(Path(image))}
    if role is not None:
        if fields.get("role", role) != role:
            raise UsageError(
                f"{image}: role: the file says {fields['role']!r}, and this starts a {role}: "
                "leave the role out there, or start what it says"
            )
        fields["role"] = role
    if arguments := ctx.params.get("arguments"):
        fields["arguments"] = tuple(arguments)
    for name in given.keys() & _FIELDS.keys():
        fields[_FIELDS[name]] = given[name]
    for name in given.keys() & _PATHS.keys():
        fields[_PATHS[name]] = None if given[name] == STDOUT else Path(given[name])
    elsewhere = fields["elsewhere"] = frozenset(_keys(given))
    with naming(fields.get("source"), elsewhere):
        sizes = given.get("block_sizes", ())
        fields["disks"] = disks(given.get("blocks", ()), sizes, fields.get("disks", ()))
        fields["nics"] = nics(given.get("nets", ()), given.get("macs", ()), fields.get("nics", ()))
        for part, names in (("timing", _TIMING), ("test", _TEST)):
            _replace(fields, part, {names[name]: given[name] for name in given.keys() & names})
        return ReplicaSpec(**fields)


def seconds_or_off(option: str, text: str) -> float | None:
    """Of an option that takes seconds, or `OFF`, for which it is None."""
    if text == OFF:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= MAX_SECONDS:
        raise UsageError(f"--{option} takes seconds, up to {MAX_SECONDS}, or {OFF}, not {text!r}")
    return seconds


OnErrorOption = Annotated[
    str | None,
    typer.Option(
        "--on-error",
        metavar="record",
        rich_help_panel=FILES,
        help="If the guest fails, leave a recording of its last minutes here, NAME-TIME.vlog, for "
        "`vlockstep debug`: if it ends by a guest error, or with status 255, with which Solo5 "
        "guests abort; any other status is a result, and leaves none. Once a minute its memory is "
        "copied meanwhile.",
        show_default=False,
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        rich_help_panel=OTHER,
        help="What the running guest is called; by default its image's name with a number.",
        show_default=False,
    ),
]
EndJsonOption = Annotated[
    bool,
    typer.Option(
        "--json", rich_help_panel=OTHER, help="Tell how the guest ended as JSON on stderr."
    ),
]
RunDirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        metavar="DIR",
        rich_help_panel=OTHER,
        help="Where running guests are found; by default a directory of your own.",
        show_default=False,
    ),
]

_FIELDS = {
    "name": "name",
    "memory": "memory",
    "cpu": "cpu",
    "cpu_limit": "cpu_limit",
    "engine": "engine",
    "listen": "endpoint",
    "connect": "endpoint",
    "reached_at": "reached_at",
    "awaits_at": "awaits_at",
    "secondaries": "secondaries",
    "lease": "lease",
    "respawn": "respawn",
    "hold": "hold",
    "keyframes": "keyframes",
    "on_error": "on_error",
}
_PATHS = {
    "console": "console",
    "log": "log",
    "dumpcore": "cores",
    "keys": "keys",
    "arbiter": "arbiter",
    "run_directory": "run_directory",
}
"""Parameters that are a field each."""
_TIMING = {
    name: name
    for name in (
        "heartbeat", "misses", "max_lag", "max_log", "wait", "max_pause", "max_bandwidth",
    )
}  # fmt: skip
_TEST = {"crash_at": "crash", "pause_at": "pause", "stop_at": "stop", "diverge_at": "diverge"}


def _keys(given: dict[str, Any]) -> Iterator[Key]:
    """Of a specification, what the command's options give."""
    for name in given:
        for keys in (_FIELDS, _PATHS):
            if name in keys:
                yield (keys[name],)
        for part, names in (("timing", _TIMING), ("test", _TEST)):
            if name in names:
                yield part, names[name]
    for option, kind, rest in (
        ("blocks", "disk", ()),
        ("block_sizes", "disk", ("block_size",)),
        ("nets", "nic", ()),
        ("macs", "nic", ("mac",)),
    ):
        for text in given.get(option, ()):
            yield kind, text.partition("=")[0], *rest


def is_given(ctx: typer.Context, name: str) -> bool:
    """On the command line, not by default or by the environment."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _replace(fields: dict[str, Any], part: str, given: dict[str, Any]) -> None:
    """Let `given` replace what that part of the fields says."""
    from vlockstep.supervise.spec import TestSpec, TimingSpec

    if given:
        before = fields.get(part) or {"timing": TimingSpec, "test": TestSpec}[part]()
        lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
        fields[part] = replace(before, **given | lists)


@contextmanager
def progress_of_disks() -> Iterator[Callable[[str], None]]:
    """Tells in a terminal how far it is with a large local disk."""
    from vlockstep.program.progress import Progress

    if not sys.stderr.isatty():  # there may be a program that expects JSON
        yield lambda text: None
        return
    progress = Progress()
    try:
        yield progress.tell
    finally:
        progress.clear()

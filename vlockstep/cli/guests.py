"""`vlockstep guests`."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from vlockstep.cli import options, output
from vlockstep.errors import UsageError

_UNPRIVILEGED = 1024
_SHIFT = 8000
"""What is added to a port of a guest's that would take privileges on the host."""


def guests(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            autocompletion=options.bundled_guests,
            help="Tell all of this one: its devices, its own options, and how to run it.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
) -> None:
    """List the guests that come with vlockstep, or show one of them."""
    from vlockstep.machine import bundled

    names = bundled.names()
    if name is not None and name not in names:
        raise UsageError(f"there is no bundled guest {name!r} ({', '.join(names)})")
    rows = [_facts(each) for each in names if name in (None, each)]
    if as_json:
        output.emit(rows if name is None else rows[0])
    elif name is None:
        output.table(
            ("guest", "bytes", "devices", "description"),
            [(r["name"], str(r["bytes"]), _devices(r), r["description"]) for r in rows],
        )
    else:
        _show(rows[0])


def _facts(name: str) -> dict[str, Any]:
    from vlockstep.machine import bundled
    from vlockstep.machine.image import DeviceKind
    from vlockstep.machine.samples import SAMPLES

    image = bundled.open_bundled(name)
    devices = {
        device.name: device.kind.name.lower()
        for device in image.devices
        if device.kind is not DeviceKind.RESERVED
    }
    return {
        "name": name,
        "description": bundled.description(name),
        "bytes": len(image.content),
        "devices": devices,
        "digest": image.digest,
        "options": [
            {
                "option": f"--{option.name}={option.value}",
                "meaning": option.meaning,
                "default": option.default,
            }
            for option in SAMPLES[name].options
        ],
        "example": _example(name, devices),
    }


def _example(name: str, devices: dict[str, str]) -> list[str]:
    """Lines for a shell."""
    from vlockstep.cli.switch import DEFAULT_ENDPOINT
    from vlockstep.machine.samples import SAMPLES
    from vlockstep.net.passt import DEFAULT_GATEWAY, DEFAULT_GUEST

    sample = SAMPLES[name]
    lines, command, arguments = [], ["vlockstep", "run", name], list(sample.example)
    for device, kind in devices.items():
        if kind == "block":
            file = f"{name}.img"
            lines.append(f"truncate -s {sample.disk} {file}")
            command += ["--block", f"{device}={file}"]
        else:
            switch = "vlockstep switch"
            if sample.port is not None:
                here = sample.port + (_SHIFT if sample.port < _UNPRIVILEGED else 0)
                switch += f" --uplink passt --forward {here}:{sample.port}"
                arguments += [f"--ipv4={DEFAULT_GUEST}", f"--ipv4-gateway={DEFAULT_GATEWAY}"]
            lines.append(f"{switch} &")
            command += ["--net", f"{device}=switch:{DEFAULT_ENDPOINT}"]
    behind = ["--", *arguments] if arguments else []
    return [*lines, shlex.join([*command, *behind])]


def _devices(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in facts["devices"].items()) or "-"


def _show(facts: dict[str, Any]) -> None:
    rows = [
        (row["option"], row["meaning"] + (f" (default {row['default']})" if row["default"] else ""))
        for row in facts["options"]
    ]
    width = max((len(option) for option, _ in rows), default=0)
    told = [f"{option:<{width}}  {meaning}" for option, meaning in rows]
    print(f"{facts['name']}: {facts['description']}\n")
    output.fields(
        [
            ("image", f"{facts['bytes']} bytes, SHA-256 {facts['digest']}"),
            ("devices", _devices(facts)),
            *_named("options", told or ["-"]),
            *_named("example", facts["example"]),
        ]
    )


def _named(name: str, lines: list[str]) -> list[tuple[str, str]]:
    """A field of several lines."""
    return [("" if at else name, line) for at, line in enumerate(lines)]

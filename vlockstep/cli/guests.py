"""`vlockstep guests`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vlockstep.cli import output


def guests(
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
) -> None:
    """List the guests that come with vlockstep."""
    from vlockstep.machine import bundled
    from vlockstep.machine.image import DeviceKind

    rows: list[dict[str, Any]] = []
    for name in bundled.names():
        image = bundled.open_bundled(name)
        rows.append(
            {
                "name": name,
                "description": bundled.description(name),
                "bytes": len(image.content),
                "devices": {
                    device.name: device.kind.name.lower()
                    for device in image.devices
                    if device.kind is not DeviceKind.RESERVED
                },
                "digest": image.digest,
            }
        )
    if as_json:
        output.emit(rows)
        return
    output.table(
        ("guest", "bytes", "devices", "description"),
        [
            (
                row["name"],
                str(row["bytes"]),
                ", ".join(f"{name} ({kind})" for name, kind in row["devices"].items()) or "-",
                row["description"],
            )
            for row in rows
        ],
    )

"""`vlockstep image`: what is in a guest's image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vlockstep.cli import options, output
from vlockstep.cli.command import Command, Group
from vlockstep.errors import ImageError

if TYPE_CHECKING:
    from vlockstep.machine.sites import Site

image = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Look into images of guests.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: vlockstep image show clock",
)


@image.command(cls=Command, epilog="Example: vlockstep image show clock")
def show(
    image: options.ImageArgument,
    cpu: options.CpuOption = options.DEFAULT_CPU,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
) -> None:
    """Show an image's segments and devices, and the instructions in the place of which a guest on
    the engine kvm gets traps."""
    from vlockstep.machine import cpumodels
    from vlockstep.machine.bundled import open_image
    from vlockstep.machine.image import DeviceKind
    from vlockstep.machine.sitefinder import find

    cpumodels.check_model(cpu)
    found = open_image(image)
    unreadable = ""
    sites: tuple[Site, ...] = ()
    try:
        sites = find(found, cpu)
    except ImageError as error:
        unreadable = str(error)
    devices = {
        device.name: device.kind.name.lower()
        for device in found.devices
        if device.kind is not DeviceKind.RESERVED
    }
    segments = [
        {
            "address": segment.address,
            "size": segment.size,
            "access": "r" + "w" * segment.writable + "x" * segment.executable,
        }
        for segment in found.segments
    ]
    if as_json:
        output.emit(
            {
                "image": found.name,
                "digest": found.digest,
                "entry": found.entry,
                "executable_heap": found.executable_heap,
                "segments": segments,
                "devices": devices,
                "sites": [site._asdict() for site in sites],
                "not_for_kvm": unreadable,
            }
        )
        return
    rows: list[tuple[str, object]] = [
        ("image", found.name),
        ("digest", found.digest),
        ("entry", f"{found.entry:#x}"),
        ("devices", ", ".join(f"{name} ({kind})" for name, kind in devices.items()) or "none"),
    ]
    for segment, facts in zip(found.segments, segments, strict=True):
        where = f"{segment.address:#x} to {segment.end:#x}"
        rows.append(("segment", f"{where} {facts['access']}"))
    if unreadable:
        rows.append(("traps", unreadable))
    for site in sites:
        symbol = found.symbol(site.address)
        where = f" in {symbol[1]}" if symbol is not None else ""
        rows.append(("trap", f"{site.address:#x} {site.kind}{where}"))
    if not sites and not unreadable:
        rows.append(("traps", "none needed"))
    output.fields(rows)

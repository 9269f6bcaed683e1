"""Disks and NICs as options name them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vlockstep.errors import UsageError
from vlockstep.host.attach import DiskSpec
from vlockstep.net.attach import NicSpec

_LOCAL = ",local"
_PCAP = ",pcap="


def disks(texts: Iterable[str], before: Iterable[DiskSpec] = ()) -> tuple[DiskSpec, ...]:
    """Those of `--block`; and those of `before` whose names are not among them."""
    given = [disk(text) for text in texts]
    names = {each.name for each in given}
    return (*(each for each in before if each.name not in names), *given)


def disk(text: str) -> DiskSpec:
    """Read `NAME=PATH[,local]`."""
    name, _, rest = text.partition("=")
    path = rest.removesuffix(_LOCAL)
    if not name or not path:
        raise UsageError(f"{text!r} names no disk: write --block NAME=PATH[,local]")
    return DiskSpec(name, Path(path), rest.endswith(_LOCAL))


def nics(
    texts: Iterable[str], macs: Iterable[str], before: Iterable[NicSpec] = ()
) -> tuple[NicSpec, ...]:
    """Those of `--net` with the addresses of `--net-mac`; and those of `before` whose names are
    not among them."""
    given = [nic(text) for text in texts]
    names = {each.name for each in given}
    found = [*(each for each in before if each.name not in names), *given]
    for name, address in map(mac, macs):
        places = [at for at, each in enumerate(found) if each.name == name]
        if not places:
            raise UsageError(f"--net-mac names the NIC {name!r}, which no --net connects")
        for at in places:
            found[at] = replace(found[at], mac=address)
    return tuple(found)


def nic(text: str) -> NicSpec:
    """Read `NAME=tap:IFACE` or `NAME=switch:ENDPOINT`, each with `,pcap=FILE` or without."""
    name, _, rest = text.partition("=")
    backend, found, capture = rest.partition(_PCAP)
    if found and not capture:
        raise UsageError(f"{text!r} names no file for the capture")
    try:
        if not name:
            raise UsageError("it has no name")
        return NicSpec(name, backend, Path(capture) if capture else None)
    except UsageError as error:
        if error.key == ("nic", name):
            raise
        raise UsageError(
            f"{text!r} is no network: write --net NAME=tap:IFACE or --net NAME=switch:ENDPOINT, "
            f"with {_PCAP}FILE behind it to capture"
        ) from error


def mac(text: str) -> tuple[str, str]:
    """Read `NAME=MAC`: the NIC and its address."""
    name, _, address = text.partition("=")
    if not name or not address:
        raise UsageError(f"{text!r}: write --net-mac NAME=MAC, such as net=02:00:00:00:00:01")
    return name, address

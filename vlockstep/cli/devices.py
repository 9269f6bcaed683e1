"""Disks and NICs as options name them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vlockstep.errors import UsageError
from vlockstep.host.attach import DiskSpec
from vlockstep.net.attach import NicSpec

_LOCAL = ",local"
_GROUP = ",group="
_MTU = ",mtu="
_NUMBER = re.compile("[0-9]{1,9}")
_PCAP = ",pcap="


def disks(
    texts: Iterable[str], sizes: Iterable[str], before: Iterable[DiskSpec] = ()
) -> tuple[DiskSpec, ...]:
    """Those of `--block` with the block sizes of `--block-sector-size`; and those of `before` whose
    names are not among them."""
    given = [disk(text) for text in texts]
    names = {each.name for each in given}
    found = [*(each for each in before if each.name not in names), *given]
    for name, size in map(block_size, sizes):
        for at in _places(found, name, "--block-sector-size names the disk", "--block"):
            found[at] = replace(found[at], block_size=size)
    return tuple(found)


def disk(text: str) -> DiskSpec:
    """Read `NAME=PATH[,local]`."""
    name, _, rest = text.partition("=")
    path = rest.removesuffix(_LOCAL)
    if not name or not path:
        raise UsageError(f"{text!r} names no disk: write --block NAME=PATH[,local]")
    return DiskSpec(name, Path(path), rest.endswith(_LOCAL))


def block_size(text: str) -> tuple[str, int]:
    """Read `NAME=N`: the disk and the bytes of its blocks."""
    name, _, size = text.partition("=")
    if not name or not _NUMBER.fullmatch(size):
        raise UsageError(f"{text!r}: write --block-sector-size NAME=N, such as disk=4096")
    return name, int(size)


def nics(
    texts: Iterable[str], macs: Iterable[str], before: Iterable[NicSpec] = ()
) -> tuple[NicSpec, ...]:
    """Those of `--net` with the addresses of `--net-mac`; and those of `before` whose names are
    not among them."""
    given = [nic(text) for text in texts]
    names = {each.name for each in given}
    found = [*(each for each in before if each.name not in names), *given]
    for name, address in map(mac, macs):
        for at in _places(found, name, "--net-mac names the NIC", "--net"):
            found[at] = replace(found[at], mac=address)
    return tuple(found)


def _places(devices: Iterable[DiskSpec | NicSpec], name: str, said: str, option: str) -> list[int]:
    """Of the devices of this name: there has to be one."""
    places = [at for at, each in enumerate(devices) if each.name == name]
    if not places:
        raise UsageError(f"{said} {name!r}, which no {option} connects")
    return places


def nic(text: str) -> NicSpec:
    """Read `NAME=tap:IFACE` or `NAME=switch:ENDPOINT[,group=GROUP]`, each with `,mtu=N` and
    `,pcap=FILE` or without."""
    name, _, rest = text.partition("=")
    network, found, capture = rest.partition(_PCAP)
    if found and not capture:
        raise UsageError(f"{text!r} names no file for the capture")
    network, sized, mtu = network.partition(_MTU)
    if sized and not _NUMBER.fullmatch(mtu):
        raise UsageError(f"{text!r} names no MTU: write {_MTU}N, behind {_GROUP}NAME if that is")
    backend, grouped, group = network.partition(_GROUP)
    if grouped and not group:
        raise UsageError(f"{text!r} names no port group")
    try:
        if not name:
            raise UsageError("it has no name")
        return NicSpec(
            name,
            backend,
            Path(capture) if capture else None,
            group=group,
            mtu=int(mtu) if sized else None,
        )
    except UsageError as error:
        if error.key in (("nic", name), ("nic", name, "group"), ("nic", name, "mtu")):
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

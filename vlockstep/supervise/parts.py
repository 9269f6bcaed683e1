"""From a specification to the guest that it names: image, disks, NICs, opened."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlockstep.errors import UsageError, VlockstepError
from vlockstep.host.attach import Devices, attach
from vlockstep.machine.boot import check_devices
from vlockstep.machine.bundled import open_image
from vlockstep.machine.config import MIB, GuestConfig, NetConfig
from vlockstep.machine.engines import KVM
from vlockstep.machine.image import DeviceKind, Image
from vlockstep.machine.sitefinder import find
from vlockstep.net import attach as networks
from vlockstep.net.station import Station
from vlockstep.program import background
from vlockstep.supervise.files import files_of
from vlockstep.supervise.spec import ReplicaSpec

if TYPE_CHECKING:
    from vlockstep.wire.keys import Keys

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Guest:
    """What a guest is started from; its NICs by handle, their part of its configuration by name.
    `files` are those it is read from or writes to. A secondary has no `config`: it gets the
    primary's."""

    image: Image
    devices: Devices
    nics: dict[int, Station]
    nets: dict[str, NetConfig]
    config: GuestConfig | None
    files: tuple[Path, ...]


def open_guest(
    spec: ReplicaSpec, keys: Keys | None, name: Callable[[], str] = str, tell: Tell | None = None
) -> Guest:
    """Open the image, the disks, and connect the NICs.

    `name` tells those who share a disk or a switch whose these are: both replicas of one guest
    have the same; "" if nobody shares them. `tell` is told how far a large local disk is read.
    """
    try:
        image = open_image(spec.image)
    except VlockstepError as error:
        error.key = ("image",)
        raise
    guest = name()
    emptied = spec.awaits_at is not None  # before it gets what the guest's disk holds by then
    devices = attach(image, spec.disks, guest, tell or (lambda text: None), compared=not emptied)
    try:
        nics, nets = connect(spec, image, guest, keys)
        config = None
        if spec.role != "secondary":
            config = GuestConfig(
                image.digest,
                spec.memory * MIB,
                spec.arguments,
                spec.cpu,
                devices.blocks,
                nets,
                find(image, spec.cpu) if spec.engine == KVM else None,
            )
            check_devices(image, config)
    except BaseException:
        devices.close()
        raise
    return Guest(image, devices, nics, nets, config, files_of(spec.image, spec.disks))


def connect(
    spec: ReplicaSpec, image: Image, guest: str, keys: Keys | None
) -> tuple[dict[int, Station], dict[str, NetConfig]]:
    """The NICs by handle, and their part of the guest's configuration by name."""
    macs = networks.addresses(Path(image.name).stem, spec.nics)
    handles = {d.name: d.handle for d in image.devices if d.kind is DeviceKind.NET}
    for name in macs:
        if name not in handles:
            known = ", ".join(sorted(handles)) or "none"
            raise UsageError(
                f"{image.name} declares no NIC {name!r} (declared: {known})", key=("nic", name)
            )
    stations = networks.connect(spec.nics, macs, guest or uuid.uuid4().hex, keys, background)
    return (
        {handles[name]: station for name, station in stations.items()},
        {name: NetConfig(mac, stations[name].mtu) for name, mac in macs.items()},
    )


def load_keys(spec: ReplicaSpec) -> Keys | None:
    """A guest without a secondary is what it would be as a primary, for a switch, too."""
    if spec.keys is None:
        return None
    from vlockstep.wire.keys import Party, load

    return load(spec.keys, Party.SECONDARY if spec.role == "secondary" else Party.PRIMARY)

"""Starting a guest from a snapshot."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from vlockstep.errors import HostError, UsageError
from vlockstep.files.atomicfile import AtomicFile
from vlockstep.files.locks import PRIVATE
from vlockstep.host.attach import Devices, DiskSpec, attach, tell_progress
from vlockstep.host.live import Continuation
from vlockstep.machine.boot import check_devices
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.net.attach import NicSpec
from vlockstep.replay.snapshot import Snapshot, SnapshotReader
from vlockstep.supervise import parts
from vlockstep.supervise.files import files_of
from vlockstep.supervise.origin import Origin
from vlockstep.supervise.parts import Guest
from vlockstep.supervise.spec import ReplicaSpec

_CHANCE_BITS = 20


def restore(
    spec: ReplicaSpec,
    reader: SnapshotReader,
    image: Image,
    tell: Callable[[str], None],
    resumes: bool,
) -> Origin:
    """From the snapshot that `reader` reads; `spec` names disks and NICs. Disks that the snapshot
    holds are written to new files; others must be as they were, and are where they lay if this
    `resumes` the guest, which then cannot be resumed again."""
    snapshot = reader.snapshot
    config = snapshot.config
    nics = tuple(_as_it_was(nic, config) for nic in spec.nics)
    stations, nets = parts.connect(replace(spec, nics=nics), image, "", parts.load_keys(spec))
    check_devices(image, replace(config, nets=nets))
    disks = _disks(spec.disks, snapshot, resumes)
    new = {disk.name: disk.path for disk in disks if not snapshot.disks[disk.name].digest}
    machine = Machine(image, config, engine=spec.engine)
    machine.load(snapshot.machine)
    if machine.fallback:
        tell(f"Unicorn executes the guest: {machine.fallback}")
    with ExitStack() as undo:
        _fill(reader, machine, new, tell)
        for path in new.values():
            undo.callback(path.unlink)
        devices = attach(image, disks)
        _check_disks(snapshot, devices, tell)
        undo.pop_all()
    files = files_of(spec.image, disks)
    generation = new_generation(snapshot.generation)
    start = Continuation(
        snapshot.clock,
        waited=(machine.exits, time.monotonic_ns() - snapshot.waited),
        generation=lambda: generation,
    )
    guest = Guest(image, devices, stations, nets, config, files)
    return Origin(guest, machine, start, generation, snapshot.console, (reader.path,))


def new_generation(before: int) -> int:
    """Greater than `before`, and another one whenever it is called, wherever: the time in ms, and
    chance behind it."""
    now = max(time.time_ns() >> _CHANCE_BITS, (before >> _CHANCE_BITS) + 1)
    return now << _CHANCE_BITS | secrets.randbits(_CHANCE_BITS)


def _as_it_was(nic: NicSpec, config: GuestConfig) -> NicSpec:
    """A NIC of the guest keeps its address and its MTU."""
    net = config.nets.get(nic.name)
    if net is None:  # which is refused as it is anywhere
        return nic
    if nic.mac not in ("", net.mac):
        raise UsageError(
            f"the NIC {nic.name!r} of the guest has the address {net.mac}, and keeps it",
            key=("nic", nic.name, "mac"),
        )
    if nic.mtu not in (None, net.mtu):
        raise UsageError(
            f"the NIC {nic.name!r} of the guest has the MTU {net.mtu}, and keeps it",
            key=("nic", nic.name, "mtu"),
        )
    return replace(nic, mac=net.mac, mtu=net.mtu)


def _disks(given: Iterable[DiskSpec], snapshot: Snapshot, resumes: bool) -> tuple[DiskSpec, ...]:
    """Those that are given, and the others where they lay."""
    found = {disk.name: disk for disk in given}
    for name, disk in snapshot.disks.items():
        if disk.digest and name not in found and not resumes:
            raise UsageError(
                f"the guest was suspended, with its disk {name!r} in {disk.path}: resume it, or "
                "name a copy of that file, so that it can still be resumed",
                key=("disk", name),
            )
        if disk.digest:
            found.setdefault(name, DiskSpec(name, disk.path))
        elif name not in found:
            raise UsageError(
                f"the snapshot holds the disk {name!r}: name a new file for it", key=("disk", name)
            )
        elif found[name].path.exists():
            raise UsageError(
                f"{found[name].path} is there already: name a new file for the disk {name!r}, "
                "which the snapshot holds",
                key=("disk", name),
            )
    for name in found.keys() - snapshot.disks.keys():
        known = ", ".join(snapshot.disks) or "none"
        raise UsageError(f"the guest has no disk {name!r} (it has: {known})", key=("disk", name))
    return tuple(found.values())


def _fill(
    reader: SnapshotReader,
    machine: Machine,
    disks: Mapping[str, Path],
    tell: Callable[[str], None],
) -> None:
    """Write what the snapshot holds to RAM, and to new files for disks."""
    config = machine.config
    machine.memory.clear()
    try:
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(AtomicFile(path, PRIVATE)) for name, path in disks.items()
            }
            for name, file in files.items():
                file.resize(config.blocks[name].capacity)
            for device, pieces in reader.pieces():
                place = machine.memory.write if device is None else files[device].place
                for address, content in pieces:
                    place(address, content)
                tell(f"{reader.done * 100 // reader.size} % of {reader.path} read")
            for file in files.values():
                file.keep()
    except OSError as error:
        paths = ", ".join(map(str, disks.values()))
        raise HostError(f"cannot write the disks {paths}: {error.strerror}") from error


def _check_disks(snapshot: Snapshot, devices: Devices, tell: Callable[[str], None]) -> None:
    for name, disk in devices.by_name.items():
        digest = snapshot.disks[name].digest
        progress = partial(tell_progress, name, disk, tell)
        same = disk.capacity == snapshot.config.blocks[name].capacity
        if not same or (digest and disk.digest(progress) != digest):
            raise UsageError(
                f"the disk {disk.path} is not as device {name!r} was when the guest was suspended: "
                "give it as it was then",
                key=("disk", name),
            )

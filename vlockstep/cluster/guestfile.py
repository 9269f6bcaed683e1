"""What a guest of the cluster is: `guest.toml`, in a folder of its own in a datastore.

    image = "kv"
    memory = 64
    arguments = ["--ipv4=10.0.2.15/24"]
    ft = true
    priority = "high"

    [disk.data]
    path = "data.img"

    [nic.net]
    group = "front"

    [resources.cpu]
    reservation = 100

Paths are as seen from the folder, and may not lead out of it: what a guest needs moves with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from vlockstep.cluster.model import Allocation, Automation, Guest, Priority
from vlockstep.errors import HostError, Key, UsageError
from vlockstep.files.atomicfile import AtomicFile
from vlockstep.files.tables import (
    Read,
    integer,
    number,
    read_toml,
    shown,
    table,
    take,
    text,
    texts,
    truth,
    written,
)
from vlockstep.machine.config import (
    BLOCK_SIZE,
    MIB,
    MTU,
    check_block_size,
    check_memory,
    check_mtu,
)
from vlockstep.machine.cpumodels import check_model
from vlockstep.machine.engines import AUTO, KVM, check
from vlockstep.net.attach import check_mac
from vlockstep.supervise.specfile import naming

FILE = "guest.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
DEFAULT_GROUP = "default"
"""The port group that every host has."""
_MOST_SHARES = 1_000_000
_MOST = 1e9
_USUAL = Allocation()


class Monitoring(StrEnum):
    """How soon a guest that gives no sign of life is restarted, if at all."""

    OFF = "off"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Isolation(StrEnum):
    """What a host does with the guest when it finds itself cut off from all others."""

    NONE = "none"
    POWER_OFF = "power off"
    SHUT_DOWN = "shut down"


class Restart(StrEnum):
    """Where the guest begins when it is restarted: at boot, or where it was, by its log."""

    BOOT = "boot"
    RESUME = "resume"


@dataclass(frozen=True)
class DiskSetting:
    """A disk: its file, and the bytes of its blocks."""

    path: str
    block_size: int = BLOCK_SIZE


@dataclass(frozen=True)
class NicSetting:
    """A NIC: its port group, its address, if that is not made from its name, and its MTU."""

    group: str = DEFAULT_GROUP
    mac: str = ""
    mtu: int = MTU


@dataclass(frozen=True)
class GuestFile:
    """`memory` is in MiB; `disks` and `nics` are by the image's names for them."""

    image: str
    memory: int = 64
    cpu: str = "westmere"
    engine: str = AUTO
    arguments: tuple[str, ...] = ()
    disks: Mapping[str, DiskSetting] = field(default_factory=dict)
    nics: Mapping[str, NicSetting] = field(default_factory=dict)
    ft: bool = False
    hold: bool = False
    """While it is to be protected and is not, its outputs wait."""
    priority: Priority = Priority.MEDIUM
    automation: Automation | None = None
    monitoring: Monitoring = Monitoring.OFF
    isolation: Isolation | None = None
    restart: Restart = Restart.BOOT
    cpu_resources: Allocation = _USUAL
    memory_resources: Allocation = _USUAL

    def model(self, name: str, datastore: str) -> Guest:
        """As decisions see it."""
        return Guest(
            name,
            self.memory,
            self.cpu,
            frozenset({datastore}),
            frozenset(nic.group for nic in self.nics.values()),
            self.cpu_resources,
            self.memory_resources,
            kvm=self.engine == KVM,
            ft=self.ft,
            priority=self.priority,
            automation=self.automation,
        )

    def to_dict(self) -> dict[str, Any]:
        """As the file has it, without what goes without saying."""
        given: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in ("disks", "nics", "cpu_resources", "memory_resources"):
                continue
            if value != each.default:
                given[each.name] = _plain(value)
        if self.disks:
            given["disk"] = {
                name: {"path": disk.path} | _unusual(disk, "block_size")
                for name, disk in self.disks.items()
            }
        if self.nics:
            given["nic"] = {
                name: {"group": nic.group} | _unusual(nic, "mac", "mtu")
                for name, nic in self.nics.items()
            }
        resources = {
            kind: _allocation(value)
            for kind, value in (("cpu", self.cpu_resources), ("memory", self.memory_resources))
            if value != _USUAL
        }
        return given | ({"resources": resources} if resources else {})


def check_name(name: str) -> None:
    """`UsageError` if a guest, a host or a datastore cannot be called so."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name: write letters, digits, dots and dashes")


def check_folder(folder: str) -> None:
    """`UsageError` if a guest's folder in a datastore cannot be that."""
    if _leads_out(folder):
        raise UsageError(f"{folder!r} leads out of the datastore: name a folder in it")


def read(folder: Path) -> GuestFile:
    """Of the guest in this folder. Every error names the file and the key."""
    path = folder / FILE
    given = read_toml(path, "description of a guest")
    with naming(path):
        return parse(given)


def parse(given: Mapping[str, Any]) -> GuestFile:
    """Of such a table. Every error has the key of what is wrong."""
    values = take(given, _READERS, (), ("image",))
    resources = values.pop("resources", {})
    for kind, found in resources.items():
        values[f"{kind}_resources"] = found
    for one, many in (("disk", "disks"), ("nic", "nics")):
        if one in values:
            values[many] = values.pop(one)
    made = GuestFile(**values)
    reserved = made.memory_resources.reservation
    if reserved > made.memory:
        raise UsageError(
            f"{reserved:g} MiB are reserved for a guest of {made.memory} MiB",
            key=("resources", "memory", "reservation"),
        )
    if made.ft and made.restart is Restart.RESUME:
        raise UsageError(
            "a guest with ft goes on with its secondary, and is never resumed from a log: "
            "give boot, or leave out ft",
            key=("restart",),
        )
    return made


def write(folder: Path, guest: GuestFile) -> None:
    """In the place of the one that is there."""
    path = folder / FILE
    try:
        with AtomicFile(path) as file:
            file.write(to_toml(guest).encode())
            file.keep()
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from error


def to_toml(guest: GuestFile) -> str:
    lines: list[str] = []
    tables: list[str] = []

    def add(header: str, values: Mapping[str, Any]) -> None:
        tables.extend(["", f"[{header}]"])
        tables.extend(f"{key} = {written(value)}" for key, value in values.items())

    for key, value in guest.to_dict().items():
        if isinstance(value, dict):
            for name, values in value.items():
                add(f"{key}.{written(name)}", values)
        else:
            lines.append(f"{key} = {written(value)}")
    return "\n".join([*lines, *tables, ""])


def _unusual(setting: DiskSetting | NicSetting, *names: str) -> dict[str, Any]:
    """What of it is not the default."""
    return {
        each.name: getattr(setting, each.name)
        for each in fields(setting)
        if each.name in names and getattr(setting, each.name) != each.default
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Priority):
        return value.name.lower()
    if isinstance(value, StrEnum):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _allocation(allocation: Allocation) -> dict[str, Any]:
    given: dict[str, Any] = {"shares": allocation.shares, "reservation": allocation.reservation}
    return given | ({} if allocation.limit is None else {"limit": allocation.limit})


def _leads_out(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return path.startswith(("/", "~")) or ".." in parts or not parts


def _within(value: Any, key: Key) -> str:
    """A path that stays in the guest's folder."""
    path: str = text(value, key)
    if _leads_out(path):
        raise UsageError(f"{path!r} leads out of the guest's folder: copy the file there", key=key)
    return os.path.normpath(path)


def _image(value: Any, key: Key) -> str:
    image: str = text(value, key)
    return _within(image, key) if "/" in image or image.endswith(".hvt") else image


def _memory(value: Any, key: Key) -> int:
    memory: int = integer(value, key)
    try:
        check_memory(memory * MIB)
    except UsageError as error:
        raise UsageError(str(error), key=key) from error
    return memory


def _cpu(value: Any, key: Key) -> str:
    model: str = text(value, key)
    check_model(model, key)
    return model


def _engine(value: Any, key: Key) -> str:
    engine: str = text(value, key)
    check(engine, key)
    return engine


def _one_of(kind: type[StrEnum]) -> Read:
    def read(value: Any, key: Key) -> StrEnum:
        try:
            return kind(value)
        except ValueError as error:
            known = ", ".join(kind)
            raise UsageError(f"{shown(value)} is none of {known}", key=key) from error

    return read


def _priority(value: Any, key: Key) -> Priority:
    names = {each.name.lower(): each for each in Priority}
    if value not in names:
        raise UsageError(f"{shown(value)} is none of {', '.join(names)}", key=key)
    return names[value]


def _disks(value: Any, key: Key) -> dict[str, DiskSetting]:
    readers: dict[str, Read] = {"path": _within, "block_size": _checked(check_block_size)}
    return {
        name: DiskSetting(**take(table(disk, (*key, name)), readers, (*key, name), ("path",)))
        for name, disk in table(value, key).items()
    }


def _checked(check: Callable[[int, Key], None]) -> Read:
    def read(value: Any, key: Key) -> int:
        number: int = integer(value, key)
        check(number, key)
        return number

    return read


def _mac(value: Any, key: Key) -> str:
    mac: str = text(value, key).lower()
    check_mac(mac, key)
    return mac


def _group(value: Any, key: Key) -> str:
    group: str = text(value, key)
    if not _NAME.fullmatch(group):
        raise UsageError(f"{group!r} is no name of a port group", key=key)
    return group


def _nics(value: Any, key: Key) -> dict[str, NicSetting]:
    readers: dict[str, Read] = {"group": _group, "mac": _mac, "mtu": _checked(check_mtu)}
    return {
        name: NicSetting(**take(table(nic, (*key, name)), readers, (*key, name)))
        for name, nic in table(value, key).items()
    }


def _amount(value: Any, key: Key) -> float:
    amount = number(value, key)
    if not 0 <= amount <= _MOST:
        raise UsageError(f"{amount:g} is not from 0 to {_MOST:g}", key=key)
    return amount


def _shares(value: Any, key: Key) -> int:
    shares: int = integer(value, key)
    if not 1 <= shares <= _MOST_SHARES:
        raise UsageError(f"{shares} is not from 1 to {_MOST_SHARES}", key=key)
    return shares


def _resource(value: Any, key: Key) -> Allocation:
    readers: dict[str, Read] = {"shares": _shares, "reservation": _amount, "limit": _amount}
    made = Allocation(**take(table(value, key), readers, key))
    if made.limit is not None and made.limit < made.reservation:
        raise UsageError(
            f"the limit {made.limit:g} is below the reservation {made.reservation:g}",
            key=(*key, "limit"),
        )
    return made


def _resources(value: Any, key: Key) -> dict[str, Allocation]:
    return take(table(value, key), {"cpu": _resource, "memory": _resource}, key)


_READERS: dict[str, Read] = {
    "image": _image,
    "memory": _memory,
    "cpu": _cpu,
    "engine": _engine,
    "arguments": texts,
    "disk": _disks,
    "nic": _nics,
    "ft": truth,
    "hold": truth,
    "priority": _priority,
    "automation": _one_of(Automation),
    "monitoring": _one_of(Monitoring),
    "isolation": _one_of(Isolation),
    "restart": _one_of(Restart),
    "resources": _resources,
}

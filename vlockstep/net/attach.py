"""What the NICs of a guest are connected to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlockstep.errors import HostError, Key, UsageError
from vlockstep.host.background import Background
from vlockstep.machine.config import MAX_MTU, MTU, check_mtu
from vlockstep.net.nic import Nic
from vlockstep.net.pcap import Capture
from vlockstep.net.portmessages import check_group
from vlockstep.net.portmessages import parse_mac as to_bytes
from vlockstep.net.station import Station
from vlockstep.net.tap import Tap

if TYPE_CHECKING:
    from vlockstep.wire.keys import Keys

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_KINDS = ("tap", "switch")


@dataclass(frozen=True)
class NicSpec:
    """What a NIC is connected to: `backend` is `tap:IFACE`, an existing tap device, or
    `switch:ENDPOINT`, where it is in the port group `group`. `capture` is a file for its traffic.
    Without a `mac` it gets one that is made from the guest's name. Without an `mtu` it has that of
    the tap device, or the usual one at a switch; a secondary's guest has that of the primary's."""

    name: str
    backend: str
    capture: Path | None = None
    mac: str = ""
    group: str = ""
    mtu: int | None = None

    def __post_init__(self) -> None:
        key = ("nic", self.name)
        if self.kind not in _KINDS or not self.target:
            raise UsageError(
                f"{self.backend!r} is no network: write tap:IFACE or switch:ENDPOINT",
                key=(*key, "backend"),
            )
        try:
            f"{self.name}{self.backend}".encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"the network {self.backend!r} is not valid UTF-8", key=key) from error
        if self.group and self.kind != "switch":
            raise UsageError(
                f"{self.backend} has no port groups, which are of a switch", key=(*key, "group")
            )
        try:
            check_group(self.group)
        except UsageError as error:
            error.key = (*key, "group")
            raise
        if self.mac:
            object.__setattr__(self, "mac", self.mac.lower())
            check_mac(self.mac, (*key, "mac"))
        if self.mtu is not None:
            check_mtu(self.mtu, (*key, "mtu"))

    @property
    def kind(self) -> str:
        return self.backend.partition(":")[0]

    @property
    def target(self) -> str:
        return self.backend.partition(":")[2]


def check_mac(mac: str, key: Key = ()) -> None:
    """`UsageError` if a NIC cannot have this address, in lower case."""
    if not _MAC.fullmatch(mac):
        raise UsageError(f"{mac!r} is no MAC address: write it as 02:00:00:00:00:01", key=key)
    if mac == "00:00:00:00:00:00" or int(mac[:2], 16) & 1:
        raise UsageError(f"{mac} addresses a group or nobody; the first byte must be even", key=key)


def default_mac(guest: str, name: str) -> str:
    """A locally administered address that is the same wherever this guest runs."""
    name = f"{guest}/{name}"
    digest = hashlib.blake2b(name.encode(errors="backslashreplace"), digest_size=6).digest()
    octets = bytearray(digest)
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def addresses(guest: str, specs: Iterable[NicSpec]) -> dict[str, str]:
    """The MAC of each NIC by its name: its own, or the default."""
    macs: dict[str, str] = {}
    for spec in specs:
        key = ("nic", spec.name)
        if spec.name in macs:
            raise UsageError(f"the NIC {spec.name!r} is given twice: drop one", key=key)
        mac = spec.mac or default_mac(guest, spec.name)
        for twin, other in macs.items():
            if other == mac:
                raise UsageError(
                    f"the NICs {twin!r} and {spec.name!r} have one MAC, {mac}", key=(*key, "mac")
                )
        macs[spec.name] = mac
    return macs


def connect(
    specs: Iterable[NicSpec],
    macs: Mapping[str, str],
    guest: str,
    keys: Keys | None,
    background: Callable[[str], Background],
) -> dict[str, Station]:
    """Connect the NICs, by name. `guest` tells a switch whose they are: two replicas of one guest
    have one MAC. Captures are written in a `background` of their own, which outlives them for a
    moment. Every error names the NIC."""
    stations: dict[str, Station] = {}
    try:
        for spec in specs:
            mac = macs[spec.name]
            try:
                stations[spec.name] = _connect(spec, mac, guest, keys, background)
            except (HostError, UsageError) as error:
                located = error.about(f"NIC {spec.name!r}")
                if error.key != ("keys",):
                    what = error.key if error.key in (("mac",), ("mtu",)) else ("backend",)
                    located.key = ("nic", spec.name, *what)
                raise located from error
    except BaseException:
        for station in stations.values():
            station.close()
        raise
    return stations


def _connect(
    spec: NicSpec,
    mac: str,
    guest: str,
    keys: Keys | None,
    background: Callable[[str], Background],
) -> Station:
    nic: Nic
    if spec.kind == "tap":
        nic = Tap(spec.target)
    else:
        from vlockstep.net.port import SwitchPort  # brings ZeroMQ, which few guests need

        nic = SwitchPort.connect(spec.target, keys, guest, mac, group=spec.group)
    try:
        usual, largest = (nic.mtu, nic.mtu) if isinstance(nic, Tap) else (MTU, MAX_MTU)
        mtu = usual if spec.mtu is None else spec.mtu
        check_room(mtu, largest, ("mtu",))
        if spec.capture is not None:
            nic = Capture(nic, spec.capture, background("capture"))
        return Station(nic, to_bytes(mac), mtu, largest)
    except BaseException:
        nic.close()
        raise


def check_room(mtu: int, largest: int, key: Key) -> None:
    """`UsageError` if the network of a NIC takes no frames of this MTU."""
    if mtu > largest:
        raise UsageError(
            f"an MTU of {mtu} is more than the {largest} of its network: raise that, with "
            f"ip link set IFACE mtu {mtu} for a tap device and what it leads to",
            key=key,
        )

"""From `--net NAME=BACKEND` to the NICs of a guest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vlockstep.errors import HostError, UsageError
from vlockstep.host.background import Background
from vlockstep.net.nic import Nic
from vlockstep.net.pcap import Capture
from vlockstep.net.port import SwitchPort
from vlockstep.net.portmessages import parse_mac as to_bytes
from vlockstep.net.station import Station
from vlockstep.net.tap import Tap
from vlockstep.wire.keys import Keys

_PCAP = ",pcap="
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True)
class NetOption:
    """What a NIC is connected to: a tap device or a switch. `capture` is a file for its traffic."""

    name: str
    kind: str
    target: str
    capture: Path | None = None

    @classmethod
    def parse(cls, text: str) -> NetOption:
        """Read `NAME=tap:IFACE` or `NAME=switch:ENDPOINT`, each with `,pcap=FILE` or without."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"the network {text!r} is not valid UTF-8") from error
        name, _, backend = text.partition("=")
        backend, _, capture = backend.partition(_PCAP)
        kind, _, target = backend.partition(":")
        if not name or kind not in ("tap", "switch") or not target:
            raise UsageError(
                f"{text!r} is no network: write --net NAME=tap:IFACE or "
                "--net NAME=switch:ENDPOINT, with ,pcap=FILE behind it to capture"
            )
        if not capture and text.endswith(_PCAP):
            raise UsageError(f"{text!r} names no file for the capture")
        return cls(name, kind, target, Path(capture) if capture else None)


def parse_mac(text: str) -> tuple[str, str]:
    """Read `NAME=MAC`: the NIC and its address, in lower case."""
    name, _, mac = text.partition("=")
    mac = mac.lower()
    if not name or not _MAC.fullmatch(mac):
        raise UsageError(f"{text!r}: write --net-mac NAME=MAC, such as net=02:00:00:00:00:01")
    if mac == "00:00:00:00:00:00" or int(mac[:2], 16) & 1:
        raise UsageError(f"{mac} addresses a group or nobody; the first byte must be even")
    return name, mac


def default_mac(guest: str, name: str) -> str:
    """A locally administered address that is the same wherever this guest runs."""
    name = f"{guest}/{name}"
    digest = hashlib.blake2b(name.encode(errors="backslashreplace"), digest_size=6).digest()
    octets = bytearray(digest)
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def addresses(guest: str, options: Iterable[NetOption], given: Iterable[str]) -> dict[str, str]:
    """The MAC of each NIC by its name: as `given` by `NAME=MAC`, or the default."""
    names = [option.name for option in options]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the NIC {name!r} is given twice: drop one --net")
    macs = {name: default_mac(guest, name) for name in names}
    for name, mac in map(parse_mac, given):
        if name not in macs:
            raise UsageError(f"--net-mac names the NIC {name!r}, which no --net connects")
        macs[name] = mac
    for name, mac in macs.items():
        twins = [other for other in macs if macs[other] == mac and other != name]
        if twins:
            raise UsageError(f"the NICs {name!r} and {twins[0]!r} have one MAC, {mac}")
    return macs


def connect(
    options: Iterable[NetOption],
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
        for option in options:
            mac = macs[option.name]
            try:
                stations[option.name] = Station(
                    _open(option, mac, guest, keys, background), to_bytes(mac)
                )
            except (HostError, UsageError) as error:
                raise type(error)(f"NIC {option.name!r}: {error}") from error
    except BaseException:
        for station in stations.values():
            station.close()
        raise
    return stations


def _open(
    option: NetOption,
    mac: str,
    guest: str,
    keys: Keys | None,
    background: Callable[[str], Background],
) -> Nic:
    nic: Nic
    if option.kind == "tap":
        nic = Tap(option.target)
    else:
        nic = SwitchPort.connect(option.target, keys, guest, mac)
    if option.capture is None:
        return nic
    try:
        return Capture(nic, option.capture, background("capture"))
    except BaseException:
        nic.close()
        raise

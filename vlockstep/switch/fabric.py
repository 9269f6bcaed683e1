"""The switch's decisions, without any I/O.

Theory of operation. A frame's source address tells behind which port that address is; the table
remembers it until the address has been silent for the ageing time. A frame goes where its
destination is known to be, and everywhere if it is for a group or for an unknown address.

A guest has two ports, its primary's and its secondary's. They are *attached* to the guest's
address: what is sent to it goes to both, wherever the guest was last heard, so that a secondary
that takes over has already seen what the primary had not consumed. To the network both are one
NIC: neither gets what the other sends.

A port and an uplink are in one port group, and frames never leave theirs: an address is known by
its group and itself. A trunk, to another switch, carries all groups. The replicas of a guest may be
at several switches, so a trunk is attached to the addresses that have a replica behind it, which
the other switch tells (`attach`, `detach`); what this one has to tell, `announcements` gives.

Time is in nanoseconds of any clock that does not run backwards.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vlockstep.errors import UsageError
from vlockstep.net.nic import MAX_FRAME, MIN_FRAME
from vlockstep.net.portmessages import format_mac

PortId = bytes | str
Address = bytes
"""The name of a port group, and the 6 bytes of a MAC address in it."""
DEFAULT_AGEING = 300 * 10**9
TABLE_LIMIT = 4096
PORT_LIMIT = 256
REMOTE_LIMIT = 1024
"""Addresses that are attached to trunks."""
REPLICAS = 8
_GROUP = 1
"""The bit of an address's first byte that tells a group from one station."""


@dataclass(slots=True)
class PortCounters:
    """Received is what came from the port, sent is what went to it."""

    received: int = 0
    received_bytes: int = 0
    sent: int = 0
    sent_bytes: int = 0
    malformed: int = 0
    """Frames of an impossible length or source, and messages that are none."""
    overflowed: int = 0
    """Frames that the port did not take in time."""
    moves: int = 0
    """Addresses that were behind another port before."""

    @property
    def dropped(self) -> int:
        return self.malformed + self.overflowed


@dataclass(slots=True)
class Port:
    """`attach` is the 6 bytes of a guest's address, None for an uplink. A trunk has no `group`."""

    id: PortId
    group: bytes | None
    attach: bytes | None = None
    guest: str = ""
    counters: PortCounters = field(default_factory=PortCounters)
    others: dict[bytes, tuple[PortId, ...]] = field(default_factory=dict)
    """Where a frame from here can go, by its group; if that is not there, to `trunks`."""
    trunks: tuple[PortId, ...] = ()
    """All others."""
    behind: dict[Address, str] = field(default_factory=dict)
    """The addresses that a trunk is attached to, and their guests."""
    told: dict[Address, str] = field(default_factory=dict)
    """Those that a trunk was told to be behind this switch."""


class Announcement(NamedTuple):
    """Tell `trunk` that replicas of `guest` are behind this switch; None if none is any more."""

    trunk: PortId
    group: bytes
    mac: bytes
    guest: str | None


@dataclass(slots=True)
class _Place:
    port: PortId
    seen: int


class Fabric:
    """Ports, and which addresses are behind them. `ageing` is in nanoseconds."""

    def __init__(
        self,
        ageing: int = DEFAULT_AGEING,
        table_limit: int = TABLE_LIMIT,
        port_limit: int = PORT_LIMIT,
    ) -> None:
        assert ageing > 0 and table_limit > 0
        self.ports: dict[PortId, Port] = {}
        self._ageing = ageing
        self._table_limit = table_limit
        self._port_limit = port_limit
        self._table: OrderedDict[Address, _Place] = OrderedDict()  # the longest silent first
        self._attached: dict[Address, tuple[PortId, ...]] = {}
        self._remote = 0
        self._changed: dict[Address, None] = {}

    def __len__(self) -> int:
        """How many addresses are in the table."""
        return len(self._table)

    @property
    def changed(self) -> bool:
        """Whether replicas came or went since `announcements` was asked last."""
        return bool(self._changed)

    def add_port(
        self,
        port: PortId,
        attach: bytes | None = None,
        guest: str = "",
        counters: PortCounters | None = None,
        group: bytes = b"",
    ) -> None:
        """Add a port that is not there yet. It goes on counting in `counters`.

        Raises `UsageError` if the address it is to be attached to cannot be its own.
        """
        if attach is not None:
            if len(self.ports) >= self._port_limit:
                raise UsageError(f"the switch has no more than {self._port_limit} ports")
            self._check_attach(group + attach, guest)
        self._add(Port(port, group, attach, guest, counters or PortCounters()))
        if attach is not None:
            self._attach(port, group + attach)

    def add_trunk(self, port: PortId, counters: PortCounters | None = None) -> None:
        """Add a trunk that is not there yet. It goes on counting in `counters`."""
        self._add(Port(port, None, counters=counters or PortCounters()))
        self._changed.update(dict.fromkeys(self._attached))

    def remove_port(self, port: PortId) -> None:
        """Remove a port or a trunk, and forget what was behind it."""
        gone = self.ports.pop(port)
        if gone.attach is not None:
            assert gone.group is not None
            self._detach(port, gone.group + gone.attach)
        for address in gone.behind:
            self._detach(port, address)
        self._remote -= len(gone.behind)
        for address in [address for address, place in self._table.items() if place.port == port]:
            del self._table[address]
        self._find_others()

    def attach(self, trunk: PortId, group: bytes, mac: bytes, guest: str) -> str | None:
        """Replicas of `guest` with the address `mac` in `group` are behind `trunk`. Another guest
        that has the same address, if there is one: who came later was not refused, for nobody there
        knew."""
        port, address = self.ports[trunk], group + mac
        if not _is_station(mac):
            port.counters.malformed += 1
            return None
        known = port.behind.get(address)
        if known is None and self._remote >= REMOTE_LIMIT:
            port.counters.overflowed += 1
            return None
        port.behind[address] = guest
        if known is None:
            self._remote += 1
            self._attach(trunk, address)
        elif known != guest:
            self._changed[address] = None
        return min(self._guests(address) - {guest}, default=None)

    def detach(self, trunk: PortId, group: bytes, mac: bytes) -> None:
        """No replica with the address `mac` in `group` is behind `trunk` any more."""
        address = group + mac
        if self.ports[trunk].behind.pop(address, None) is not None:
            self._remote -= 1
            self._detach(trunk, address)

    def attached(self, group: bytes) -> set[bytes]:
        """The MAC addresses of all guests in `group` that have a replica somewhere."""
        return {address[-6:] for address in self._attached if address[:-6] == group}

    def announcements(self) -> list[Announcement]:
        """What trunks have to be told since this was asked last."""
        found = []
        for address in self._changed:
            attached = self._attached.get(address, ())
            for trunk in self._trunks():
                others = (self._guest_at(port, address) for port in attached if port != trunk.id)
                guest = next(others, None)
                if trunk.told.get(address) == guest:
                    continue
                if guest is None:
                    del trunk.told[address]
                else:
                    trunk.told[address] = guest
                found.append(Announcement(trunk.id, address[:-6], address[-6:], guest))
        self._changed.clear()
        return found

    def forward(
        self, now: int, source: PortId, frame: bytes, group: bytes = b""
    ) -> tuple[PortId, ...]:
        """Learn from a frame that came from `source`, and tell where it goes. `group` is that of
        the port, or the one that a frame from a trunk is tagged with."""
        port = self.ports[source]
        assert port.group is None or port.group == group, "frames stay in their group"
        counters = port.counters
        size = len(frame)
        if not MIN_FRAME <= size <= MAX_FRAME or frame[6] & _GROUP:
            counters.malformed += 1
            return ()
        counters.received += 1
        counters.received_bytes += size
        mac = frame[6:12]
        address = group + mac
        self._learn(now, port, address)
        if frame[0] & _GROUP:
            targets = port.others.get(group, port.trunks)
        else:
            targets = self._unicast(now, port, group, frame[:6])
        if port.group is None and address in self._attached:  # a guest does not hear itself
            return tuple(target for target in targets if self.ports[target].attach != mac)
        return targets

    def sent(self, port: PortId, size: int) -> None:
        """A frame of `size` bytes went to `port`."""
        counters = self.ports[port].counters
        counters.sent += 1
        counters.sent_bytes += size

    def overflowed(self, port: PortId) -> None:
        """`port` did not take a frame, which is lost."""
        self.ports[port].counters.overflowed += 1

    def lookup(self, now: int, mac: bytes, group: bytes = b"") -> PortId | None:
        """Behind which port `mac` was last heard, if that is not too long ago."""
        return self._heard(now, group + mac)

    def _heard(self, now: int, address: Address) -> PortId | None:
        place = self._table.get(address)
        if place is None:
            return None
        if now - place.seen >= self._ageing:
            del self._table[address]
            return None
        return place.port

    def _learn(self, now: int, port: Port, address: Address) -> None:
        place = self._table.get(address)
        if place is None:
            self._make_room(now)
            self._table[address] = _Place(port.id, now)
            return
        if place.port != port.id:
            place.port = port.id
            port.counters.moves += 1
        place.seen = now
        self._table.move_to_end(address)

    def _make_room(self, now: int) -> None:
        while self._table:
            oldest = next(iter(self._table.values()))
            if now - oldest.seen < self._ageing and len(self._table) < self._table_limit:
                return
            self._table.popitem(last=False)

    def _unicast(self, now: int, source: Port, group: bytes, mac: bytes) -> tuple[PortId, ...]:
        destination = group + mac
        learned = self._heard(now, destination)
        attached = self._attached.get(destination)
        if attached is not None:
            if source.attach == mac:
                return ()
            if source.group is None:
                attached = tuple(port for port in attached if port != source.id)
            if learned is None or learned in attached or learned == source.id:
                return attached
        others = source.others.get(group, source.trunks)
        if learned is None:
            return others
        found = (learned,) if learned in others else ()
        return found if attached is None else attached + found

    def _add(self, port: Port) -> None:
        assert port.id not in self.ports, "the port is there already"
        self.ports[port.id] = port
        self._find_others()

    def _attach(self, port: PortId, address: Address) -> None:
        self._attached[address] = (*self._attached.get(address, ()), port)
        self._changed[address] = None

    def _detach(self, port: PortId, address: Address) -> None:
        left = tuple(other for other in self._attached[address] if other != port)
        if left:
            self._attached[address] = left
        else:
            del self._attached[address]
        self._changed[address] = None

    def _trunks(self) -> Iterator[Port]:
        return (port for port in self.ports.values() if port.group is None)

    def _guest_at(self, port: PortId, address: Address) -> str:
        there = self.ports[port]
        return there.behind[address] if there.group is None else there.guest

    def _guests(self, address: Address) -> set[str]:
        return {self._guest_at(port, address) for port in self._attached.get(address, ())}

    def _check_attach(self, address: Address, guest: str) -> None:
        text = format_mac(address[-6:])
        if not _is_station(address[-6:]):
            raise UsageError(f"{text} cannot be a NIC's address; give the NIC another MAC address")
        others = self._guests(address) - {guest}
        if others:
            raise UsageError(
                f"the MAC address {text} belongs to another guest of this network "
                f"({', '.join(sorted(others))}); give this one's NIC another"
            )
        if len(self._attached.get(address, ())) >= REPLICAS:
            raise UsageError(
                f"{REPLICAS} replicas of {guest} have ports for the MAC address {text} already; "
                "if this is another guest, give its NIC another"
            )

    def _find_others(self) -> None:
        trunks = [port.id for port in self._trunks()]
        members: dict[bytes, list[Port]] = {}
        for port in self.ports.values():
            if port.group is not None:
                members.setdefault(port.group, []).append(port)
        for port in self.ports.values():
            port.trunks = tuple(trunk for trunk in trunks if trunk != port.id)
            groups = members if port.group is None else (port.group,)
            port.others = {
                group: (
                    *(other.id for other in members[group] if _may_hear(other, port)),
                    *port.trunks,
                )
                for group in groups
            }


def _may_hear(port: Port, other: Port) -> bool:
    """Whether what `other` sends, in the same group, is for `port`."""
    return port.id != other.id and (port.attach is None or port.attach != other.attach)


def _is_station(mac: bytes) -> bool:
    """Whether a NIC can have that address."""
    return not mac[0] & _GROUP and any(mac)

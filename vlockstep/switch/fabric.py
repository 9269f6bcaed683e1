"""The switch's decisions, without any I/O.

Theory of operation. A frame's source address tells behind which port that address is; the table
remembers it until the address has been silent for the ageing time. A frame goes where its
destination is known to be, and everywhere if it is for a group or for an unknown address.

A guest has two ports, its primary's and its secondary's. They are *attached* to the guest's
address: what is sent to it goes to both, wherever the guest was last heard, so that a secondary
that takes over has already seen what the primary had not consumed. To the network both are one
NIC: neither gets what the other sends.

Time is in nanoseconds of any clock that does not run backwards.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from vlockstep.errors import UsageError
from vlockstep.net.nic import MAX_FRAME, MIN_FRAME
from vlockstep.net.portmessages import format_mac

PortId = bytes | str
DEFAULT_AGEING = 300 * 10**9
TABLE_LIMIT = 4096
PORT_LIMIT = 256
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
    """`attach` is the 6 bytes of a guest's address, None for an uplink."""

    id: PortId
    attach: bytes | None
    guest: str
    counters: PortCounters = field(default_factory=PortCounters)
    others: tuple[PortId, ...] = ()
    """Where a frame from here can go."""


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
        self._table: OrderedDict[bytes, _Place] = OrderedDict()  # the longest silent first
        self._attached: dict[bytes, tuple[PortId, ...]] = {}

    def __len__(self) -> int:
        """How many addresses are in the table."""
        return len(self._table)

    def add_port(
        self,
        port: PortId,
        attach: bytes | None = None,
        guest: str = "",
        counters: PortCounters | None = None,
    ) -> None:
        """Add a port that is not there yet. It goes on counting in `counters`.

        Raises `UsageError` if the address it is to be attached to cannot be its own.
        """
        assert port not in self.ports, "the port is there already"
        if attach is not None:
            if len(self.ports) >= self._port_limit:
                raise UsageError(f"the switch has no more than {self._port_limit} ports")
            self._check_attach(attach, guest)
            self._attached[attach] = (*self._attached.get(attach, ()), port)
        self.ports[port] = Port(port, attach, guest, counters or PortCounters())
        self._find_others()

    def remove_port(self, port: PortId) -> None:
        """Remove a port, and forget what was behind it."""
        attach = self.ports.pop(port).attach
        if attach is not None:
            left = tuple(other for other in self._attached[attach] if other != port)
            if left:
                self._attached[attach] = left
            else:
                del self._attached[attach]
        for mac in [mac for mac, place in self._table.items() if place.port == port]:
            del self._table[mac]
        self._find_others()

    def forward(self, now: int, source: PortId, frame: bytes) -> tuple[PortId, ...]:
        """Learn from a frame that came from `source`, and tell where it goes."""
        port = self.ports[source]
        counters = port.counters
        size = len(frame)
        if not MIN_FRAME <= size <= MAX_FRAME or frame[6] & _GROUP:
            counters.malformed += 1
            return ()
        counters.received += 1
        counters.received_bytes += size
        self._learn(now, port, frame[6:12])
        if frame[0] & _GROUP:
            return port.others
        return self._unicast(now, port, frame[:6])

    def sent(self, port: PortId, size: int) -> None:
        """A frame of `size` bytes went to `port`."""
        counters = self.ports[port].counters
        counters.sent += 1
        counters.sent_bytes += size

    def overflowed(self, port: PortId) -> None:
        """`port` did not take a frame, which is lost."""
        self.ports[port].counters.overflowed += 1

    def lookup(self, now: int, mac: bytes) -> PortId | None:
        """Behind which port `mac` was last heard, if that is not too long ago."""
        place = self._table.get(mac)
        if place is None:
            return None
        if now - place.seen >= self._ageing:
            del self._table[mac]
            return None
        return place.port

    def _learn(self, now: int, port: Port, mac: bytes) -> None:
        place = self._table.get(mac)
        if place is None:
            self._make_room(now)
            self._table[mac] = _Place(port.id, now)
            return
        if place.port != port.id:
            place.port = port.id
            port.counters.moves += 1
        place.seen = now
        self._table.move_to_end(mac)

    def _make_room(self, now: int) -> None:
        while self._table:
            oldest = next(iter(self._table.values()))
            if now - oldest.seen < self._ageing and len(self._table) < self._table_limit:
                return
            self._table.popitem(last=False)

    def _unicast(self, now: int, source: Port, destination: bytes) -> tuple[PortId, ...]:
        learned = self.lookup(now, destination)
        attached = self._attached.get(destination)
        if attached is None:
            if learned is None:
                return source.others
            return (learned,) if learned in source.others else ()
        if source.attach == destination:
            return ()
        if learned is None or learned in attached or learned == source.id:
            return attached
        return (*attached, learned) if learned in source.others else attached

    def _check_attach(self, mac: bytes, guest: str) -> None:
        text = format_mac(mac)
        if mac[0] & _GROUP or not any(mac):
            raise UsageError(f"{text} cannot be a NIC's address; give the NIC another MAC address")
        attached = self._attached.get(mac, ())
        others = {self.ports[port].guest for port in attached} - {guest}
        if others:
            raise UsageError(
                f"the MAC address {text} belongs to another guest at this switch "
                f"({', '.join(others)}); give this one's NIC another"
            )
        if len(attached) >= REPLICAS:
            raise UsageError(
                f"{REPLICAS} replicas of {guest} have ports for the MAC address {text} already; "
                "if this is another guest, give its NIC another"
            )

    def _find_others(self) -> None:
        for port in self.ports.values():
            port.others = tuple(
                other.id
                for other in self.ports.values()
                if other.id != port.id and (other.attach is None or other.attach != port.attach)
            )

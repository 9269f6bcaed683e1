"""A NIC as a guest has it: with an address, and deaf to what is for others."""

from __future__ import annotations

from vlockstep.machine.config import MAX_MTU, MTU
from vlockstep.net.nic import MAX_FRAME, Counters, Nic

_BROADCAST = b"\xff" * 6
_RARP = b"\x80\x35"
_MIN_ON_THE_WIRE = 60


class Station:
    """A `Nic` that receives only frames to its `mac` (6 bytes), to groups and to all. A guest that
    starts here is told its `mtu`; its network takes frames of `largest_mtu`.

    It never hears itself: a hub brings it what the guest's other replica sent, from this address.
    """

    def __init__(self, nic: Nic, mac: bytes, mtu: int = MTU, largest_mtu: int = MAX_MTU) -> None:
        self._nic = nic
        self._mac = mac
        self.mtu = mtu
        self.largest_mtu = largest_mtu
        self._next: bytes | None = None
        """A frame that `waiting` found."""
        self.counters: Counters = nic.counters
        self.descriptors = nic.descriptors
        self.write = nic.write
        self.connected = nic.connected
        self.close = nic.close

    def waiting(self) -> bool:
        """Whether there is a frame for this station. It may be longer than the guest takes."""
        while self._next is None and self._nic.waiting():
            self._next = self._receive(MAX_FRAME)
        return self._next is not None

    def read(self, limit: int) -> bytes | None:
        frame, self._next = self._next, None
        if frame is not None and len(frame) > limit:
            self.counters.received -= 1
            self.counters.received_bytes -= len(frame)
            self.counters.receive_dropped += 1
            frame = None
        return frame or self._receive(limit)

    def _receive(self, limit: int) -> bytes | None:
        """The next frame for this station."""
        mac = self._mac
        while (frame := self._nic.read(limit)) is not None:
            if (frame[:6] == mac or frame[0] & 1) and frame[6:12] != mac:
                return frame
        return None

    def announce(self) -> None:
        """Tell switches that frames to this address belong here from now on.

        A reverse ARP request (RFC 903): it carries no network address, so hosts ignore it.
        """
        arp = b"\0\1\x08\0\6\4\0\3" + self._mac + bytes(4) + self._mac + bytes(4)
        frame = _BROADCAST + self._mac + _RARP + arp
        self._nic.write(frame.ljust(_MIN_ON_THE_WIRE, b"\0"))

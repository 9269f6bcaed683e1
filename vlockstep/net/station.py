"""A NIC as a guest has it: with an address, and deaf to what is for others."""

from __future__ import annotations

from vlockstep.net.nic import Counters, Nic

_BROADCAST = b"\xff" * 6
_RARP = b"\x80\x35"
_MIN_ON_THE_WIRE = 60


class Station:
    """A `Nic` that receives only frames to its `mac` (6 bytes), to groups and to all."""

    def __init__(self, nic: Nic, mac: bytes) -> None:
        self._nic = nic
        self._mac = mac
        self.counters: Counters = nic.counters
        self.descriptors = nic.descriptors
        self.waiting = nic.waiting
        self.write = nic.write
        self.connected = nic.connected
        self.close = nic.close

    def read(self, limit: int) -> bytes | None:
        while (frame := self._nic.read(limit)) is not None:
            if frame[:6] == self._mac or frame[0] & 1:
                return frame
        return None

    def announce(self) -> None:
        """Tell switches that frames to this address belong here from now on.

        A reverse ARP request (RFC 903): it carries no network address, so hosts ignore it.
        """
        arp = b"\0\1\x08\0\6\4\0\3" + self._mac + bytes(4) + self._mac + bytes(4)
        frame = _BROADCAST + self._mac + _RARP + arp
        self._nic.write(frame.ljust(_MIN_ON_THE_WIRE, b"\0"))

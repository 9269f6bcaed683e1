"""A host on the guest's switch that pings the guest: what can be shown without a way into it."""

from __future__ import annotations

import select
import struct
import threading
import time
from ipaddress import IPv4Address

from vlockstep.demo.visits import Visitor
from vlockstep.errors import VlockstepError
from vlockstep.net.nic import MAX_FRAME
from vlockstep.net.port import SwitchPort
from vlockstep.net.portmessages import parse_mac

_MAC = "02:00:00:70:69:6e"
_PACE = 0.01
"""Seconds from one ping to the next."""
_LINGER = 0.5
"""Seconds for which the last answers are waited for."""
_ARP, _IPV4 = b"\x08\x06", b"\x08\x00"
_ARP_HEAD = b"\0\1\x08\0\6\4"
_REQUEST, _REPLY = b"\0\1", b"\0\2"
_ICMP = 1
_IDENTITY = 0x7670


class PingVisitor(Visitor):
    """The host `own` on the switch at `endpoint`; the `guest` has the address `mac`.

    `sent` pings have the numbers from 0 on; `counts` is how often each of them was answered,
    `wrong` how many answers were not what was said.
    """

    def __init__(self, endpoint: str, own: IPv4Address, guest: IPv4Address, mac: str) -> None:
        super().__init__("ping")
        self.sent = 0
        self.counts: dict[int, int] = {}
        self.wrong = 0
        self._endpoint = endpoint
        self._own, self._guest = own.packed, guest.packed
        self._own_mac, self._guest_mac = parse_mac(_MAC), parse_mac(mac)

    @property
    def lost(self) -> int:
        return self.sent - len(self.counts)

    def run(self, leave: threading.Event) -> None:
        try:
            port = SwitchPort.connect(self._endpoint, None, "demo", _MAC)
        except VlockstepError as error:
            self.trouble = str(error)
            return
        try:
            self._ping(port, leave)
        finally:
            port.close()

    def _ping(self, port: SwitchPort, leave: threading.Event) -> None:
        poll = select.poll()
        for descriptor in port.descriptors():
            poll.register(descriptor, select.POLLIN)
        due, end = time.monotonic(), float("inf")
        while (now := time.monotonic()) < end:
            if leave.is_set():
                end = min(end, now + _LINGER) if self.lost else now
                due = end
            elif now >= due:
                port.write(self._question(self.sent))
                self.sent += 1
                due += _PACE
            poll.poll(max(0.0, due - now) * 1000)
            while port.waiting():
                frame = port.read(MAX_FRAME)
                if frame is not None:
                    self._receive(port, frame)

    def _receive(self, port: SwitchPort, frame: bytes) -> None:
        kind = frame[12:14]
        if kind == _ARP and frame[20:22] == _REQUEST and frame[38:42] == self._own:
            head = frame[6:12] + self._own_mac + _ARP + _ARP_HEAD + _REPLY
            port.write(head + self._own_mac + self._own + frame[22:32])
        elif kind == _IPV4 and frame[23] == _ICMP and frame[26:30] == self._guest:
            self._answer(frame[34:])

    def _answer(self, message: bytes) -> None:
        number = next((n for n in self._open(message) if message == _echo(0, n)), None)
        if number is None:
            self.wrong += 1
            return
        self.counts[number] = self.counts.get(number, 0) + 1
        if self.counts[number] == 1:
            self.note_answer()

    def _open(self, message: bytes) -> range:
        """The pings whose number in the message can be this one; it has only 16 bits."""
        sequence = int.from_bytes(message[6:8])
        return range(sequence, self.sent, 1 << 16)

    def _question(self, number: int) -> bytes:
        message = _echo(8, number)
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 64, _ICMP, 0)
        head += self._own + self._guest
        head = head[:10] + _checksum(head) + head[12:]
        return self._guest_mac + self._own_mac + _IPV4 + head + message


def _echo(kind: int, number: int) -> bytes:
    """An ICMP message: a ping (8), or the answer to it (0)."""
    data = b"\0\0" + struct.pack(">HH", _IDENTITY, number & 0xFFFF) + b"vlockstep %016d" % number
    head = bytes([kind, 0])
    return head + _checksum(head + data) + data[2:]


def _checksum(data: bytes) -> bytes:
    """That of the Internet protocols (RFC 1071), of an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2)

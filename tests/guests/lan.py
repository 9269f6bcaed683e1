"""A network with one guest on it, in a test: frames go in by a script, what comes out is parsed."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from support import MIB, ScriptedWorld, config_for, machine_of, net_config, sample

GUEST = "10.0.0.2"
GUEST_MAC = bytes.fromhex("020000000001")
PEER = "10.0.0.3"
PEER_MAC = bytes.fromhex("020000000009")
BROADCAST = b"\xff" * 6

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

Script = Generator["Sequence[bytes] | None", list[bytes], None]
"""Yields frames for the guest, or None to let time pass until its next timer; is sent the frames
that the guest has sent until it had nothing more to do."""


class ScriptEnd(Exception):
    pass


class Lan(ScriptedWorld):
    """Runs the script whenever the guest sleeps. `sleeps` are the timeouts of its polls, in ns."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script
        self._started = False
        self._waiting: list[bytes] = []
        self._sent: list[bytes] = []
        self.greeting: list[bytes] = []
        """What it sent before it first slept."""
        self.sleeps: list[int] = []

    def poll(self, at: int, timeout: int) -> int:
        self.sleeps.append(timeout)
        sent, self._sent = self._sent, []
        if not self._started:
            self.greeting = sent
        try:
            frames = self._script.send(sent) if self._started else next(self._script)
        except StopIteration:
            raise ScriptEnd from None
        self._started = True
        if frames is None:
            self.now += timeout
        else:
            self._waiting = list(frames)
        return 2 if self._waiting else 0

    def generation(self, at: int) -> int:
        return 0

    def net_read(self, at: int, handle: int, limit: int) -> bytes | None:
        return self._waiting.pop(0) if self._waiting else None

    def net_write(self, at: int, handle: int, frame: bytes) -> None:
        assert handle == 1
        self._sent.append(frame)


def run(name: str, script: Script, *options: str, prefix: int = 24) -> Lan:
    """Runs the guest until the script ends."""
    image, lan = sample(name), Lan(script)
    arguments = (f"--ipv4={GUEST}/{prefix}", "--ipv4-gateway=10.0.0.1", *options)
    config = config_for(image, *arguments, memory=32 * MIB, nets=net_config("net"))
    with machine_of(image, config) as machine:
        try:
            raise AssertionError(f"ended: {machine.run(lan)}, {lan.text}")
        except ScriptEnd:
            return lan


def checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _number(address: str) -> int:
    return int(ipaddress.IPv4Address(address))


def arp(operation: int, sender: str, target: str) -> bytes:
    header = struct.pack("!6s6sHHHBBH", BROADCAST, PEER_MAC, 0x0806, 1, 0x0800, 6, 4, operation)
    return header + struct.pack("!6sI6sI", PEER_MAC, _number(sender), bytes(6), _number(target))


def packet(
    protocol: int, payload: bytes, source: str = PEER, *, options: bytes = b"", **wrong: int
) -> bytes:
    """A frame to the guest; `wrong` replaces fields of the IPv4 header."""
    size = 20 + len(options)
    fields = {
        "version": 0x40 + size // 4, "service": 0, "length": size + len(payload), "id": 0,
        "fragment": 0, "ttl": 64, "protocol": protocol, "checksum": 0, "source": _number(source),
        "target": _number(GUEST),
    } | wrong  # fmt: skip
    header = struct.pack("!BBHHHBBHII", *fields.values()) + options
    if "checksum" not in wrong:
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return struct.pack("!6s6sH", GUEST_MAC, PEER_MAC, 0x0800) + header + payload


def ping(payload: bytes, source: str = PEER, *, options: bytes = b"") -> bytes:
    message = struct.pack("!BBHI", 8, 0, 0, 7) + payload
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    return packet(1, message, source, options=options)


def fragment(frame: bytes, start: int, end: int, number: int = 1) -> bytes:
    """Bytes `start` to `end` of what is in the frame, as a packet of this number."""
    payload = frame[34:]
    source = str(ipaddress.IPv4Address(frame[26:30]))
    more = 0x2000 * (end < len(payload))
    return packet(frame[23], payload[start:end], source, id=number, fragment=more | start // 8)


def _pseudo(source: int, target: int, protocol: int, length: int) -> bytes:
    return struct.pack("!IIBBH", source, target, 0, protocol, length)


def datagram(source_port: int, port: int, data: bytes) -> bytes:
    head = struct.pack("!HHHH", source_port, port, 8 + len(data), 0)
    check = checksum(_pseudo(_number(PEER), _number(GUEST), 17, 8 + len(data)) + head + data)
    return packet(17, head[:6] + struct.pack("!H", check) + data)


@dataclass(frozen=True)
class Segment:
    """What the guest sent; its checksums are right."""

    port: int  # of the peer
    sequence: int
    ack: int
    flags: int
    window: int
    options: bytes
    data: bytes

    @classmethod
    def parse(cls, frame: bytes) -> Segment:
        assert len(frame) <= 1514 and frame[6:14] == GUEST_MAC + b"\x08\x00"
        header, payload = frame[14:34], frame[34:]
        version, _, length, _, _, _, protocol, _, source, target = struct.unpack(
            "!BBHHHBBHII", header
        )
        assert (version, length, protocol) == (0x45, len(frame) - 14, 6)
        assert checksum(header) == 0 and source == _number(GUEST)
        assert checksum(_pseudo(source, target, 6, len(payload)) + payload) == 0
        _, port, sequence, ack, words, flags, window = struct.unpack("!HHIIBBH", payload[:16])
        start = (words >> 4) * 4
        return cls(port, sequence, ack, flags, window, payload[20:start], payload[start:])


def segments(frames: Sequence[bytes]) -> list[Segment]:
    return [Segment.parse(frame) for frame in frames if frame[12:14] == b"\x08\x00"]


def ends(segment: Segment) -> int:
    """The sequence number after it."""
    return segment.sequence + len(segment.data) + bool(segment.flags & (SYN | FIN)) & 0xFFFFFFFF


@dataclass
class Client:
    """One TCP connection's other end: `sequence` of what it sends next, `ack` it has received."""

    service: int = 7
    port: int = 4000
    sequence: int = 0xFFFFF000
    ack: int = 0
    address: str = PEER

    def segment(
        self, flags: int = ACK, data: bytes = b"", *, window: int = 0xFFFF, options: bytes = b"",
        shift: int = 0, ack_shift: int = 0,
    ) -> bytes:  # fmt: skip
        """At `shift` from where it belongs; the client goes on behind it unless shifted."""
        words = (20 + len(options)) // 4 << 4
        head = struct.pack(
            "!HHIIBBHHH", self.port, self.service, self.sequence + shift & 0xFFFFFFFF,
            self.ack + ack_shift & 0xFFFFFFFF, words, flags, window, 0, 0,
        )  # fmt: skip
        whole = head + options + data
        check = checksum(_pseudo(_number(self.address), _number(GUEST), 6, len(whole)) + whole)
        if not shift:
            self.sequence += len(data) + bool(flags & (SYN | FIN)) & 0xFFFFFFFF
            self.sequence &= 0xFFFFFFFF
        return packet(6, whole[:16] + struct.pack("!H", check) + whole[18:], self.address)

    def open(self, window: int = 0xFFFF) -> Script:
        """To be called with `yield from`."""
        (answer,) = segments((yield [self.segment(SYN, options=b"\x02\x04\x05\xb4")]))
        assert answer.flags == SYN | ACK and answer.ack == self.sequence
        assert answer.options == b"\x02\x04\x05\xb4" and answer.window == 0xFFFF
        self.ack = ends(answer)
        yield [self.segment(window=window)]

    def receive(self, frames: Sequence[bytes]) -> bytes:
        """The data of segments that come without gaps; acknowledged with what is sent next."""
        data = b""
        for segment in segments(frames):
            assert segment.port == self.port and segment.sequence == self.ack
            data += segment.data
            self.ack = ends(segment)
        return data

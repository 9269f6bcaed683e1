"""An uplink through passt: the host's own sockets stand for the network.

passt runs as a child at the other end of a stream socket, on which each frame follows its length
(32 bits, big-endian). It leaves when that socket closes, so nothing is left of it when the switch
dies. It speaks to one guest: whoever sent last is taken for it, and it answers ARP for every
address but the guest's. So it gets to see only what the guest's IPv4 address sends, and of ARP
only questions for the gateway. Linux only, as passt is.

The passt of Debian 12 answers the SYN,ACK of a guest only when there is data to send, so on
connections through it the client has to speak first.
"""

from __future__ import annotations

import ipaddress
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import BinaryIO

from vlockstep.errors import HostError, UsageError
from vlockstep.net.nic import MAX_FRAME, MIN_FRAME, Counters

DEFAULT_GUEST = "10.0.2.15/24"
DEFAULT_GATEWAY = "10.0.2.2"
BUFFER = 1 << 20
"""Bytes that wait for passt at most."""
_START_TIMEOUT = 5.0
_LENGTH = struct.Struct(">I")
_CHUNK = 1 << 18
_BROADCAST = b"\xff" * 6
_PROBE_MAC = bytes.fromhex("02766c6b7374")
_ARP, _IPV4 = b"\x08\x06", b"\x08\x00"
_ARP_HEAD = b"\0\1\x08\0\6\4\0\1"
"""Ethernet, IPv4, lengths of their addresses, request."""


@dataclass(frozen=True)
class Forward:
    """A port of the host, on 127.0.0.1, that leads to the guest. `protocol` is tcp or udp."""

    host: int
    guest: int
    protocol: str = "tcp"

    @classmethod
    def parse(cls, text: str) -> Forward:
        """Read `HOSTPORT:GUESTPORT`, with `/udp` or without. Raises `UsageError`."""
        ports, _, protocol = text.partition("/")
        host, _, guest = ports.partition(":")
        wrong = UsageError(f"{text!r} is no forwarding: write HOSTPORT:GUESTPORT, and /udp for UDP")
        if (protocol or "tcp") not in ("tcp", "udp") or text.endswith("/"):
            raise wrong
        if not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in (host, guest)):
            raise wrong
        if not all(0 < int(part) < 1 << 16 for part in (host, guest)):
            raise UsageError(f"{text!r}: ports are from 1 to 65535")
        return cls(int(host), int(guest), protocol or "tcp")


@dataclass(frozen=True)
class PasstNetwork:
    """The guest's address with its network, and what is to be its gateway there."""

    guest: IPv4Interface
    gateway: IPv4Address
    forwards: tuple[Forward, ...]

    @classmethod
    def parse(cls, guest: str, gateway: str, forwards: Sequence[str]) -> PasstNetwork:
        """From `ADDR/LEN`, `ADDR` and what `Forward` reads. Raises `UsageError`."""
        try:
            interface = ipaddress.IPv4Interface(guest)
        except ValueError as error:
            raise UsageError(f"the guest's address: {error}", key=("guest-ip",)) from error
        try:
            router = ipaddress.IPv4Address(gateway)
        except ValueError as error:
            raise UsageError(f"the gateway: {error}", key=("gateway",)) from error
        if router not in interface.network or router == interface.ip:
            raise UsageError(
                f"the gateway {router} must be another address in the guest's network "
                f"{interface.network}"
            )
        parsed = tuple(map(Forward.parse, forwards))
        taken = [(forward.protocol, forward.host) for forward in parsed]
        for protocol, port in taken:
            if taken.count((protocol, port)) > 1:
                raise UsageError(f"{protocol} port {port} of the host is forwarded twice")
        return cls(interface, router, parsed)

    def command(self, descriptor: int) -> list[str]:
        """passt in the foreground, on this socket."""
        options = ["--foreground", "--quiet", "--stderr", "--fd", str(descriptor), "--ipv4-only"]
        options += ["--address", str(self.guest.ip), "--netmask", str(self.guest.network.prefixlen)]
        options += ["--gateway", str(self.gateway), "--dns", "none"]
        options += ["--search", "none", "--no-dhcp", "--no-map-gw"]
        for option, protocol in (("--tcp-ports", "tcp"), ("--udp-ports", "udp")):
            ports = [
                f"127.0.0.1/{f.host}:{f.guest}" for f in self.forwards if f.protocol == protocol
            ]
            for port in ports or ["none"]:
                options += [option, port]
        return ["passt", *options]


class Passt:
    """A `Nic` at which passt is. Raises `HostError` if it does not start."""

    def __init__(self, network: PasstNetwork) -> None:
        self.counters = Counters()
        self._network = network
        self._guest = network.guest.ip.packed
        self._gateway = network.gateway.packed
        self._frames: deque[bytes] = deque()
        self._received = bytearray()
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._reason = ""
        self._lost = False
        self._errors: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115
        self._socket, other = socket.socketpair()
        with other:
            self._process = self._spawn(other)
        self._socket.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._socket, select.EPOLLIN)
        try:
            self._wait_ready()
        except BaseException:
            self.close()
            raise

    def descriptors(self) -> tuple[int, ...]:
        return (self._epoll.fileno(),)

    def waiting(self) -> bool:
        if not self._frames and not self._lost:
            self._flush()
            self._fill()
        return bool(self._frames)

    def read(self, limit: int) -> bytes | None:
        while self.waiting():
            frame = self._frames.popleft()
            if MIN_FRAME <= len(frame) <= limit:
                self.counters.received += 1
                self.counters.received_bytes += len(frame)
                return frame
            self.counters.receive_dropped += 1
        return None

    def write(self, frame: bytes) -> None:
        """What is not from the guest's address is not for passt, and neither sent nor dropped."""
        if not MIN_FRAME <= len(frame) <= MAX_FRAME or self._lost:
            self.counters.send_dropped += 1
            return
        if not self._is_for_passt(frame):
            return
        if self._pending_bytes + _LENGTH.size + len(frame) > BUFFER:
            self.counters.send_dropped += 1
            return
        self._put(frame)
        self.counters.sent += 1
        self.counters.sent_bytes += len(frame)

    def connected(self) -> bool:
        return not self._lost

    def close(self) -> None:
        """passt leaves by itself when the socket is closed."""
        self._lost = True
        self._epoll.close()
        self._socket.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def introduce(self, mac: bytes) -> None:
        """Tell passt the guest's MAC address: otherwise the guest could not be reached before it
        has sent something. A gratuitous ARP request, which has no answer."""
        if not self._lost:
            self._put(_question(mac, self._guest, self._guest))

    def explain(self) -> str:
        """Why it was lost."""
        return self._reason

    # The child

    def _spawn(self, other: socket.socket) -> subprocess.Popen[bytes]:
        if shutil.which("passt") is None:
            self._socket.close()
            raise HostError("there is no program passt: install the package `passt`")
        try:
            return subprocess.Popen(
                self._network.command(other.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=[other.fileno()],
                start_new_session=True,  # Ctrl-C is for the switch alone
            )
        except OSError as error:
            self._socket.close()
            raise HostError(f"cannot start passt: {error.strerror}") from error

    def _wait_ready(self) -> None:
        """Until it answers a question for the gateway, which it does only when all is set up."""
        self._put(_question(_PROBE_MAC, bytes(4), self._gateway))
        deadline = time.monotonic() + _START_TIMEOUT
        while not self.waiting():
            left = deadline - time.monotonic()
            if self._lost or left <= 0:
                raise HostError(f"passt did not start: {self._reason or 'it does not answer'}")
            self._epoll.poll(left)
        self._frames.clear()

    def _lose(self) -> None:
        """It is gone, or says what cannot be."""
        if self._lost:
            return
        self._lost = True
        self._epoll.unregister(self._socket)
        self._socket.close()
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read(1 << 16).decode(errors="replace").splitlines()
        told = [line for line in lines if "syslog" not in line and "run as root" not in line]
        self._reason = told[-1].strip() if told else f"passt ended with status {status}"

    # The stream

    def _is_for_passt(self, frame: bytes) -> bool:
        kind = frame[12:14]
        if kind == _IPV4:
            return frame[26:30] == self._guest
        return kind == _ARP and frame[28:32] == self._guest and frame[38:42] == self._gateway

    def _put(self, frame: bytes) -> None:
        self._pending.append(_LENGTH.pack(len(frame)) + frame)
        self._pending_bytes += _LENGTH.size + len(frame)
        self._flush()

    def _flush(self) -> None:
        """Frame by frame: a UNIX socket takes all of one or nothing, and passt (Debian 12's) loses
        what comes with one that it finds in two pieces."""
        if not self._pending or self._lost:
            return
        try:
            while self._pending:
                sent = self._socket.send(self._pending[0])
                self._pending_bytes -= sent
                rest = self._pending.popleft()[sent:]
                if rest:
                    self._pending.appendleft(rest)
        except BlockingIOError:
            pass
        except OSError:
            self._pending.clear()  # reading tells what has happened
            self._pending_bytes = 0
            return
        events = select.EPOLLIN | (select.EPOLLOUT if self._pending else 0)
        self._epoll.modify(self._socket, events)

    def _fill(self) -> None:
        """Frames from what has arrived."""
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        received = self._received
        received += data
        at = 0
        while len(received) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(received, at)
            if size > MAX_FRAME:
                self._lose()
                return
            end = at + _LENGTH.size + size
            if end > len(received):
                break
            self._frames.append(bytes(received[at + _LENGTH.size : end]))
            at = end
        del received[:at]


def _question(mac: bytes, sender: bytes, target: bytes) -> bytes:
    """An ARP request."""
    return _BROADCAST + mac + _ARP + _ARP_HEAD + mac + sender + bytes(6) + target

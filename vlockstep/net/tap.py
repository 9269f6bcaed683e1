"""A NIC on a tap device of the host (Linux)."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import sys
import time

from vlockstep.errors import HostError, UsageError
from vlockstep.net.nic import MAX_FRAME, MIN_FRAME, Counters

_DEVICE = "/dev/net/tun"
# Linux, include/uapi/linux/if_tun.h, sockios.h and if.h
_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_SIOCGIFFLAGS = 0x8913
_SIOCGIFMTU = 0x8921
_IFF_UP = 0x0001
_IFF_RUNNING = 0x0040
_REQUEST = "16sH22x"
_NUMBER_REQUEST = "16si20x"
_NAME_SIZE = 16
_CARRIER = 1.0
_LOOK = 0.001
"""Seconds the kernel may take to notice that somebody has attached to a device, and between two
looks."""


class Tap:
    """A `Nic` on the existing tap device `interface`, which is up and that nobody else holds."""

    def __init__(self, interface: str) -> None:
        if not sys.platform.startswith("linux"):
            raise UsageError("tap devices exist on Linux only; use switch:ENDPOINT")
        self._name = os.fsencode(interface)
        if not 0 < len(self._name) < _NAME_SIZE or "\0" in interface:
            raise UsageError(f"{interface!r} is no name of a network device")
        self.counters = Counters()
        self._next: bytes | None = None
        self._fd = -1
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._attach(interface)
        except BaseException:
            self.close()
            raise

    def _attach(self, interface: str) -> None:
        if self._flags() is None:  # opening it would make a new one
            raise HostError(
                f"there is no network device {interface}; make one with: "
                f"ip tuntap add {interface} mode tap && ip link set {interface} up"
            )
        try:
            self._fd = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(
                f"cannot open {_DEVICE}: {error.strerror}; tap devices need it"
            ) from error
        try:
            request = struct.pack(_REQUEST, self._name, _IFF_TAP | _IFF_NO_PI)
            fcntl.ioctl(self._fd, _TUNSETIFF, request)
        except OSError as error:
            why = {
                errno.EBUSY: "another process holds it; end that, or make another tap device",
                errno.EPERM: "it belongs to another user; make one of your own with: "
                "ip tuntap add NAME mode tap user USER",
                errno.EINVAL: "it is no tap device with a single queue; "
                "make one with: ip tuntap add NAME mode tap",
            }.get(error.errno or 0, error.strerror)
            raise HostError(f"cannot attach to {interface}: {why}") from error
        self._await_carrier()

    def _await_carrier(self) -> None:
        """Until the kernel can send here, if the device is up: it drops frames before."""
        deadline = time.monotonic() + _CARRIER
        while self._up() and not self.connected() and time.monotonic() < deadline:
            time.sleep(_LOOK)

    def descriptors(self) -> tuple[int, ...]:
        return (self._fd,)

    def waiting(self) -> bool:
        if self._next is None:
            self._next = self._receive(MAX_FRAME)
        return self._next is not None

    def read(self, limit: int) -> bytes | None:
        while True:
            frame, self._next = self._next, None
            if frame is None:
                frame = self._receive(limit + 1)
                if frame is None:
                    return None
            if MIN_FRAME <= len(frame) <= limit:
                self.counters.received += 1
                self.counters.received_bytes += len(frame)
                return frame
            self.counters.receive_dropped += 1

    def _receive(self, size: int) -> bytes | None:
        try:
            return os.read(self._fd, size)
        except OSError:  # nothing there, or the device is down
            return None

    def write(self, frame: bytes) -> None:
        try:
            os.write(self._fd, frame)
        except OSError:
            self.counters.send_dropped += 1
        else:
            self.counters.sent += 1
            self.counters.sent_bytes += len(frame)

    def connected(self) -> bool:
        return bool((self._flags() or 0) & _IFF_RUNNING)

    def disconnection(self) -> str:
        """Why it is not connected, and what to do."""
        interface = os.fsdecode(self._name)
        if self._flags() is None:
            return f"there is no device {interface} any more; make it and start again"
        if not self._up():
            return f"the device is down; ip link set {interface} up"
        return f"the device has no carrier; ip link set {interface} carrier on"

    @property
    def mtu(self) -> int:
        """Raises `HostError` if the device is not there any more."""
        try:
            request = struct.pack(_NUMBER_REQUEST, self._name, 0)
            answer = fcntl.ioctl(self._control, _SIOCGIFMTU, request)
        except OSError as error:
            name = os.fsdecode(self._name)
            raise HostError(f"cannot read the MTU of {name}: {error.strerror}") from error
        mtu: int = struct.unpack(_NUMBER_REQUEST, answer)[1]
        return mtu

    def close(self) -> None:
        self._control.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _up(self) -> bool:
        return bool((self._flags() or 0) & _IFF_UP)

    def _flags(self) -> int | None:
        """Of the device; None if there is none of that name."""
        try:
            answer = fcntl.ioctl(self._control, _SIOCGIFFLAGS, struct.pack(_REQUEST, self._name, 0))
        except OSError:
            return None
        flags: int = struct.unpack(_REQUEST, answer)[1]
        return flags

"""A NIC on a tap device, in a network namespace of the test's own."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from net.namespace import add_bridge, ip, namespace, until_running

from vlockstep.errors import HostError, UsageError
from vlockstep.host.live import LiveWorld
from vlockstep.net.nic import MAX_FRAME
from vlockstep.net.tap import Tap

TYPE = 0x88B5  # for experiments (IEEE 802)
ALL = b"\xff" * 6
MAC = bytes.fromhex("020000000001")
TIMEOUT = 20.0


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    with namespace():
        yield


def add_silent_tap(name: str = "tap0", *options: object) -> None:
    """One to which the kernel itself sends nothing."""
    ip("tuntap", "add", name, "mode", "tap", *options)
    ip("link", "set", name, "addrgenmode", "none")
    ip("link", "set", name, "mtu", 9000, "up")


@pytest.fixture
def tap() -> Iterator[Tap]:
    add_silent_tap()
    tap = Tap("tap0")
    yield tap
    tap.close()


@pytest.fixture
def kernel(tap: Tap) -> Iterator[socket.socket]:
    """What the host's kernel receives from `tap` of this one type, and sends to it."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(TYPE)) as kernel:
        kernel.bind(("tap0", TYPE))
        kernel.settimeout(TIMEOUT)
        yield kernel


class World(LiveWorld):
    """Of a guest with a NIC of handle 3. Counts the rounds of its polls."""

    def __init__(self, tap: Tap) -> None:
        super().__init__(None, nics={3: tap}, pause=self._count)  # type: ignore[arg-type]
        self.rounds = 0

    def _count(self) -> None:
        self.rounds += 1


def frame(payload: bytes) -> bytes:
    return ALL + MAC + struct.pack("!H", TYPE) + payload


def test_the_mtu_is_the_devices(tap: Tap) -> None:
    assert tap.mtu == 9000
    ip("link", "set", "tap0", "mtu", 1400)
    assert tap.mtu == 1400
    ip("link", "delete", "tap0")
    with pytest.raises(HostError, match="cannot read the MTU of tap0: No such device"):
        print(tap.mtu)


def test_frames_both_ways(tap: Tap, kernel: socket.socket) -> None:
    sizes = (0, 1, 46, 1500, 9000)
    frames = [frame(os.urandom(size)) for size in sizes]
    assert not tap.waiting() and tap.read(MAX_FRAME) is None
    for sent in frames:
        tap.write(sent)
        assert kernel.recv(MAX_FRAME) == sent
    for sent in frames:
        kernel.send(sent)
    assert World(tap).poll(0, int(TIMEOUT * 1e9)) == 1 << 3
    assert tap.waiting() and tap.waiting()
    assert [tap.read(MAX_FRAME) for _ in frames] == frames
    assert not tap.waiting() and tap.read(MAX_FRAME) is None
    counters = tap.counters
    assert (counters.sent, counters.sent_bytes) == (5, sum(map(len, frames)))
    assert (counters.received, counters.received_bytes) == (5, sum(map(len, frames)))
    assert (counters.send_dropped, counters.receive_dropped) == (0, 0)


@pytest.mark.parametrize("asked", [False, True])
def test_frames_that_are_too_long_are_passed_over(
    tap: Tap, kernel: socket.socket, asked: bool
) -> None:
    fits = frame(bytes(1500))
    for sent in (fits + b"x", frame(bytes(9000)), fits, fits + b"x"):
        kernel.send(sent)
    assert not asked or tap.waiting()
    assert tap.read(1514) == fits
    assert tap.read(1514) is None
    counters = tap.counters
    assert (counters.received, counters.received_bytes, counters.receive_dropped) == (1, 1514, 3)


def test_frames_that_are_too_short_are_dropped_and_counted(tap: Tap) -> None:
    for wrong in (b"", frame(b"")[:13]):
        tap.write(wrong)
    assert (tap.counters.sent, tap.counters.send_dropped) == (0, 2)


def test_connected_is_up_and_running(tap: Tap, kernel: socket.socket) -> None:
    assert tap.connected()
    ip("link", "set", "tap0", "down")
    assert not tap.connected()
    assert tap.disconnection() == "the device is down; ip link set tap0 up"
    tap.write(frame(b"lost"))
    assert tap.read(MAX_FRAME) is None
    assert (tap.counters.sent, tap.counters.send_dropped) == (0, 1)
    with until_running("tap0"):
        ip("link", "set", "tap0", "up")
    assert tap.connected()
    tap.write(frame(b"arrives"))
    kernel.settimeout(TIMEOUT)
    with pytest.raises(OSError, match="Network is down"):  # the socket's one memory of it
        kernel.recv(MAX_FRAME)
    assert kernel.recv(MAX_FRAME) == frame(b"arrives")


def test_no_carrier_is_not_connected(tap: Tap) -> None:
    ip("link", "set", "tap0", "carrier", "off")
    while tap.connected():
        time.sleep(0.001)  # the kernel says so a little later
    assert tap.disconnection() == "the device has no carrier; ip link set tap0 carrier on"
    with until_running("tap0"):
        ip("link", "set", "tap0", "carrier", "on")
    assert tap.connected()


def test_a_device_that_is_down_can_be_attached_to() -> None:
    ip("tuntap", "add", "tap1", "mode", "tap")
    tap = Tap("tap1")
    assert not tap.connected()
    tap.close()


def test_a_deleted_device_drops_and_keeps_nobody_busy(tap: Tap) -> None:
    world = World(tap)
    ip("link", "delete", "tap0")
    assert not tap.connected()
    assert "no device tap0 any more" in tap.disconnection()
    tap.write(frame(b"lost"))
    assert not tap.waiting() and tap.read(MAX_FRAME) is None
    assert (tap.counters.sent, tap.counters.send_dropped) == (0, 1)
    assert world.poll(0, 300_000_000) == 0
    assert world.rounds < 10


def test_a_device_deleted_while_the_guest_waits(tap: Tap) -> None:
    world = World(tap)
    first = subprocess.Popen(["ip", "link", "delete", "tap0"])
    assert world.poll(0, 300_000_000) == 0
    assert first.wait(TIMEOUT) == 0
    assert world.poll(1, 1_000_000) == 0
    assert world.rounds < 10


# Opening


def test_what_is_no_tap_device() -> None:
    add_bridge("br0")
    ip("tuntap", "add", "tun0", "mode", "tun")
    for name in ("lo", "br0", "tun0"):
        with pytest.raises(HostError, match=f"attach to {name}: it is no tap .*ip tuntap add"):
            Tap(name)


def test_no_device_is_made() -> None:
    with pytest.raises(HostError, match="no network device tap0; make one with: ip tuntap add tap"):
        Tap("tap0")
    assert [name for _, name in socket.if_nameindex()] == ["lo"]


@pytest.mark.parametrize("name", ["", "x" * 16, "é" * 8, "tap0\0", "\0", "a\0b"])
def test_what_is_no_name(name: str) -> None:
    add_silent_tap()
    with pytest.raises(UsageError, match="is no name of a network device"):
        Tap(name)


@pytest.mark.parametrize("name", ["x" * 15, "tap0 ", "tap%d", "../tap0", "é"])
def test_names_that_nothing_has(name: str) -> None:
    add_silent_tap()
    with pytest.raises(HostError, match="there is no network device"):
        Tap(name)


def test_a_device_of_the_longest_name() -> None:
    add_silent_tap("x" * 15)
    Tap("x" * 15).close()


def test_a_busy_device(tap: Tap) -> None:
    for _ in range(2):
        with pytest.raises(HostError, match="cannot attach to tap0: another process holds it"):
            Tap("tap0")
    tap.close()
    tap.close()
    Tap("tap0").close()


AS_ANOTHER = """
from vlockstep.errors import HostError
from vlockstep.net.tap import Tap
try:
    Tap("tap0").close()
except HostError as error:
    print(error)
"""


@pytest.mark.external("setpriv")
@pytest.mark.parametrize(
    ("owner", "said"),
    [
        (os.geteuid(), ""),
        (65534, "cannot attach to tap0: it belongs to another user; make one of your own"),
    ],
)
def test_a_device_of_a_user(owner: int, said: str) -> None:
    """Not for an administrator."""
    add_silent_tap("tap0", "user", owner)
    done = subprocess.run(
        ["setpriv", "--bounding-set=-net_admin", sys.executable, "-c", AS_ANOTHER],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.stderr == ""
    assert done.stdout.startswith(said) and bool(done.stdout) == bool(said)

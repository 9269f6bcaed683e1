"""The uplink through passt, and its options."""

from __future__ import annotations

import os
import select
import socket
import struct
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
from commands import run_command
from net.switch_tools import MACS, SwitchProcess, frame, port_at, receive, running

from vlockstep.errors import HostError, UsageError
from vlockstep.net.passt import (
    DEFAULT_GATEWAY,
    DEFAULT_GUEST,
    Forward,
    Passt,
    PasstNetwork,
)
from vlockstep.net.port import SwitchPort
from vlockstep.net.portmessages import parse_mac
from vlockstep.testing.process import TIMEOUT

A, B = MACS[:2]
GUEST, GATEWAY = socket.inet_aton("10.0.2.15"), socket.inet_aton("10.0.2.2")
NETWORK = PasstNetwork.parse(DEFAULT_GUEST, DEFAULT_GATEWAY, [])

passt = pytest.mark.external("passt")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(type=kind) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def arp(mac: str, operation: int, sender: bytes, target_mac: bytes, target: bytes) -> bytes:
    own = parse_mac(mac)
    head = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
    return b"\xff" * 6 + own + b"\x08\x06" + head + own + sender + target_mac + target


def child_of(process: SwitchProcess) -> int:
    """The process id of passt."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def wait_gone(descriptor: int) -> None:
    """Until the process behind this pidfd has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(TIMEOUT * 1000)
    os.close(descriptor)


# Options


@pytest.mark.parametrize(
    ("text", "forward"),
    [
        ("8080:80", Forward(8080, 80)),
        ("1:65535/udp", Forward(1, 65535, "udp")),
        ("53:53/tcp", Forward(53, 53)),
    ],
)
def test_forwardings(text: str, forward: Forward) -> None:
    assert Forward.parse(text) == forward


@pytest.mark.parametrize(
    "text",
    ["", "80", "80:", ":80", "0:80", "80:65536", "80:80/sctp", "80:80/", "-1:80", "8 0:80",
     "80:80:80", "\u0661:80", "127.0.0.1/80:80", "999999:80"],
)  # fmt: skip
def test_forwardings_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        Forward.parse(text)


@pytest.mark.parametrize(
    ("guest", "gateway", "forwards", "says"),
    [
        ("10.0.2.15/33", "10.0.2.2", [], "the guest's address: "),
        ("guest", "10.0.2.2", [], "the guest's address: "),
        ("10.0.2.15/24", "gateway", [], "the gateway: "),
        ("10.0.2.15/24", "10.0.3.2", [], "another address in"),
        ("10.0.2.15/24", "10.0.2.15", [], "another address in"),
        ("10.0.2.15/24", "10.0.2.2", ["80:1", "80:2"], "tcp port 80 .*twice"),
    ],
)
def test_networks_that_are_none(guest: str, gateway: str, forwards: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        PasstNetwork.parse(guest, gateway, forwards)


def test_only_this_machine_may_connect() -> None:
    network = PasstNetwork.parse("10.9.0.5/16", "10.9.0.1", ["8080:80", "53:5353/udp"])
    line = " ".join(network.command(7))
    assert "--tcp-ports 127.0.0.1/8080:80 --udp-ports 127.0.0.1/53:5353" in line
    assert "--address 10.9.0.5 --netmask 16 --gateway 10.9.0.1" in line
    assert "--tcp-ports none --udp-ports none" in " ".join(NETWORK.command(7))


def test_without_passt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="install the package `passt`"):
        Passt(NETWORK)


@pytest.mark.parametrize("script", ["echo no luck >&2; exit 3", "exec cat >&2"])
def test_a_passt_that_does_not_start(
    script: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "passt"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(HostError, match=r"passt did not start: (no luck|passt ended)"):
        Passt(NETWORK)


# passt itself


def next_frame(nic: Passt) -> bytes:
    poll = select.poll()
    poll.register(nic.descriptors()[0], select.POLLIN)
    while not nic.waiting():
        assert poll.poll(TIMEOUT * 1000)
    found = nic.read(1514)
    assert found is not None
    return found


@passt
def test_a_segment_may_be_as_long_as_the_guest_takes() -> None:
    """What passt offers a guest of any MTU in the SYN of a connection to it."""
    port = free_port()
    nic = Passt(PasstNetwork.parse(DEFAULT_GUEST, DEFAULT_GATEWAY, [f"{port}:80"]))
    try:
        nic.introduce(parse_mac(A))
        with socket.create_connection(("127.0.0.1", port), TIMEOUT):
            while (segment := next_frame(nic))[12:14] != b"\x08\x00":
                pass
    finally:
        nic.close()
    options = segment[54:]
    assert options[:2] == b"\2\4" and int.from_bytes(options[2:4], "big") >= 9000 - 40


@passt
def test_passt_answers_for_the_gateway() -> None:
    nic = Passt(NETWORK)
    try:
        nic.write(arp(B, 1, socket.inet_aton("10.0.2.16"), bytes(6), GATEWAY))  # another guest
        nic.write(arp(A, 1, GUEST, bytes(6), socket.inet_aton("10.0.2.16")))  # not for passt
        nic.write(frame(A, None))
        assert nic.counters.sent == nic.counters.send_dropped == 0
        nic.write(frame(A, None)[:13])
        assert nic.counters.send_dropped == 1
        nic.write(arp(A, 1, GUEST, bytes(6), GATEWAY))
        assert nic.counters.sent == 1
        answer = next_frame(nic)
        assert (answer[:6], answer[20:22], answer[28:32]) == (parse_mac(A), b"\0\2", GATEWAY)
        assert nic.connected()
    finally:
        nic.close()
    nic.write(arp(A, 1, GUEST, bytes(6), GATEWAY))
    assert (nic.read(1514), nic.waiting(), nic.connected()) == (None, False, False)


@passt
def test_a_passt_that_does_not_read() -> None:
    """What does not fit is dropped; the rest arrives once it reads again."""
    nic = Passt(NETWORK)
    pid = nic._process.pid
    try:
        os.kill(pid, 19)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        question = arp(A, 1, GUEST, bytes(6), GATEWAY)
        while not nic.counters.send_dropped:
            nic.write(question.ljust(60_000, b"\0"))
        sent = nic.counters.sent
        nic.write(question)
        os.kill(pid, 18)
        poll = select.poll()
        poll.register(nic.descriptors()[0], select.POLLIN)
        answers = 0
        while answers < sent:
            if nic.read(65535) is not None:
                answers += 1
            else:
                assert poll.poll(TIMEOUT * 1000), f"{answers} of {sent}"
    finally:
        nic.close()


@passt
@pytest.mark.parametrize("speaks_first", [True, False])
def test_a_connection_reaches_the_guest(speaks_first: bool) -> None:
    """Whether or not the guest has sent anything before, passt knows its MAC address."""
    host = free_port()
    with running("--uplink", "passt", "--forward", f"{host}:80") as switch:
        endpoint = switch.wait_endpoint()
        switch.wait_event("uplink", name="passt")
        with port_at(endpoint, A) as guest, port_at(endpoint, B) as other:
            other.write(frame(B, None))
            if speaks_first:
                guest.write(arp(A, 1, GUEST, bytes(6), GATEWAY))
                while receive(guest)[12:14] != b"\x08\x06":
                    pass
            with socket.create_connection(("127.0.0.1", host)) as client:
                client.settimeout(TIMEOUT)
                client.send(b"hello")
                _serve(guest)
                assert client.recv(100) == b"from the guest"


@passt
def test_a_datagram_reaches_the_guest() -> None:
    host = free_port(socket.SOCK_DGRAM)
    with running("--uplink", "passt", "--forward", f"{host}:7/udp") as switch:
        endpoint = switch.wait_endpoint()
        switch.wait_event("uplink", name="passt")
        with port_at(endpoint, A) as guest, socket.socket(type=socket.SOCK_DGRAM) as client:
            client.sendto(b"ping", ("127.0.0.1", host))
            while (packet := receive(guest))[23] != 17:
                pass
            assert packet[:6] == parse_mac(A)
            assert packet[30:34] == GUEST
            assert packet[36:38] == (7).to_bytes(2)
            assert packet[42:46] == b"ping"


@passt
def test_passt_dies() -> None:
    with running("--uplink", "passt") as switch:
        endpoint = switch.wait_endpoint()
        switch.wait_event("uplink", name="passt")
        with port_at(endpoint, A) as a, port_at(endpoint, B) as b:
            os.kill(child_of(switch), SIGKILL)
            assert "status -9" in switch.wait_event("uplink-lost", name="passt")["reason"]
            a.write(frame(A, B))
            assert receive(b) == frame(A, B)


@passt
@pytest.mark.parametrize("number", [SIGKILL, SIGTERM])
def test_nothing_is_left_when_the_switch_ends(number: int) -> None:
    with running("--uplink", "passt") as switch:
        switch.wait_endpoint()
        child = os.pidfd_open(child_of(switch))
        switch.signal(SIGKILL if number == SIGKILL else SIGTERM)
        assert switch.wait_exit() == (-9 if number == SIGKILL else 0)
        wait_gone(child)


@passt
def test_a_port_of_the_host_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_command("switch", "--uplink", "passt", "--forward", f"{port}:80")
    assert done.returncode == 1
    assert "passt did not start" in done.stderr
    assert str(port) in done.stderr


def _serve(guest: SwitchPort) -> None:
    """A TCP server for one connection, to which it says one thing."""
    while not _tcp_flags(syn := receive(guest)) & 2:
        pass
    assert syn[:6] == parse_mac(A)
    assert (syn[26:30], syn[30:34], syn[36:38]) == (GATEWAY, GUEST, (80).to_bytes(2))
    (theirs,) = struct.unpack_from(">I", syn, 38)
    guest.write(_segment(syn, 1000, theirs + 1, 0x12))
    while not (said := receive(guest)).endswith(b"hello") or not _tcp_flags(said) & 0x10:
        pass
    guest.write(_segment(syn, 1001, theirs + 6, 0x18, b"from the guest"))


def _tcp_flags(data: bytes) -> int:
    return data[47] if data[12:14] == b"\x08\0" and data[23] == 6 else 0


def _segment(to: bytes, sequence: int, acknowledged: int, flags: int, data: bytes = b"") -> bytes:
    """A TCP segment that answers the frame `to`."""
    head = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(data), 0, 0, 64, 6, 0)
    head += to[30:34] + to[26:30]
    head = head[:10] + _sum(head) + head[12:]
    tcp = to[36:38] + to[34:36] + struct.pack(
        ">IIBBHHH", sequence, acknowledged, 0x50, flags, 8192, 0, 0
    ) + data  # fmt: skip
    pseudo = to[30:34] + to[26:30] + struct.pack(">HH", 6, len(tcp))
    tcp = tcp[:16] + _sum(pseudo + tcp) + tcp[18:]
    return to[6:12] + to[:6] + b"\x08\x00" + head + tcp


def _sum(data: bytes) -> bytes:
    """The Internet checksum."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2)

"""Large frames and large blocks, all the way between a guest and what is outside."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from commands import run_command
from net.mirror import BLOCK, JUMBO, LAST, mirror
from net.namespace import PATIENT, ip, namespace, until_running
from net.switch_tools import BROADCAST, MACS, frame, port_at, receive, running

from vlockstep.net.port import SwitchPort
from vlockstep.replay.logfile import LogReader
from vlockstep.testing import Pair
from vlockstep.testing.process import TIMEOUT, command, environment

GUEST, CLIENT = MACS[:2]
TYPE = 0x88B5


def request(payload: bytes) -> bytes:
    return frame(CLIENT, GUEST, payload)


def reply(payload: bytes) -> bytes:
    return frame(GUEST, CLIENT, payload)


def answer(client: SwitchPort) -> bytes:
    """The next frame that is not for all."""
    while (found := receive(client))[:6] == BROADCAST:
        pass
    return found


def mirror_file(directory: Path) -> Path:
    path = directory / "mirror.hvt"
    path.write_bytes(mirror().content)
    return path


def mirrors(directory: Path) -> Pair:
    image, disks = mirror_file(directory), {"disk": 4 * BLOCK}
    return Pair(image, directory=directory / "pair", disks=disks, misses=PATIENT)


def test_a_pair_far_from_its_client(tmp_path: Path) -> None:
    """Over a switch, a trunk and another switch; the primary dies."""
    pair = mirrors(tmp_path)
    disk = ["--block", f"disk={pair.disk_file()}", "--block-sector-size", f"disk={BLOCK}"]
    with running() as near, closing(pair):
        endpoint = near.wait_endpoint()
        with running("--uplink", f"trunk:{endpoint}") as far:
            nic = [f"net=switch:{endpoint}", "--net-mac", f"net={GUEST}"]
            pair.start_primary(*disk, "--net", nic[0] + f",mtu={JUMBO}", *nic[1:])
            pair.start_secondary("--net", *nic)
            for side in ("primary", "secondary"):
                pair.process(side).wait_event("started")
            near.wait_count("port-connected", 2)
            far.wait_event("uplink")
            with port_at(far.wait_endpoint(), CLIENT) as client:
                payload = os.urandom(JUMBO - 1)
                client.write(request(b"1" + payload + b"x"))  # more than the guest takes
                client.write(request(b"2" + payload))
                assert answer(client) == reply(b"2" + payload)
                pair.crash()
                pair.wait_live()
                client.write(request(LAST + payload))
                while (again := answer(client)) == reply(b"2" + payload):
                    pass
                assert again == reply(LAST + payload)
                assert pair.process("secondary").wait_exit() == 0
    assert pair.disk()[:BLOCK] == reply(LAST + payload)[:BLOCK]
    log = pair.log("secondary")
    with closing(LogReader(log)) as reader:
        assert reader.config.blocks["disk"].block_size == BLOCK
        assert reader.config.nets["net"].mtu == JUMBO
    replayed = run_command("replay", log)
    assert "the guest halted with status 0" in replayed.stdout
    shown = run_command("log", "show", log).stdout
    assert f"{4 * BLOCK} bytes in blocks of {BLOCK}" in shown and f"MTU {JUMBO}" in shown


@pytest.mark.external("ip")
def test_the_command_line_of_solo5_on_a_tap_device(tmp_path: Path) -> None:
    """The guest has the MTU of its device."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(2 * BLOCK))
    image = mirror_file(tmp_path)
    options = [
        "--net:net=tap0", f"--net-mac:net={GUEST}", f"--block:disk={disk}",
        f"--block-sector-size:disk={BLOCK}", "--mem=16",
    ]  # fmt: skip
    with namespace():
        add_tap("tap0", JUMBO)
        with until_running("tap0"):
            tender = subprocess.Popen(
                command("hvt", *options, "--", image, "--net:not=ours"),
                env=environment(),
                stderr=subprocess.PIPE,
                text=True,
            )
        payload = os.urandom(JUMBO - 1)
        try:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(TYPE)) as kernel:
                kernel.bind(("tap0", TYPE))
                kernel.settimeout(TIMEOUT)
                kernel.send(request(LAST + payload))
                assert kernel.recv(65536) == reply(LAST + payload)
            assert (tender.communicate(timeout=TIMEOUT)[1], tender.returncode) == ("", 0)
        finally:
            tender.kill()
            tender.communicate()
    assert disk.read_bytes()[:BLOCK] == reply(LAST + payload)[:BLOCK]


@pytest.mark.external("ip")
def test_a_device_must_have_room_for_the_mtu(tmp_path: Path) -> None:
    with namespace(), closing(mirrors(tmp_path)) as pair:
        add_tap("tapa", JUMBO)
        add_tap("tapb", 1500)
        refused = run_command(
            "run", pair.guest, "--net", f"net=tap:tapb,mtu={JUMBO}",
            "--block", f"disk={pair.disk_file()}",
        )  # fmt: skip
        problem = f"an MTU of {JUMBO} is more than the 1500 of its network: raise that"
        assert refused.returncode == 2
        assert f"NIC 'net': {problem}" in refused.stderr
        assert "(--net net=BACKEND,mtu=N)" in refused.stderr
        pair.start_primary("--net", "net=tap:tapa")
        pair.start_secondary("--net", "net=tap:tapb")
        secondary = pair.process("secondary")
        assert secondary.wait_exit() == 2
        assert f"NIC 'net': {problem}" in "\n".join(secondary.text)


def add_tap(name: str, mtu: int) -> None:
    """One to which the kernel itself sends nothing."""
    ip("tuntap", "add", name, "mode", "tap")
    ip("link", "set", name, "addrgenmode", "none")
    ip("link", "set", name, "mtu", mtu, "up")

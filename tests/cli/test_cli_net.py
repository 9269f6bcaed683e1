"""Guests with NICs: what cannot be connected, and recordings of what a network did."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from cli_command import Command, argv, environment, run_process
from net.namespace import GUEST, HOST, add_bridge, add_tap, namespace
from net.switch_tools import frame, port_at, receive, running
from support import Elf, abi_note, manifest_note

from vlockstep.machine.image import DeviceKind
from vlockstep.testing import Pair
from vlockstep.testing.process import TIMEOUT
from vlockstep.wire import keys as key_files
from vlockstep.wire.keys import Party

TAP = "net=tap:no-such-tap"
MAC, OTHER_MAC = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
NO_DEVICE = "there is no network device no-such-tap; make one with: ip tuntap add no-such-tap"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """An image with two NICs and a disk."""
    devices = [(b"a", DeviceKind.NET), (b"disk", DeviceKind.BLOCK), (b"b", DeviceKind.NET)]
    path = tmp_path / "two.hvt"
    path.write_bytes(Elf(notes=[abi_note(), manifest_note(devices)]).build())
    return path


@pytest.mark.parametrize("command", [["run"], ["record", "-o", "x.vlog"]], ids=lambda c: c[0])
@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ([], 2, "needs the device 'net': give it a NIC of that name (--net net=BACKEND)"),
        (["--net", "net"], 2, "'net' is no network: write --net NAME=tap:IFACE"),
        (["--net", "net=bridge:br0"], 2, "is no network: write --net NAME=tap:IFACE or --net NAME"),
        (["--net", "net=tap:x,pcap="], 2, "names no file for the capture"),
        (["--net", "lan=tap:x"], 2, "declares no NIC 'lan' (declared: net)"),
        (
            ["--net", TAP, "--net", TAP],
            2,
            "the NIC 'net' is given twice: drop one (--net net=BACKEND)",
        ),
        (["--net-mac", f"net={MAC}"], 2, "--net-mac names the NIC 'net', which no --net connects"),
        (["--net", TAP, "--net-mac", f"lan={MAC}"], 2, "the NIC 'lan', which no --net connects"),
        (
            ["--net", TAP, "--net-mac", "net=02:00"],
            2,
            "write it as 02:00:00:00:00:01 (--net-mac net=MAC)",
        ),
        (["--net", TAP, "--net-mac", MAC], 2, "write --net-mac NAME=MAC"),
        (["--net", TAP, "--net-mac", "net=01:00:5e:00:00:01"], 2, "addresses a group"),
        (["--net", TAP], 1, f"NIC 'net': {NO_DEVICE}"),
        (["--net", TAP, "--net-mac", f"net={MAC}"], 1, NO_DEVICE),
        (["--net", f"{TAP},pcap=x.pcap"], 1, NO_DEVICE),
        (["--net", "net=tap:lo"], 1, "NIC 'net': cannot attach to lo: it is no tap device"),
        (["--net", "net=tap:" + "x" * 16], 2, "is no name of a network device"),
        (["--net", "net=switch:7800"], 2, "'7800' is no address: write tcp://HOST:PORT or ipc://"),
        (["--net", "net=switch:tcp://[x"], 2, "'tcp://[x' is no address"),
        (["--net", "net=switch:tcp://192.0.2.1:7800"], 2, "and there are no keys: make some, and"),
        (["--net", "net=switch:tcp://*:7800"], 2, "NIC 'net': tcp://*:7800 is not an address of"),
        (["--block", "net=disk.img"], 2, "no block device (it is another kind of device) 'net'"),
    ],
)
def test_what_cannot_be_connected(
    vlockstep: Command,
    disk: Path,
    command: list[str],
    options: list[str],
    status: int,
    message: str,
) -> None:
    result = vlockstep(*command, "echo", *options)
    assert message in result.err
    assert (result.status, result.out) == (status, "")
    assert "Traceback" not in result.err
    assert [path.name for path in disk.parent.iterdir()] == ["disk.img"], "nothing was written"


@pytest.mark.parametrize("option", [b"net=tap:caf\xe9", b"caf\xe9=tap:x", b"net=switch:ipc://\xe9"])
def test_an_option_that_is_not_utf8(option: bytes) -> None:
    result = run_process("run", "echo", "--net", os.fsdecode(option))
    assert "Traceback" not in result.err
    assert result.status in (1, 2)


def test_a_switch_that_does_not_answer(vlockstep: Command, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/none"
    result = vlockstep("run", "echo", "--net", f"net=switch:{endpoint}")
    assert (result.status, result.out) == (1, "")
    assert (
        f"no switch answers at {endpoint} within 5 s; start `vlockstep switch` there" in result.err
    )


def test_two_nics(vlockstep: Command, two: Path, disk: Path) -> None:
    both = ["--net", "a=tap:no-such-tap", "--net", "b=tap:no-such-tap", "--block", f"disk={disk}"]
    same = ["--net-mac", f"a={MAC}", "--net-mac", f"b={MAC.upper()}"]
    for options, status, message in (
        ([*both, *same], 2, f"the NICs 'a' and 'b' have one MAC, {MAC}"),
        ([*both, *same[:2]], 1, f"NIC 'a': {NO_DEVICE}"),
        (both[2:], 1, f"NIC 'b': {NO_DEVICE}"),
        (["--net", "disk=tap:x"], 2, "declares no NIC 'disk' (declared: a, b)"),
        (both[4:], 2, "needs the device 'a': give it a NIC of that name (--net a=BACKEND)"),
    ):
        result = vlockstep("run", two, *options)
        assert message in result.err
        assert (result.status, result.out) == (status, "")


def test_one_tap_for_two_nics(two: Path, disk: Path) -> None:
    with namespace():
        add_tap("tap0")
        nets = ["--net", "a=tap:tap0", "--net", "b=tap:tap0"]
        result = run_process("run", two, *nets, "--block", f"disk={disk}")
    assert result.status == 1
    assert "NIC 'b': cannot attach to tap0: another process holds it" in result.err


def test_a_capture_that_cannot_be_written(tmp_path: Path) -> None:
    with namespace():
        add_tap("tap0")
        result = run_process("run", "echo", "--net", f"net=tap:tap0,pcap={tmp_path}/none/x")
    assert result.status == 1
    assert "NIC 'net': cannot write the capture" in result.err
    assert "Traceback" not in result.err


def test_a_secondary_with_another_mac(tmp_path: Path) -> None:
    """The error says what to give both."""
    with namespace():
        add_tap("tap0")
        add_tap("tap1")
        pair = Pair(
            "echo",
            [f"--ipv4={GUEST}/24"],
            directory=tmp_path,
            primary_options=["--net", "net=tap:tap0"],
            secondary_options=["--net", "net=tap:tap1", "--net-mac", f"net={MAC}"],
        )
        try:
            pair.start_primary()
            pair.start_secondary()
            secondary = pair.process("secondary")
            assert secondary.wait_exit() == 2
        finally:
            pair.close()
    text = "\n".join(secondary.text)
    assert "the NIC 'net' is not the primary's" in text and "(--net-mac net=MAC)" in text
    assert MAC in text and "Traceback" not in text


@pytest.mark.external("ping")
def test_a_recording_needs_no_network_to_be_replayed(tmp_path: Path, vlockstep: Command) -> None:
    log, capture = tmp_path / "x.vlog", tmp_path / "x.pcap"
    with namespace():
        add_bridge()
        add_tap("tap0", "br0")
        arguments = ["record", "echo", "-o", log, "--mem", 64, "--net"]
        arguments += [f"net=tap:tap0,pcap={capture}", "--net-mac", f"net={MAC}", "--"]
        recorder = subprocess.Popen(
            argv(*arguments, f"--ipv4={GUEST}/24"),
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        try:
            ping = ["ping", "-q", "-c", "3", "-i", "0.2", "-w", "20", GUEST]
            assert subprocess.run(ping, stdout=subprocess.DEVNULL).returncode == 0
            with (
                socket.create_connection((GUEST, 7), 20, (HOST, 0)) as connection,
                connection.makefile("rb") as answers,
            ):
                for size in (1, 1460, 30000):
                    data = os.urandom(size)
                    connection.sendall(data)
                    assert answers.read(size) == data
                connection.shutdown(socket.SHUT_WR)
                assert answers.read() == b""
            neighbours = subprocess.run(["ip", "neigh"], capture_output=True, text=True).stdout
            assert MAC in neighbours
            recorder.send_signal(signal.SIGINT)
            _, err = recorder.communicate(timeout=20)
        finally:
            recorder.kill()
            recorder.wait()
    assert recorder.returncode == 130
    assert "the guest had not ended" in err and "Traceback" not in err
    assert capture.stat().st_size > 2 * 31461, "both directions"

    result = vlockstep("replay", log, "--json")
    assert (result.status, result.err) == (0, "")
    end = json.loads(result.out)
    assert (end["end"], end["entries"] > 20) == ("log", True)
    lines = vlockstep("log", "show", log, "--json").out.splitlines()
    kinds = [json.loads(line).get("kind") for line in lines]
    assert kinds.count("net_read") > 20 and kinds.count("net_write") > 20


@pytest.mark.parametrize("command", [["run"], ["record", "-o", "x.vlog"]], ids=lambda c: c[0])
def test_a_switch_with_keys(tmp_path: Path, command: list[str]) -> None:
    """The guest shows the primary's."""
    directory = tmp_path / "keys"
    key_files.create(directory)
    theirs = key_files.load(directory, Party.SECONDARY)
    with running("--keys", directory) as switch:
        endpoint = switch.wait_endpoint()
        nic = ["--net", f"net=switch:{endpoint}", "--net-mac", f"net={OTHER_MAC}"]
        tally = [*command, "tally", *nic]
        process = subprocess.Popen(
            argv(*tally, "--keys", directory, "--", "--requests=1"),
            cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        switch.wait_event("port-connected")
        with port_at(endpoint, MAC, "other", theirs) as port:
            port.write(frame(MAC, OTHER_MAC, struct.pack("<Q38x", 1)))
            reply = receive(port)
            port.write(frame(MAC, OTHER_MAC, struct.pack("<Q38x", 2)))
            assert process.wait(TIMEOUT) == 0
        process.communicate()
        assert reply[:22] == frame(OTHER_MAC, MAC, struct.pack("<Q", 1))
        refused = run_process(*tally, cwd=tmp_path)
        assert (refused.status, refused.out) == (1, "")
        assert "there are keys there and none here" in refused.err


def test_keys_for_a_switch(vlockstep: Command, tmp_path: Path) -> None:
    key_files.create(tmp_path / "keys")
    far = ["--net", "net=switch:tcp://192.0.2.1:7710"]
    for options, message in (
        (far, "(--keys DIR; `vlockstep keys new DIR` makes keys)"),
        ([*far, "--keys", "none"], "none lacks primary.key_secret"),
        (["--keys", "keys"], "no NIC is connected to one (--net NAME=switch:ENDPOINT)"),
        (["--net", TAP, "--keys", "keys"], "the keys are for a switch"),
    ):
        result = vlockstep("run", "tally", *options)
        assert (result.status, result.out) == (2, "")
        assert message in result.err

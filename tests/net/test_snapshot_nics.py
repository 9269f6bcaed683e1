"""A guest that is suspended and resumed keeps its address, and announces itself."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commands import run_command, wait_until
from switch_tools import MACS, port_at, receive, running

from vlockstep.net.port import SwitchPort
from vlockstep.net.portmessages import parse_mac
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing.process import command, environment

GUEST, CLIENT = MACS[:2]


@contextmanager
def tally(*words: object, directory: RunDirectory) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(*words, "--name", "tally", "--run-dir", directory.path),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    wait_until(lambda: process.poll() is not None or "tally" in directory.names())
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(port: SwitchPort, number: int) -> tuple[int, int]:
    """The chain before and after this request."""
    head = parse_mac(GUEST) + parse_mac(CLIENT) + b"\x88\xb5"
    port.write((head + struct.pack("<Q", number)).ljust(60, b"\0"))
    found, before, after = struct.unpack_from("<QQQ", receive(port), 14)
    assert found == number
    return before, after


def test_a_guest_on_a_switch(tmp_path: Path) -> None:
    directory, file = RunDirectory(tmp_path / "run"), tmp_path / "tally.vsnap"
    here = ["--run-dir", directory.path]
    with running() as switch:
        endpoint = switch.wait_endpoint()
        net = ["--net", f"net=switch:{endpoint}"]
        first = ["run", "tally", *net[:1], f"{net[1]},mtu=9000", "--net-mac", f"net={GUEST}"]
        with port_at(endpoint, CLIENT) as port:
            with tally(*first, directory=directory) as process:
                while run_command("status", "tally", *here).returncode:
                    pass
                _, chain = ask(port, 1)
                done = run_command("suspend", "tally", "-o", file, *here)
                assert done.returncode == 0, done.stderr
                assert process.wait(timeout=20) == 0
            for wrong, problem in (
                ([], "needs the device 'net'"),
                ([*net, "--net-mac", f"net={CLIENT}"], f"has the address {GUEST}, and keeps it"),
                ([*net[:1], f"{net[1]},mtu=1500"], "has the MTU 9000, and keeps it"),
                (["--net", f"red=switch:{endpoint}"], "declares no NIC 'red'"),
            ):
                refused = run_command("resume", file, *wrong, *here)
                assert refused.returncode == 2 and problem in refused.stderr
            with tally("resume", file, *net, directory=directory):
                announced = receive(port)
                assert announced[6:14] == parse_mac(GUEST) + b"\x80\x35"
                before, _ = ask(port, 2)
                assert before == chain, "it goes on where it was"

"""A guest that was started as solo5-hvt starts it gets a replica, and outlives its process."""

from __future__ import annotations

import struct
from contextlib import closing
from pathlib import Path
from signal import SIGKILL

from commands import run_command
from net.switch_tools import MACS, port_at, receive, running
from support import IMAGES

from vlockstep.net.port import SwitchPort
from vlockstep.net.portmessages import parse_mac
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing.process import ReplicaProcess

GUEST, CLIENT = MACS[:2]


def send(port: SwitchPort, number: int) -> None:
    head = parse_mac(GUEST) + parse_mac(CLIENT) + b"\x88\xb5"
    port.write((head + struct.pack("<Q", number)).ljust(60, b"\0"))


def ask(port: SwitchPort, number: int) -> tuple[int, int]:
    """The chain before and after this request. A reply may be repeated after a failover, and a
    frame for all says where the guest is now."""
    send(port, number)
    while True:
        frame = receive(port)
        found, before, after = struct.unpack_from("<QQQ", frame, 14)
        if frame[12:14] == b"\x88\xb5" and found == number:
            return before, after


def test_one_word_changed_and_two_commands(tmp_path: Path) -> None:
    directory, arbiter = RunDirectory(tmp_path / "run"), tmp_path / "arbiter"
    endpoint, image = f"ipc://{tmp_path}/channel", IMAGES / "tally.hvt"
    with running() as switch:
        nic = [f"--net:net=switch:{switch.wait_endpoint()}", f"--net-mac:net={GUEST}"]
        here = ["--run-dir", directory.path, "--name"]
        words = [*here, "tally", "--mem=16", *nic, "--", image, "--requests=3"]
        tender = ReplicaProcess("hvt", ["hvt", *words], lambda: tender.report())
        with closing(tender), port_at(switch.wait_endpoint(), CLIENT) as port:
            switch.wait_count("port-connected", 2)
            _, chain = ask(port, 1)
            protect = ["tally", "--arbiter", arbiter, "--listen", endpoint, *here[:2]]
            done = run_command("protect", *protect)
            assert done.returncode == 0, done.stderr
            words = [image, "--join", endpoint, "--arbiter", arbiter, "--json", *nic]
            secondary = ReplicaProcess(
                "secondary", ["secondary", *words, *here, "second"], lambda: secondary.report()
            )
            with closing(secondary):
                secondary.wait_status(lambda status: status["members"] == 2)
                tender.signal(SIGKILL)
                secondary.wait_live()
                before, chain_2 = ask(port, 2)
                assert before == chain, "it goes on where it was"
                assert ask(port, 3)[0] == chain_2
                send(port, 4)  # which ends the guest
                assert secondary.wait_exit() == 0

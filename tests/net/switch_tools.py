"""Switches as processes, ports of them, and frames."""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vlockstep.net.nic import MAX_FRAME
from vlockstep.net.port import SwitchPort
from vlockstep.net.portmessages import parse_mac
from vlockstep.testing.process import TIMEOUT, ReplicaProcess, environment
from vlockstep.wire.keys import Keys

BROADCAST = b"\xff" * 6
MACS = [f"02:00:00:00:00:{number:02x}" for number in range(1, 9)]
LOCAL = "tcp://127.0.0.1:0"


def frame(source: str, destination: str | None, payload: bytes = b"hello") -> bytes:
    """To everybody if there is no destination."""
    target = BROADCAST if destination is None else parse_mac(destination)
    return target + parse_mac(source) + b"\x88\xb5" + payload


class SwitchProcess(ReplicaProcess):
    """`vlockstep switch --json`."""

    def __init__(self, *options: object, listen: str = LOCAL) -> None:
        super().__init__(
            "switch", ["switch", "--json", "--listen", listen, *options], lambda: self.report()
        )

    def wait_endpoint(self) -> str:
        endpoint: str = self.wait_event("listening")["endpoint"]
        return endpoint

    def stopped(self) -> dict[str, Any]:
        """What it reported last, after its end."""
        assert self.events[-1]["event"] == "stopped"
        return self.events[-1]


@contextmanager
def running(*options: object, listen: str = LOCAL) -> Iterator[SwitchProcess]:
    switch = SwitchProcess(*options, listen=listen)
    try:
        yield switch
    finally:
        switch.close()


@contextmanager
def port_at(
    endpoint: str, mac: str, guest: str | None = None, keys: Keys | None = None
) -> Iterator[SwitchPort]:
    """A port of a guest of its own, unless `guest` is given."""
    port = SwitchPort.connect(endpoint, keys, guest or mac, mac, TIMEOUT)
    try:
        yield port
    finally:
        port.close()


def receive(port: SwitchPort) -> bytes:
    """The next frame."""
    poll = select.poll()
    for descriptor in port.descriptors():
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + TIMEOUT
    while (left := deadline - time.monotonic()) > 0:
        if port.waiting():
            found = port.read(MAX_FRAME)
            if found is not None:
                return found
        else:
            poll.poll(left * 1000)
    raise AssertionError("no frame came")


def until_received(sender: SwitchPort, data: bytes, receiver: SwitchPort) -> None:
    """Send until it arrives, and take what has arrived."""
    deadline = time.monotonic() + TIMEOUT
    poll = select.poll()
    for descriptor in receiver.descriptors():
        poll.register(descriptor, select.POLLIN)
    while time.monotonic() < deadline:
        sender.write(data)
        while receiver.waiting():
            if receiver.read(MAX_FRAME) == data:
                return
        poll.poll(20)
    raise AssertionError("the frame did not arrive")


_PORT_PROCESS = """
import select, sys
from vlockstep.net.port import SwitchPort
endpoint, mac, guest, text = sys.argv[1:]
port = SwitchPort.connect(endpoint, None, guest, mac, 20)
port.write(bytes.fromhex(text))
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def port_process(
    endpoint: str, mac: str, guest: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a port, from which a broadcast has been sent."""
    hello = frame(mac, None, b"here")
    process = subprocess.Popen(
        [sys.executable, "-c", _PORT_PROCESS, endpoint, mac, guest or mac, hello.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

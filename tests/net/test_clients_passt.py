"""Common programs as clients of guests at a switch whose uplink is passt."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from net.clients import Increments, Unprotected, client, program
from net.namespace import PATIENT, add_bridge, ip, namespace
from net.switch_tools import running

from vlockstep.testing.pair import Pair

pytestmark = pytest.mark.external("passt")
HOST = "127.0.0.1"
ARGUMENTS = ["--ipv4=10.0.2.15/24", "--ipv4-gateway=10.0.2.2"]
MIB = 1 << 20


@dataclass(frozen=True)
class Network:
    """A switch, and the port on this machine that leads to the guest's port 6379."""

    net: str
    port: int

    @contextmanager
    def alone(self) -> Iterator[Unprotected]:
        guest = Unprotected("kv", net=self.net, arguments=ARGUMENTS)
        try:
            guest.wait_text("kv: 10.0.2.15:6379")
            yield guest
            assert guest.exit_status is None
        finally:
            guest.close()

    def protected(self, directory: Path) -> Pair:
        options = ["--net", f"net={self.net}"]
        return Pair(
            "kv",
            ARGUMENTS,
            directory=directory,
            misses=PATIENT,
            primary_options=options,
            secondary_options=options,
        )


@pytest.fixture
def network() -> Iterator[Network]:
    with ExitStack() as stack:
        if os.geteuid() == 0:  # passt does without, but then others can take the port
            stack.enter_context(namespace())
            add_bridge()  # what passt takes for the way to the world
            ip("route", "add", "default", "via", "10.0.0.254")
        with socket.create_server((HOST, 0)) as found:
            port = found.getsockname()[1]
        forward = ["--uplink", "passt", "--forward", f"{port}:6379"]
        switch = stack.enter_context(running(*forward))
        endpoint = switch.wait_endpoint()
        switch.wait_event("uplink", name="passt")
        yield Network(f"switch:{endpoint}", port)


@pytest.mark.external("redis-cli", "redis-benchmark")
@pytest.mark.parametrize("how", ["alone", "protected"])
def test_clients(network: Network, how: str, tmp_path: Path) -> None:
    with network.alone() if how == "alone" else network.protected(tmp_path):
        with client(HOST, network.port) as caller:
            value = os.urandom(MIB)
            assert caller.set("large", value) and caller.get("large") == value
            pipeline = caller.pipeline(transaction=False)
            for _ in range(500):
                pipeline.incr("n")
            assert pipeline.execute() == list(range(1, 501))
            for entry in caller.client_list():
                assert entry["addr"].startswith("10.0.2.2:")
        address = ["-h", HOST, "-p", network.port]
        assert program("redis-cli", *address, "INCR", "n") == "501\n"
        assert program("redis-cli", *address, "STRLEN", "large") == f"{MIB}\n"
        program("redis-benchmark", *address, "-q", "-t", "set,incr", "-P", 16, "-n", 2000)


def test_a_connection_outlives_the_primary(network: Network, tmp_path: Path) -> None:
    with network.protected(tmp_path) as pair, Increments("n", HOST, network.port) as increments:
        increments.wait_more(100)
        pair.crash()
        assert pair.wait_live() == 2
        increments.wait_more(100)
        with client(HOST, network.port) as caller:
            assert caller.client_id() == 2
            assert len(caller.client_list()) == 2
    assert increments.error is None
    assert increments.replies == list(range(1, len(increments.replies) + 1))

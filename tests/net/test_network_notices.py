"""Replicas tell when their network is lost, and when it is back."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from net.switch_tools import running
from pair.watched import Watched

from vlockstep.sim.sides import SIDES
from vlockstep.testing import Pair


def test_a_switch_that_goes_and_comes_back(tmp_path: Path) -> None:
    pair = Pair("echo", ["--ipv4=10.0.0.2/24"], directory=tmp_path / "pair")
    with closing(pair):
        with running() as switch:
            endpoint = switch.wait_endpoint()
            net = ["--net", f"net=switch:{endpoint}"]
            pair.start_primary(*net)
            pair.start_secondary(*net)
            for role in SIDES:
                pair.process(role).wait_event("started")
            switch.wait_count("port-connected", 2)
            assert not any(pair.process(role).count("network_lost") for role in SIDES)
        for role in SIDES:
            pair.process(role).wait_event("network_lost")
        with running(listen=endpoint):
            for role in SIDES:
                pair.process(role).wait_event("network_back")


def test_a_replica_that_nothing_wakes(tmp_path: Path) -> None:
    """It is alone, its guest is idle, and it tells no status."""
    shared = ["--arbiter", tmp_path / "arbiter", "--misses", 40]
    channel = f"ipc://{tmp_path}/channel"
    with ExitStack() as stack:
        with running() as switch:
            net = ["--net", f"net=switch:{switch.wait_endpoint()}"]
            guest = ["--", "--ipv4=10.0.0.2/24"]
            primary = Watched("primary", "echo", "--listen", channel, *shared, *net, *guest)
            stack.callback(primary.close)
            secondary = Watched("secondary", "echo", "--connect", channel, *shared, *net)
            stack.callback(secondary.close)
            primary.wait("the guest runs, protected")
            secondary.close()
            primary.wait("the guest is no longer protected")
        primary.wait("network lost")

"""Pairs on a switch, and on a bridge that learns: the network finds the new primary."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from net.clients import protected
from net.namespace import (
    GUEST,
    PATIENT,
    add_pair_network,
    add_tap,
    namespace,
)
from net.switch_tools import running

from vlockstep.sim.sides import SIDES
from vlockstep.testing import Pair
from vlockstep.testing.counting import Counting

KV = (GUEST, 6379)
ADDRESS = [f"--ipv4={GUEST}/24"]

pytestmark = pytest.mark.external("ip")


def outlive(pair: Pair) -> None:
    """Clients go on, on the same connections, when the primary is killed."""
    with closing(Counting(KV, 10)) as clients:
        clients.wait(200)
        pair.crash()
        pair.wait_live()
        clients.wait(200)
        for key, count in clients.stop().items():
            assert clients.get(key) == count


@pytest.mark.parametrize("keys", [False, True])
def test_on_a_switch_with_a_tap_uplink(tmp_path: Path, keys: bool) -> None:
    with namespace():
        add_tap("uplink0")
        pair = Pair("kv", ADDRESS, directory=tmp_path / "pair", keys=keys, misses=PATIENT)
        encryption = ["--keys", pair.keys] if keys else []
        with closing(pair), running("--uplink", "tap:uplink0", *encryption) as switch:
            net = ["--net", f"net=switch:{switch.wait_endpoint()}"]
            pair.start_primary(*net)
            pair.start_secondary(*net)
            for role in ("primary", "secondary"):
                pair.process(role).wait_event("started")
            switch.wait_count("port-connected", 2)
            outlive(pair)
            switch.wait_event("port-disconnected")


def test_on_a_bridge_that_learns(tmp_path: Path) -> None:
    with namespace():
        add_pair_network(hub=False)
        with protected("kv", tmp_path) as pair:
            outlive(pair)


def test_a_switchover_moves_the_address(tmp_path: Path) -> None:
    """On a bridge that learns, with the old primary alive and its port in place."""
    with namespace():
        add_pair_network(hub=False)
        with protected("kv", tmp_path) as pair, closing(Counting(KV, 10)) as clients:
            for generation in (2, 3, 4):
                clients.wait(200)
                assert pair.switchover() == generation
                clients.wait(200)
            for key, count in clients.stop().items():
                assert clients.get(key) == count


def test_the_status_tells_what_the_nics_have_counted(tmp_path: Path) -> None:
    """The secondary's listens, and says nothing."""
    with namespace():
        add_pair_network()
        with protected("kv", tmp_path) as pair, closing(Counting(KV, 1)) as clients:
            clients.wait(100)
            for role in SIDES:
                pair.process(role).wait_status(lambda s: s["nics"]["net"]["received"] > 100)
            pair.process("primary").wait_status(lambda s: s["nics"]["net"]["sent"] > 100)
            assert pair.process("secondary").status["nics"]["net"]["sent"] == 0

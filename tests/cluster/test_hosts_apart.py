"""Hosts as they are on several computers: with keys, with etcd, and cut off from each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from etcd_members import Etcd, wait_for

from vlockstep.cluster.agent.hostkeys import create_host_keys
from vlockstep.testing import HostCluster

LEDGER = ["--lines=100000", "--pause=30", "--work=500"]
DISK = {"disk": 64 << 20}


def protected_through_a_death(cluster: HostCluster) -> None:
    """A guest that is protected outlives its host, and is protected again."""
    cluster.create("g", "ledger", LEDGER, DISK, ft=True)
    cluster.do("start", "g", host="a")
    cluster.wait(lambda: cluster.members("g") == 2, "a secondary")
    cluster.kill("a")
    cluster.wait(lambda: cluster.primary("g") not in ("", "a"), "a takeover")
    cluster.wait(lambda: cluster.members("g") == 2, "another secondary")
    numbers = [int(line.split()[1]) for line in cluster.console("g").split(b"\n")[:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_with_keys_nobody_copies_those_of_guests(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    create_host_keys(keys, ["a", "b", "c"])
    hosts = {name: ["--keys", str(keys)] for name in ("a", "b", "c")}
    with HostCluster(tmp_path, hosts) as cluster:
        protected_through_a_death(cluster)
        found = [(cluster.state(host) / "channel-keys").iterdir() for host in ("a", "b", "c")]
        first, *others = [{path.name: path.read_bytes() for path in files} for files in found]
        assert len(first) == 8 and all(other == first for other in others)


@pytest.mark.external("etcd")
def test_a_cluster_in_etcd(tmp_path: Path) -> None:
    folder = tmp_path / "etcd"
    folder.mkdir()
    etcd = Etcd(folder, 3)
    store = f"etcd://{etcd.endpoints}"
    try:
        wait_for(store)
        with HostCluster(tmp_path / "cluster", ["a", "b", "c"], store=store) as c:
            etcd.kill(0)
            protected_through_a_death(c)
    finally:
        etcd.stop()


def test_an_isolated_host_says_so_and_ends_what_it_is_to_end(tmp_path: Path) -> None:
    """Its guest runs again elsewhere; a guest that is to stay runs on."""
    with HostCluster(tmp_path, ["a", "b", "c"], isolated=True) as cluster:
        cluster.create("leaves", "ledger", LEDGER, DISK, isolation="power off")
        cluster.create("stays", "ledger", LEDGER, DISK)
        for guest in ("leaves", "stays"):
            cluster.do("start", guest, host="b")
        cluster.cut("b")
        cluster.wait(lambda: cluster.host_states().get("b") == "networkIsolated", "isolation")
        cluster.wait(lambda: cluster.primary("leaves") not in ("", "b"), "a restart")
        assert cluster.primary("stays") == "b"
        cluster.mend("b")
        cluster.wait(lambda: cluster.host_states().get("b") == "connectedToMaster", "its return")
        assert cluster.primary("stays") == "b"

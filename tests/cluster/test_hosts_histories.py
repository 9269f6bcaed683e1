"""What clients of `kv` see has an order, though the host under it dies."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from vlockstep.testing import HostCluster, RandomClients
from vlockstep.testing.process import ReplicaProcess

ADDRESS = ["--ipv4=10.0.2.15/24", "--ipv4-gateway=10.0.2.2"]
NIC = {"net": {"group": "default"}}

pytestmark = pytest.mark.external("passt")


@contextmanager
def served(tmp_path: Path, **settings: object) -> Iterator[tuple[HostCluster, RandomClients]]:
    """The guest `kv` on the host a, and clients, who have begun."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["switch", "--json", "--listen", "tcp://127.0.0.1:0"]
    words += ["--uplink", "passt", "--forward", f"{port}:6379"]
    with closing(ReplicaProcess("switch", words, lambda: "")) as outside:
        outside.wait_event("uplink")
        trunk = ["--uplink", f"trunk:{outside.wait_event('listening')['endpoint']}"]
        with HostCluster(tmp_path, dict.fromkeys(("a", "b", "c"), trunk)) as cluster:
            cluster.create("kv", "kv", ADDRESS, nic=NIC, **settings)
            cluster.do("start", "kv", host="a")
            with closing(RandomClients(("127.0.0.1", port))) as clients:
                clients.wait(500)
                yield cluster, clients


def elsewhere(cluster: HostCluster) -> str:
    return cluster.wait(
        lambda: host if (host := cluster.primary("kv")) not in ("", "a") else "", "a restart"
    )


def test_who_is_protected_loses_no_connection(tmp_path: Path) -> None:
    with served(tmp_path, ft=True) as (cluster, clients):
        cluster.wait(lambda: cluster.members("kv") == 2, "a secondary")
        clients.wait(500)
        cluster.kill("a")
        elsewhere(cluster)
        clients.wait(500)
        assert not clients.lost
        clients.check()


def test_who_is_resumed_has_all_that_it_said(tmp_path: Path) -> None:
    """Nobody tells the check that any key may be lost."""
    with served(tmp_path, restart="resume") as (cluster, clients):
        cluster.kill("a")
        elsewhere(cluster)
        clients.wait(500)
        clients.check()
        started = cluster.events("replica-started")[-1].text
        assert "resumed after" in started


def test_who_is_started_anew_has_nothing(tmp_path: Path) -> None:
    with served(tmp_path) as (cluster, clients):
        since = clients.now
        cluster.kill("a")
        elsewhere(cluster)
        clients.note_emptied(since)
        clients.wait(500)
        clients.check()

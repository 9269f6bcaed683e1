"""A fixture for each of the stores."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from etcd_members import Etcd, wait_for
from store_backends import PATIENCE, Backend

from vlockstep.cluster.store import Content, DirectoryStore, MemoryStore
from vlockstep.cluster.store.etcd import EtcdStore


class Clock:
    """The time of a simulation."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def elapse(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def memory() -> Backend:
    clock = Clock()
    content = Content(clock)
    return Backend(lambda: MemoryStore(content), elapse=clock.elapse)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Backend]:
    backend = Backend(lambda: DirectoryStore(tmp_path, limit=PATIENCE), str(tmp_path))
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def one_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    etcd = Etcd(tmp_path_factory.mktemp("etcd"), 1)
    wait_for(f"etcd://{etcd.endpoints}")
    yield etcd
    etcd.stop()


@pytest.fixture
def etcd(one_etcd: Etcd) -> Iterator[Backend]:
    """With keys of its own."""
    address = f"etcd://{one_etcd.endpoints}/{uuid.uuid4().hex}"
    backend = Backend(lambda: EtcdStore(address, limit=PATIENCE), address, ttl=2)
    yield backend
    backend.close()

"""Clients notice nothing of what happens to a primary: no error, nothing lost, nothing twice."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from net.clients import protected
from net.namespace import (
    GUEST,
    PATIENT,
    add_pair_network,
    ip,
    namespace,
)
from support import some

from vlockstep.testing import Pair
from vlockstep.testing.counting import Counting

KV = (GUEST, 6379)
SILENCE = 20
"""Missed heartbeats, a second, where only silence tells."""

pytestmark = pytest.mark.external("ip")


@contextmanager
def protected_kv(directory: Path, misses: int = PATIENT) -> Iterator[Pair]:
    """A pair that runs kv, each replica on a tap of its own; the network is a hub."""
    with namespace():
        add_pair_network()
        with protected("kv", directory, misses=misses) as pair:
            yield pair


def check_counts(clients: Counting) -> None:
    for key, count in clients.stop().items():
        assert clients.get(key) == count


def survives(pair: Pair, clients: Counting, seed: int, what: Callable[[], object]) -> None:
    """Do `what` to the pair at a random moment of the clients' work."""
    clients.wait(random.Random(seed).randrange(1, 2000))
    what()
    pair.wait_live()
    clients.wait(500)
    check_counts(clients)
    assert pair.process("secondary").exit_status is None


@pytest.mark.parametrize("seed", some(range(2), *range(8)))
def test_50_clients_outlive_a_killed_primary(tmp_path: Path, seed: int) -> None:
    with protected_kv(tmp_path) as pair, closing(Counting(KV)) as clients:
        survives(pair, clients, seed, pair.crash)


@pytest.mark.external("redis-benchmark")
@pytest.mark.parametrize("seed", some(range(1), *range(5)))
def test_redis_benchmark_outlives_a_killed_primary(tmp_path: Path, seed: int) -> None:
    with protected_kv(tmp_path) as pair, closing(Counting(KV, 5)) as clients:
        command = "redis-benchmark -t set,incr,get -c 40 -P 4 -n 20000 --csv -h"
        benchmark = subprocess.Popen(
            [*command.split(), GUEST],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            survives(pair, clients, seed, pair.crash)
            output = benchmark.communicate(timeout=60)[0]
        finally:
            benchmark.kill()
            benchmark.wait()
    assert benchmark.returncode == 0, output
    rows = [line.split(",")[0] for line in output.splitlines()]
    assert rows == ['"test"', '"SET"', '"GET"', '"INCR"'], output


@pytest.mark.parametrize("seed", some(range(1), *range(3)))
def test_50_clients_outlive_a_stopped_primary(tmp_path: Path, seed: int) -> None:
    """It wakes up when another one is live, and has nothing to say any more."""
    with protected_kv(tmp_path, SILENCE) as pair, closing(Counting(KV)) as clients:
        survives(pair, clients, seed, pair.pause)
        pair.resume()
        assert pair.process("primary").wait_exit() == 1


@pytest.mark.parametrize("seed", some(range(1), *range(3)))
def test_50_clients_outlive_the_loss_of_the_primary_s_network(tmp_path: Path, seed: int) -> None:
    """Both replicas live on, and the one whom the clients can reach goes on."""
    with protected_kv(tmp_path, SILENCE) as pair, closing(Counting(KV)) as clients:

        def cut() -> None:
            ip("link", "set", "tapa", "down")
            pair.cut()

        survives(pair, clients, seed, cut)
        assert pair.process("primary").wait_exit() == 1

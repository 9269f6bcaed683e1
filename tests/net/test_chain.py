"""A guest whose primary dies again and again, and that is protected again each time: its clients
notice nothing."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from net.clients import protected
from net.namespace import (
    GUEST,
    PRIMARY_NET,
    SECONDARY_NET,
    add_pair_network,
    namespace,
)

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.testing.counting import Counting

pytestmark = pytest.mark.external("ip", "redis-benchmark")


@contextmanager
def load() -> Iterator[None]:
    """Clients that leave at the first error, and must not."""
    command = "redis-benchmark -t incr -c 20 -P 2 -n 1000000000 -q -h"
    with subprocess.Popen([*command.split(), GUEST], stdout=subprocess.DEVNULL) as benchmark:
        try:
            yield
            assert benchmark.poll() is None
        finally:
            benchmark.kill()


@pytest.mark.parametrize(
    "rounds", [3, pytest.param(10, marks=[pytest.mark.long, pytest.mark.timeout(300)])]
)
def test_chain(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(rounds)
    with namespace():
        add_pair_network()
        pair = protected("kv", tmp_path, reachable=True, logs=False)
        nets = {"primary": PRIMARY_NET, "secondary": SECONDARY_NET}
        live, heir = "primary", "secondary"
        with pair, closing(Counting((GUEST, 6379), 10)) as clients, load():
            for number in range(rounds):
                clients.wait(chance.randrange(1, 500))
                pair.crash(live)
                pair.wait_live(heir)
                name = f"{number}"
                nets[name] = nets[live]
                pair.join(name, *nets[name], to=heir)
                live, heir = heir, name
            clients.wait(500)
            for key, count in clients.stop().items():
                assert clients.get(key) == count
            for name in nets:
                assert not pair.process(name).count("diverged")
            reigns = DirectoryArbiter(pair.arbiter, "test").reigns()
        assert [len(r.record.members) for r in reigns] == [2, *[1, 2] * rounds]

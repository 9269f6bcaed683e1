"""What clients of kv see has an order, whatever happens to the replicas meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from signal import SIGKILL

import pytest
from net.clients import alone, lan, protected
from net.namespace import GUEST, PRIMARY_NET, SECONDARY_NET, add_tap
from support import some

from vlockstep.testing import Pair, RandomClients

KV = (GUEST, 6379)
MIB = 1 << 20

pytestmark = pytest.mark.external("ip")


@contextmanager
def protected_kv(
    directory: Path, seed: int, guest: str = "kv"
) -> Iterator[tuple[Pair, RandomClients]]:
    """A pair and its clients, who have begun."""
    disks = {"disk": 4 * MIB} if guest == "kv-disk" else {}
    with (
        lan(),
        protected(guest, directory, disks=disks, reachable=True, logs=False) as pair,
        closing(RandomClients(KV, seed=seed)) as clients,
    ):
        clients.wait(random.Random(seed).randrange(1, 1000))
        yield pair, clients
        clients.wait(500)
        assert not clients.lost
        clients.check()


@pytest.mark.parametrize("guest", ["kv", "kv-disk"])
@pytest.mark.parametrize("seed", some(range(1), *range(5)))
def test_a_killed_primary(tmp_path: Path, guest: str, seed: int) -> None:
    with protected_kv(tmp_path, seed, guest) as (pair, _):
        pair.crash()
        pair.wait_live()


@pytest.mark.parametrize("seed", some(range(1), *range(3)))
def test_deaths_and_joins(tmp_path: Path, seed: int) -> None:
    """Each time the one that is live dies, and another one joins its heir."""
    with protected_kv(tmp_path, seed) as (pair, clients):
        live, heir = "primary", "secondary"
        for name, net in (("third", PRIMARY_NET), ("fourth", SECONDARY_NET)):
            pair.crash(live)
            pair.wait_live(heir)
            pair.join(name, *net, to=heir)
            live, heir = heir, name
            clients.wait(200)


@pytest.mark.parametrize("seed", some(range(1), *range(3)))
def test_switchovers(tmp_path: Path, seed: int) -> None:
    with protected_kv(tmp_path, seed) as (pair, clients):
        for generation in (2, 3, 4):
            assert pair.switchover() == generation
            clients.wait(200)


@pytest.mark.parametrize("lone", [False, True], ids=["pair", "lone"])
def test_migrations(tmp_path: Path, lone: bool) -> None:
    with protected_kv(tmp_path, 0) as (pair, _):
        if lone:
            pair.crash("secondary")
            pair.wait_live("primary")
        add_tap("tapc", "br0")
        pair.receive("there", "--net", "net=tap:tapc")
        pair.migrate("there")
        assert pair.process("migrate").wait_exit() == 0, pair.process("migrate").report()
        assert pair.process("primary").wait_exit() == 0


@pytest.fixture
def network() -> Iterator[None]:
    with lan():
        yield


def restarted(guest: str, options: Sequence[object], *, told: bool, keys: int = 4) -> RandomClients:
    """Clients of a guest that is killed under them, and started again. If they are `told`, they
    know that the first one has taken all keys with it."""
    with ExitStack() as stack:
        with alone(guest, *options) as first:
            clients = stack.enter_context(closing(RandomClients(KV, keys=keys)))
            clients.wait(500)
            since = clients.now
            first.signal(SIGKILL)
            assert first.wait_exit() == -9
        if told:
            clients.note_emptied(since)
        with alone(guest, *options):
            clients.wait(500)
            clients.close()
    assert clients.lost
    return clients


@pytest.mark.usefixtures("network")
def test_a_restart_of_a_guest_that_keeps_its_keys_in_memory() -> None:
    restarted("kv", (), told=True).check()


@pytest.mark.usefixtures("network")
def test_a_restart_that_loses_keys_is_noticed() -> None:
    """By some of many: the loss of one is explained by a removal whose outcome nobody knows, and
    hidden by whoever sets it first."""
    clients = restarted("kv", (), told=False, keys=64)
    with pytest.raises(AssertionError, match="this history is not linearizable"):
        clients.check()


@pytest.mark.usefixtures("network")
def test_a_restart_of_a_guest_that_keeps_its_keys_on_a_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    with disk.open("wb") as file:
        file.truncate(4 * MIB)
    restarted("kv-disk", ("--block", f"disk={disk}"), told=False).check()

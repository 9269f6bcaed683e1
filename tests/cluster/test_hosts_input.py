"""What people, files and storage do wrong to a cluster: each a sentence, and no guest is harmed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import zmq
from commands import run_command
from etcd_members import Etcd, wait_for

from vlockstep.cluster.agent.hostkeys import create_host_keys
from vlockstep.cluster.store import StoreError
from vlockstep.errors import HostError
from vlockstep.testing import HostCluster
from vlockstep.testing.process import environment

LEDGER = ["--lines=100000", "--pause=30", "--work=500"]
DISK = {"disk": 64 << 20}


def lines_of(cluster: HostCluster, guest: str) -> list[int]:
    """The numbers of all whole lines on its console."""
    text = cluster.console(guest).split(b"\n")[:-1]
    return [int(line.split()[1]) for line in text if line.startswith(b"ledger")]


def is_unharmed(cluster: HostCluster, guest: str) -> None:
    """It goes on, and never began anew."""
    before = len(lines_of(cluster, guest))
    cluster.wait(lambda: len(lines_of(cluster, guest)) > before, f"a line of {guest}")
    numbers = lines_of(cluster, guest)
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostCluster]:
    """With a guest `g` that runs on the host a."""
    with HostCluster(tmp_path_factory.mktemp("cluster"), ["a", "b"]) as made:
        made.create("g", "ledger", LEDGER, DISK)
        made.do("start", "g", host="a")
        yield made
        is_unharmed(made, "g")


REFUSED = {
    "cluster create other": "there is a cluster in this store already",
    "cluster set threshold=9": "'threshold=9': it is from 1 to 5",
    "cluster set speed=1": "a cluster has no setting 'speed'",
    "guest create g --image kv --datastore shared": "there is a guest 'g' already",
    "guest create a/b --image kv --datastore shared": "'a/b' is no name",
    "guest create x --image kv --datastore fast": "no host has a datastore 'fast'",
    "guest create x --image kv --datastore shared --mem 3": "memory",
    "guest create x --image kv --datastore shared --set colour=red": "colour",
    "guest register x --datastore shared --folder ../store": "../store",
    "guest register x --datastore shared --folder g": "the folder g in shared is g's",
    "guest set g memory=lots": "memory",
    "guest set g priority=urgent": "priority",
    "guest delete g": "g is powered on: stop it first",
    "guest show nobody": "there is no guest 'nobody' (there are: g",
    "cluster rule apart r --guest g --guest nobody": "there is no guest 'nobody'",
    "cluster rule remove r": "there is no rule 'r'",
    "host maintenance a perhaps": "'perhaps': write on or off",
    "host show nobody": "there is no host 'nobody'",
    "host a --datastore shared=/": "the cluster has a host 'a' already",
    "host c --datastore shared=/no/such/place": "the datastore shared is not there",
    "host c --management tcp://192.0.2.1:7": "keys",
    "host c --capacity 0": "a capacity of 0: give more than 0",
}
FAILED = {
    "guest create x --image kv --datastore shared --disk d=much": "much",
    "guest register x --datastore shared --folder none": "guest.toml",
    "guest create x --image nosuch --datastore shared": "nosuch",
    "guest start nobody": "there is no guest 'nobody'",
    "guest start g": "g is powered on already",
    "guest migrate g --host a": "g runs on a already",
    "guest migrate g --host nobody": "nobody",
    "guest test-failover g": "g is not protected",
    "host remove a": "a",
    "host remove nobody": "there is no host 'nobody'",
}


@pytest.mark.parametrize("words", [*REFUSED, *FAILED])
def test_a_command_that_cannot_be_carried_out_says_why(cluster: HostCluster, words: str) -> None:
    extra = ["--state", cluster.directory / "another"] if words.startswith("host c") else []
    extra = ["--state", cluster.directory / "twin"] if words.startswith("host a ") else extra
    done = run_command(*words.split(), *extra, VLOCKSTEP_CLUSTER=cluster.store)
    assert done.returncode == (2 if words in REFUSED else 1), done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("vlockstep: ") and {**REFUSED, **FAILED}[words] in last
    assert "Traceback" not in done.stderr


def test_two_agents_of_one_host(cluster: HostCluster) -> None:
    arguments = ["--datastore", f"shared={cluster.shared}", "--state", cluster.state("a")]
    done = run_command("host", "a", *arguments, VLOCKSTEP_CLUSTER=cluster.store)
    assert done.returncode == 2 and "an agent of this host runs already" in done.stderr


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "ledger.hvt").unlink(), "ledger.hvt"),
        (lambda folder: (folder / "ledger.hvt").write_bytes(b"none"), "ledger.hvt"),
        (lambda folder: (folder / "disk.img").unlink(), "disk.img"),
        (lambda folder: shutil.rmtree(folder), "is not there"),
    ],
)
def test_a_guest_whose_files_are_spoilt_is_not_started(
    cluster: HostCluster, spoil: Callable[[Path], object], reason: str
) -> None:
    name = f"spoilt{len(cluster.operator.guests())}"
    disk = cluster.directory / "disk"
    disk.touch()
    os.truncate(disk, 64 << 20)
    image = cluster.directory / "ledger.hvt"
    image.write_bytes(files("vlockstep.images").joinpath("ledger.hvt").read_bytes())
    made = ["--image", image, "--datastore", "shared", "--disk", f"disk={disk}"]
    assert not run_command("guest", "create", name, *made, VLOCKSTEP_CLUSTER=cluster.store).stderr
    spoil(cluster.folder(name))
    with pytest.raises(HostError, match=reason):
        cluster.do("start", name)
    assert cluster.operator.guest(name).power == "off"


def test_a_datastore_that_vanishes_and_comes_back(tmp_path: Path) -> None:
    """Nobody can renew leases there meanwhile, so the guest is silent, and nobody restarts it."""
    with HostCluster(tmp_path, ["a", "b"]) as cluster:
        cluster.create("g", "ledger", LEDGER, DISK)
        cluster.do("start", "g", host="a")
        away = cluster.shared.rename(tmp_path / "away")
        for host in ("a", "b"):
            lost = cluster.agents[host].wait_event("datastore-lost")
            assert lost["datastore"] == "shared" and lost["reason"]
        away.rename(cluster.shared)
        for host in ("a", "b"):
            cluster.agents[host].wait_event("datastore-back")
        is_unharmed(cluster, "g")


ON_A_FULL_DATASTORE = """
import sys
from pathlib import Path
from test_hosts_input import DISK, LEDGER, is_unharmed, lines_of
from vlockstep.cluster.store import StoreError
from vlockstep.errors import HostError
from vlockstep.testing import HostCluster

with HostCluster(Path(sys.argv[1]), ["a", "b"]) as cluster:
    cluster.create("g", "ledger", LEDGER, DISK)
    cluster.do("start", "g", host="a")
    cluster.wait(lambda: len(lines_of(cluster, "g")) > 3, "some lines")
    ballast = cluster.shared / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        pass
    output = cluster.state("a") / "guests" / "g" / "output.txt"
    cluster.wait(lambda: "outputs wait" in output.read_text(), "a guest without room")
    try:
        cluster.create("h", "ledger", LEDGER, DISK)
    except HostError as error:
        print(error)
    assert not cluster.folder("h").exists()
    ballast.unlink()
    is_unharmed(cluster, "g")
    cluster.do("stop", "g")
"""


@pytest.mark.external("unshare", "mount")
def test_a_full_datastore_keeps_outputs_waiting(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        (pytest.fail if "CI" in os.environ else pytest.skip)("needs a mount namespace")
    shared, here = tmp_path / "cluster" / "shared", Path(__file__).parent
    shared.mkdir(parents=True)
    script = 'mount -t tmpfs -o size=2M none "$0" && exec "$@"'
    run = ["unshare", "-rm", "/bin/sh", "-c", script, shared, sys.executable, "-c"]
    done = subprocess.run(
        [*run, ON_A_FULL_DATASTORE, shared.parent],
        capture_output=True,
        text=True,
        env=environment() | {"PYTHONPATH": f"{here}:{here.parent}:{here.parents[1]}"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("No space left on device\n")


@pytest.mark.long
@pytest.mark.external("etcd")
def test_etcd_without_a_quorum(tmp_path: Path) -> None:
    """Guests run on, since their leases are on the datastore; who asks for something is told."""
    folder = tmp_path / "etcd"
    folder.mkdir()
    etcd = Etcd(folder, 3)
    store = f"etcd://{etcd.endpoints}"
    try:
        wait_for(store)
        with HostCluster(tmp_path / "cluster", ["a", "b"], store=store) as cluster:
            cluster.create("g", "ledger", LEDGER, DISK)
            cluster.do("start", "g", host="a")
            etcd.kill(0)
            etcd.kill(1)
            cluster.agents["a"].wait_event("store-lost")
            with pytest.raises(StoreError, match="etcd"):
                cluster.do("stop", "g")
            is_unharmed(cluster, "g")
            etcd.start(0)
            cluster.agents["a"].wait_event("store-back")
            cluster.do("migrate", "g", host="b")
            is_unharmed(cluster, "g")
    finally:
        etcd.stop()


WALL_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int (*next)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(clock, time);
    FILE *file = clock == CLOCK_REALTIME ? fopen(getenv("AHEAD"), "r") : NULL;
    long seconds = 0;
    if (file && fscanf(file, "%ld", &seconds) == 1)
        time->tv_sec += seconds;
    if (file)
        fclose(file);
    return result;
}
"""


@pytest.mark.long
@pytest.mark.external("gcc")
def test_clocks_that_jump(tmp_path: Path) -> None:
    """A day ahead, and two back. Nobody's decisions depend on the time of day."""
    ahead, library = tmp_path / "ahead", tmp_path / "clock.so"
    ahead.write_text("0")
    compile_it = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", library]
    subprocess.run(compile_it, input=WALL_CLOCK.encode(), check=True)
    under = ["env", f"LD_PRELOAD={library}", f"AHEAD={ahead}"]
    with HostCluster(tmp_path / "cluster", ["a", "b"], under={"b": under}) as cluster:
        cluster.create("g", "ledger", LEDGER, DISK)
        cluster.do("start", "g", host="b")
        for jump in (86_400, -172_800):
            ahead.write_text(str(jump))
            is_unharmed(cluster, "g")
            assert cluster.host_states() == {"a": "master", "b": "connectedToMaster"}
        cluster.do("migrate", "g", host="a")
        cluster.do("migrate", "g", host="b")
        is_unharmed(cluster, "g")


def test_who_has_no_key_is_not_heard(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    create_host_keys(keys, ["a", "b"])
    hosts = {name: ["--keys", str(keys)] for name in ("a", "b")}
    with HostCluster(tmp_path / "cluster", hosts) as cluster, zmq.Context() as context:
        endpoint = cluster.operator.hosts()["a"].management
        for kind in (zmq.DEALER, zmq.REQ, zmq.SUB):
            with context.socket(kind) as stranger:
                stranger.linger = 0
                stranger.connect(endpoint)
                if kind != zmq.SUB:
                    stranger.send(b"who is there?")
                else:
                    stranger.subscribe(b"")
                assert not stranger.poll(300)
        arguments = ["--keys", keys, "--datastore", f"shared={cluster.shared}"]
        arguments += ["--state", tmp_path / "c"]
        done = run_command("host", "c", *arguments, VLOCKSTEP_CLUSTER=cluster.store)
        assert done.returncode == 2 and "c.key_secret" in done.stderr
        assert {*cluster.operator.hosts()} == {"a", "b"}
        cluster.create("g", "ledger", LEDGER, DISK, ft=True)
        cluster.do("start", "g")
        cluster.wait(lambda: cluster.members("g") == 2, "a secondary")

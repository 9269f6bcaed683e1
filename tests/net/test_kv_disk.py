"""What kv-disk has acknowledged is on its disk, whatever becomes of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from signal import SIGKILL

import pytest
import redis
from commands import run_command
from net.clients import Increments, Unprotected, alone, client, lan, protected

pytestmark = pytest.mark.external("ip")
MIB = 1 << 20


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    with lan():
        yield


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return new_disk(tmp_path / "disk.img")


def new_disk(path: Path, size: int = 4 * MIB) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def server(disk: Path) -> AbstractContextManager[Unprotected]:
    return alone("kv-disk", "--block", f"disk={disk}")


def kill(process: Unprotected) -> None:
    process.signal(SIGKILL)
    assert process.wait_exit() == -9


def test_all_that_was_acknowledged_outlives_a_crash(disk: Path) -> None:
    with server(disk) as guest, client() as caller:
        value = os.urandom(300_000)
        assert caller.set("value", value) and caller.set("changed", 1)
        assert caller.append("changed", "2") == 2 and caller.incr("changed") == 13
        assert caller.mset({f"key{n}": n for n in range(500)})
        assert caller.delete("key7") == 1
        assert caller.set("later", 1, ex=1_000_000) and caller.set("soon", 1, px=1)
        assert caller.config_get("appendonly") == {"appendonly": "yes"}
        kill(guest)
    with server(disk) as guest, client() as caller:
        assert caller.get("value") == value and caller.get("changed") == b"13"
        assert caller.mget("key0", "key7", "key499") == [b"0", None, b"499"]
        assert 0 < caller.ttl("later") <= 1_000_000 and caller.get("soon") is None
        assert caller.dbsize() == 502
        assert caller.flushall()
        kill(guest)
    with server(disk) as guest, client() as caller:
        assert caller.dbsize() == 0 and caller.incr("changed") == 1
        kill(guest)
    with server(disk), client() as caller:
        assert caller.get("changed") == b"1"


def test_each_kind_of_change_outlives_a_crash(disk: Path) -> None:
    with server(disk) as guest, client() as caller:
        caller.mset({"moved": 1, "kept": 2, "gone": 3, "part": "text", "sum": "0.1", "held": 4})
        assert caller.expire("moved", 1_000_000) and caller.rename("moved", "there")
        assert caller.copy("kept", "copied") and caller.getdel("gone") == b"3"
        assert caller.setrange("part", 6, "more") == 10
        assert caller.incrbyfloat("sum", "0.2") == 0.3
        assert caller.getex("held", exat=4_000_000_000) == b"4"
        pipeline = caller.pipeline().incr("kept").append("kept", "x").delete("copied")
        assert pipeline.execute() == [3, 2, 1]
        kill(guest)
    with server(disk) as guest, client() as caller:
        values = [None, b"1", b"3x", None, None, b"text\0\0more", b"0.3", b"4"]
        keys = ["moved", "there", "kept", "copied", "gone", "part", "sum", "held"]
        assert caller.mget(keys) == values
        assert 0 < caller.ttl("there") <= 1_000_000 and caller.ttl("kept") == -1
        assert caller.expiretime("held") == 4_000_000_000
        kill(guest)


@pytest.mark.external("qemu-img")
def test_what_was_acknowledged_goes_through_other_formats(disk: Path, tmp_path: Path) -> None:
    """As an appliance that comes as a VMDK, and runs from what is made of it."""
    with server(disk) as guest, client() as caller:
        assert caller.set("value", b"kept" * 1000)
        kill(guest)
    appliance, copy = tmp_path / "appliance.vmdk", tmp_path / "copy.img"
    for source, target in ((disk, appliance), (appliance, copy)):
        done = run_command("disk", "convert", source, target)
        assert (done.returncode, done.stderr) == (0, "")
    with server(copy), client() as caller:
        assert caller.get("value") == b"kept" * 1000 and caller.dbsize() == 1
        refused = run_command("disk", "convert", copy, tmp_path / "again.vmdk")
        assert refused.returncode == 1 and "copy.img is in use by process" in refused.stderr


def test_a_crash_in_the_midst(disk: Path) -> None:
    """Of several: each time, only what was not yet acknowledged is in doubt."""
    least = most = 0
    for _ in range(3):
        with server(disk) as guest, client() as caller:
            assert least <= int(caller.get("n") or 0) <= most
            with Increments("n") as increments:
                increments.wait_more(100)
                kill(guest)
                # The next one knows nothing of the connection, and says so.
                with server(disk):
                    increments.wait_error()
            least, most = increments.replies[-1], increments.replies[-1] + 1
            assert increments.replies == list(range(increments.replies[0], most))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"something else".ljust(4 * MIB, b"\0"), "the disk holds something else"),
        (bytes(1 * MIB), "the disk has 1048576 bytes, and needs 2097152"),
    ],
)
def test_a_disk_that_is_none_of_its_own(disk: Path, content: bytes, says: str) -> None:
    disk.write_bytes(content)
    guest = Unprotected("kv-disk", "--block", f"disk={disk}")
    try:
        assert guest.wait_exit() == 2
        assert any(says in line for line in guest.text)
    finally:
        guest.close()
    assert disk.read_bytes() == content


def test_a_full_disk(disk: Path) -> None:
    new_disk(disk, 2 * MIB)
    stored: dict[str, bytes] = {}

    def fill(caller: redis.Redis) -> None:
        while len(stored) < 30:
            key, value = f"key{len(stored)}", os.urandom(100_000)
            caller.set(key, value)
            stored[key] = value

    def check(caller: redis.Redis) -> None:
        assert caller.mget(list(stored)) == list(stored.values())
        assert caller.dbsize() == len(stored)

    with server(disk) as guest, client() as caller:
        with pytest.raises(redis.ResponseError, match="the disk is full: no more writes"):
            fill(caller)
        assert 5 <= len(stored) < 11
        check(caller)
        with pytest.raises(redis.ResponseError, match="the disk is full"):
            caller.mset({"key0": b"x", "more": bytes(200_000)})
        with pytest.raises(redis.ResponseError, match="the disk is full"):
            caller.append("key0", bytes(200_000))
        check(caller)
        kill(guest)
    with server(disk) as guest, client() as caller:
        check(caller)
        assert caller.delete("key0", "key1") == 2
        del stored["key0"], stored["key1"]
        for number in range(40):  # much more than the disk holds, again and again in one place
            stored["key2"] = os.urandom(100_000 + number)
            assert caller.set("key2", stored["key2"])
        check(caller)
        kill(guest)
    with server(disk), client() as caller:
        check(caller)
        assert caller.flushall() and caller.set("key", bytes(500_000))


@pytest.mark.parametrize(("local", "quiet"), [(False, True), (False, False), (True, False)])
def test_a_pair_and_then_a_cold_restart(tmp_path: Path, local: bool, quiet: bool) -> None:
    directory = tmp_path / "pair"
    disk = directory / ("secondary-disk.img" if local else "disk.img")
    with protected("kv-disk", directory, disks={"disk": 4 * MIB}, local=local) as pair:
        with Increments("n") as increments:
            increments.wait_more(100)
            pair.crash()
            assert pair.wait_live() == 2
            increments.wait_more(100)
            if not quiet:
                pair.crash("secondary")
                with server(disk):
                    increments.wait_error()
        count = len(increments.replies)
        assert increments.replies == list(range(1, count + 1))
        if quiet:
            assert increments.error is None
            pair.crash("secondary")
    with server(disk), client() as caller:
        assert count <= int(caller.get("n")) <= count + (not quiet)

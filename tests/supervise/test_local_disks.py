"""Replicas with disks of their own join guests that run; disks move while their guests run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import run_command
from household import PATIENT, House

from vlockstep.sim.ledger import inspect_unfinished_ledger
from vlockstep.testing import check_ledger
from vlockstep.testing.process import TIMEOUT, command, environment

LINES = 150
ENDLESS = ("--lines=10000", "--pause=20")
SIZE = 1 << 26
OTHERS = 40 << 20
CONTENT = os.urandom(1 << 20)
"""Lies there on the guest's disk, which never looks at it."""


class Apart(House):
    """Each replica has its own disk; the guest's holds more than the guest writes to it."""

    def disk_of(self, name: str) -> Path:
        return self.directory / f"{name}.img"

    def make_disk(self, name: str, offset: int, content: bytes) -> None:
        with self.disk_of(name).open("wb") as file:
            file.truncate(SIZE)
            file.seek(offset)
            file.write(content)

    def run_ledger(self, *arguments: str) -> subprocess.Popen[str]:
        """It writes until it is stopped, unless they say how much."""
        self.make_disk("books", OTHERS, CONTENT)
        words = ("--block", f"disk={self.disk_of('books')},local", "--console", self.console)
        return self.start("books", "run", "ledger", *words, "--", *(arguments or ENDLESS))

    def _replica(self, name: str, role: str, image: str, *words: object) -> subprocess.Popen[str]:
        self.make_disk(name, 50 << 20, b"of an earlier guest" * 10000)
        devices = ("--block", f"disk={self.disk_of(name)},local", "--console", self.console)
        return self.start(
            name, role, image, *devices, "--arbiter", self.directory / "arbiter", *PATIENT, *words
        )

    def move(self, name: str, path: Path) -> None:
        done = self.call("disk", "move", name, f"disk={path}")
        assert (done.returncode, done.stderr) == (0, "")
        assert str(path) in done.stdout

    def check(self, name: str, disk: Path) -> None:
        """The guest goes on, as this one's: all that it wrote is on that disk, and what was there
        before."""
        self.wait_lines(10)
        assert self.call("stop", name).returncode == 0
        content = disk.read_bytes()
        report = inspect_unfinished_ledger(self.console.read_bytes(), content[:OTHERS])
        assert report.ok, report
        assert content[OTHERS:] == CONTENT.ljust(SIZE - OTHERS, b"\0")
        assert disk.stat().st_blocks * 512 < 8 << 20, "what is thin stays thin"

    def slow_move(self) -> subprocess.Popen[str]:
        """Of the disk to new.img, so that it does not come to an end; it has begun."""
        started = subprocess.Popen(
            command(
                "disk", "move", "books", f"disk={self.directory}/new.img", "--rate", "1K",
                "--json", "--run-dir", self.run_directory.path,
            ),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment() | {"PYTHONUNBUFFERED": ""},  # what is told meanwhile is not kept back
        )  # fmt: skip
        self.started.append(started)
        assert started.stdout is not None and "copying" in started.stdout.readline()
        return started

    def nothing_of_it(self) -> bool:
        """There is no new.img, nor a part of it."""
        return not [*self.directory.glob("new.img"), *self.directory.glob(".*.part")]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Apart]:
    made = Apart(tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def test_both_disks_end_with_the_same_content(house: Apart) -> None:
    guest = house.run_ledger(f"--lines={LINES}", "--pause=40")
    house.protect_at_once()
    guest.send_signal(signal.SIGSTOP)  # so that it has not ended before the other one is there
    heir = house.join("heir")
    guest.send_signal(signal.SIGCONT)
    house.wait_event("books", "joined")
    assert (guest.wait(TIMEOUT), heir.wait(TIMEOUT)) == (0, 0)
    content = house.disk_of("heir").read_bytes()
    check_ledger(house.console.read_bytes(), content[:OTHERS], LINES)
    assert content == house.disk_of("books").read_bytes()


def test_the_heir_goes_on_with_its_own_disk(house: Apart) -> None:
    guest = house.run_ledger()
    assert house.protect().returncode == 0
    house.join("heir")
    house.wait_event("books", "joined")
    house.move("heir", house.directory / "elsewhere.img")
    house.move("books", house.directory / "moved.img")
    guest.send_signal(signal.SIGKILL)
    house.wait_event("heir", "live")
    house.check("heir", house.directory / "elsewhere.img")


def test_a_guest_migrates_without_a_disk_that_both_reach(house: Apart) -> None:
    guest = house.run_ledger()
    assert house.protect().returncode == 0
    destination = f"ipc://{house.directory}/destination"
    house.receive("there", destination)
    done = house.call("migrate", "books", destination, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["disk_bytes"] > len(CONTENT)
    assert guest.wait(TIMEOUT) == 0
    house.check("there", house.disk_of("there"))


def test_a_disk_of_another_size_cannot_be_filled(house: Apart) -> None:
    house.run_ledger()
    assert house.protect().returncode == 0
    small = house.directory / "small.img"
    small.write_bytes(bytes(1 << 20))
    heir = house.start(
        "heir", "secondary", "ledger", "--block", f"disk={small},local", "--console",
        house.console, "--arbiter", house.directory / "arbiter", "--join", house.endpoint,
    )  # fmt: skip
    _, said = heir.communicate(timeout=TIMEOUT)
    assert heir.returncode == 2
    assert f"it has {1 << 20} bytes here and {SIZE} there" in said


def test_a_disk_moves_under_a_guest_that_nobody_protects(house: Apart) -> None:
    house.run_ledger()
    new = house.directory / "new.img"
    done = house.call("disk", "move", "books", f"disk={new}", "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert told[-1]["path"] == str(new) and told[-1]["before"] == str(house.disk_of("books"))
    assert {event["phase"] for event in told[:-1]} == {"copying", "comparing", "switching"}
    assert house.wait_event("books", "disk-moved")["path"] == str(new)
    house.check("books", new)


def test_a_move_is_called_off_from_another_terminal(house: Apart) -> None:
    house.run_ledger()
    moving = house.slow_move()
    for other in (
        house.call("disk", "move", "books", f"disk={house.directory}/other.img"),
        house.call("suspend", "books", "-o", house.directory / "snapshot"),
        house.protect(),
    ):
        assert other.returncode == 1
        assert "a disk of the guest is being moved" in other.stderr
    assert (
        f"the disk disk to {house.directory}/new.img: copying"
        in house.call("status", "books").stdout
    )
    assert house.call("disk", "move", "books", "--cancel").returncode == 0
    told, said = moving.communicate(timeout=TIMEOUT)
    failed = json.loads(told.splitlines()[-1])
    assert moving.returncode == 1
    assert failed["event"] == "failed" and failed["reason"].endswith("the move was called off")
    assert failed["reason"] in said
    again = house.call("disk", "move", "books", "--cancel")
    assert again.returncode == 2 and "nothing of books moves" in again.stderr
    house.check("books", house.disk_of("books"))
    assert house.nothing_of_it()


def test_a_guest_that_ends_takes_the_unfinished_copy_with_it(house: Apart) -> None:
    guest = house.run_ledger()
    moving = house.slow_move()
    assert house.call("stop", "books").returncode == 0
    moving.communicate(timeout=TIMEOUT)
    assert moving.returncode == 1
    assert guest.wait(TIMEOUT) == 0
    assert house.nothing_of_it()


def test_a_disk_that_replicas_share_moves_before_there_are_others(tmp_path: Path) -> None:
    """Who joins then has it where it is."""
    house = House(tmp_path)
    try:
        guest = house.run_ledger()
        assert house.protect().returncode == 0
        new = tmp_path / "new.img"
        done = house.call("disk", "move", "books", f"disk={new}")
        assert (done.returncode, done.stderr) == (0, "")
        shown = run_command("arbiter", "show", house.directory / "arbiter")
        assert f"disk 'disk' {new}" in shown.stdout
        house.disk = new
        house.join("heir")
        house.wait_event("books", "joined")
        guest.send_signal(signal.SIGKILL)
        house.wait_event("heir", "live")
        house.check_that_it_goes_on("heir")
    finally:
        for process in house.started:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["disk"], "not 'disk': write DISK=PATH"),
        (["=x"], "not '=x': write DISK=PATH"),
        ([], "name what is to move where: write DISK=PATH"),
        (["cd=x"], "the guest has no disk 'cd' (it has: disk)"),
        (["disk=/dev/null"], "is no regular file"),
        (["disk=/nowhere/x.img"], "No such file or directory"),
        (["disk=x\ny"], "named from the root on"),
        (["disk=x", "--rate", "0"], "would copy nothing"),
        (["disk=x", "--rate", "quick"], "is no size"),
    ],
)
def test_moves_that_are_none(house: Apart, words: list[str], problem: str) -> None:
    house.run_ledger()
    done = house.call("disk", "move", "books", *words)
    assert done.returncode in (1, 2)
    assert problem in done.stderr and "Traceback" not in done.stderr

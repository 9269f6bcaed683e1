"""A guest that `vlockstep run` runs gets replicas, without a break."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from commands import run_command, wait_until
from support import halt, make_image

from vlockstep.sim.ledger import inspect_unfinished_ledger
from vlockstep.supervise.client import GuestClient
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing.process import TIMEOUT, command, environment

PATIENT = ("--misses", 40)
"""Two seconds without a word, and a replica counts as dead: many processes share these CPUs."""


class House:
    """Guests and replicas in a directory, that share a disk and a console."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.disk = directory / "disk.img"
        self.console = directory / "console.txt"
        self.endpoint = f"ipc://{directory}/channel"
        self.run_directory = RunDirectory(directory / "run")
        self.started: list[subprocess.Popen[str]] = []
        self.disk.touch()
        os.truncate(self.disk, 8 << 20)

    def start(self, name: str, *words: object) -> subprocess.Popen[str]:
        """Start a command that has a name and a control socket; wait for these."""
        process = subprocess.Popen(
            command(*words[:2], "--name", name, "--run-dir", self.run_directory.path, *words[2:]),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self.started.append(process)
        wait_until(lambda: process.poll() is not None or name in self.run_directory.names())
        return process

    def run_ledger(self, *arguments: str) -> subprocess.Popen[str]:
        """It writes until it is stopped, unless `arguments` say otherwise."""
        devices = ("--block", f"disk={self.disk}", "--console", self.console)
        arguments = arguments or ("--lines=10000", "--pause=20")
        return self.start("books", "run", "ledger", *devices, "--", *arguments)

    def wait_lines(self, more: int) -> None:
        """Until the guest has written them."""
        lines = self.console.read_bytes().count(b"\n") + more
        wait_until(lambda: self.console.read_bytes().count(b"\n") >= lines)

    def check_that_it_goes_on(self, name: str) -> None:
        """The guest, as this one's: it writes more, and all that it wrote is there once."""
        self.wait_lines(10)
        assert self.call("stop", name).returncode == 0
        report = inspect_unfinished_ledger(self.console.read_bytes(), self.disk.read_bytes())
        assert report.ok, report

    def join(self, name: str, image: str = "ledger") -> subprocess.Popen[str]:
        """A secondary; wait until it is a member."""
        return self._replica(name, "secondary", image, "--join", self.endpoint)

    def receive(self, name: str, endpoint: str, *words: object) -> subprocess.Popen[str]:
        return self._replica(name, "receive", "ledger", "--listen", endpoint, *words)

    def _replica(self, name: str, role: str, image: str, *words: object) -> subprocess.Popen[str]:
        devices = ("--block", f"disk={self.disk}", "--console", self.console)
        arbiter = ("--arbiter", self.directory / "arbiter")
        return self.start(name, role, image, *devices, *arbiter, *PATIENT, *words)

    def call(self, *words: object) -> subprocess.CompletedProcess[str]:
        return run_command(*words, "--run-dir", self.run_directory.path)

    def protect(self, *options: object) -> subprocess.CompletedProcess[str]:
        arbiter = self.directory / "arbiter"
        return self.call(
            "protect", "books", "--arbiter", arbiter, "--listen", self.endpoint, *PATIENT, *options
        )

    def protect_at_once(self, **timing: int) -> None:
        """Without a command, while whose start the guest could end."""
        timing = {"misses": 40, **timing}
        with closing(GuestClient(self.run_directory, "books")) as client:
            arbiter = str(self.directory / "arbiter")
            client.ask("protect", arbiter=arbiter, listen=self.endpoint, timing=timing)

    def wait_event(self, name: str, event: str) -> dict[str, Any]:
        """The first event of this kind that the guest `name` ever told."""
        client = GuestClient(self.run_directory, name)
        try:
            return next(told for told in client.events(0) if told["event"] == event)
        finally:
            client.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def test_a_guest_that_gets_a_secondary_survives_its_host(house: House) -> None:
    guest = house.run_ledger()
    done = house.protect()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"replicas can join books at {house.endpoint}" in done.stdout
    secondary = house.join("heir")
    joined = house.wait_event("books", "joined")
    assert (joined["members"], joined["generation"]) == (2, 2)
    guest.send_signal(signal.SIGKILL)
    house.wait_event("heir", "live")
    house.check_that_it_goes_on("heir")
    assert secondary.wait(timeout=TIMEOUT) == 0


def test_who_stops_the_guest_stops_all_its_replicas(house: House) -> None:
    guest = house.run_ledger()
    house.protect()
    secondary = house.join("heir")
    house.wait_event("books", "joined")
    assert house.call("stop", "books").returncode == 0
    assert (guest.wait(timeout=TIMEOUT), secondary.wait(timeout=TIMEOUT)) == (0, 0)
    assert house.call("ps").stdout.splitlines()[1:] == []


def test_a_guest_that_only_ran_moves_to_another_host(house: House) -> None:
    guest = house.run_ledger()
    house.protect()
    there = f"ipc://{house.directory}/there"
    destination = house.receive("moved", there)
    done = house.call("migrate", "books", there, "--json")
    assert done.returncode == 0, done.stderr
    *_, report = map(json.loads, done.stdout.splitlines())
    assert report["event"] == "migrated" and report["gap_ms"] > 0 and report["bytes"] > 0
    assert guest.wait(timeout=TIMEOUT) == 0
    assert "the guest has moved to" in guest.communicate()[1]
    house.check_that_it_goes_on("moved")
    assert destination.wait(timeout=TIMEOUT) == 0


def test_a_secondary_moves_while_the_guest_stays_protected(house: House) -> None:
    guest = house.run_ledger()
    house.protect()
    secondary = house.join("heir")
    house.wait_event("books", "joined")
    there = f"ipc://{house.directory}/there"
    moved = house.receive("moved", there)
    done = house.call("migrate", "heir", there)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.splitlines()[0].split() == ["moved", "to", there]
    assert secondary.wait(timeout=TIMEOUT) == 0
    guest.kill()
    house.wait_event("moved", "live")
    house.check_that_it_goes_on("moved")
    assert moved.wait(timeout=TIMEOUT) == 0


def test_over_a_network_it_needs_keys_and_says_what_befalls_it(house: House) -> None:
    guest = house.run_ledger()
    keys = house.directory / "keys"
    assert run_command("keys", "new", keys).returncode == 0
    done = house.call(
        "protect", "books", "--arbiter", house.directory / "arbiter", "--keys", keys,
        "--listen", "tcp://0.0.0.0:0", *PATIENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    endpoint = f"ipc://{house.directory}/moved"
    destination = house.receive("moved", endpoint, "--keys", keys)
    done = house.call("migrate", "books", endpoint)
    assert done.returncode == 0, done.stderr
    assert guest.wait(timeout=TIMEOUT) == 0
    assert "another replica has joined: 2 have the guest" in guest.communicate()[1]
    house.check_that_it_goes_on("moved")
    assert destination.wait(timeout=TIMEOUT) == 0


def test_a_guest_with_a_timer_ends_as_it_would_have(house: House) -> None:
    """Its state at the end depends on where each interrupt came: the replicas' are equal."""
    guest = house.start("books", "run", "preempt", "--json", "--", "--work=4000000")
    house.protect_at_once(heartbeat=500)
    guest.send_signal(signal.SIGSTOP)  # so that it has not ended before the other one is there
    secondary = house.start(
        "heir", "secondary", "preempt", "--join", house.endpoint,
        "--arbiter", house.directory / "arbiter", "--json", "--heartbeat", 500, *PATIENT,
    )  # fmt: skip
    guest.send_signal(signal.SIGCONT)
    ends = [process.communicate(timeout=TIMEOUT) for process in (guest, secondary)]
    (ended,) = (json.loads(line) for line in ends[0][1].splitlines()[-1:])
    told = [json.loads(line) for line in ends[1][1].splitlines()]
    finished = next(event for event in told if event["event"] == "finished")
    assert ended["registers"] == finished["registers"]
    assert ended["memory_digest"] == finished["memory_digest"]
    assert any(event["event"] == "loading" for event in told)


def test_the_guest_of_a_process_that_is_asked_to_end_goes_on(house: House) -> None:
    guest = house.run_ledger()
    house.protect()
    secondary = house.join("heir")
    house.wait_event("books", "joined")
    guest.terminate()
    guest.wait(timeout=TIMEOUT)
    house.wait_event("heir", "live")
    house.check_that_it_goes_on("heir")
    assert secondary.wait(timeout=TIMEOUT) == 0


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda house: (house.directory / "arbiter").write_text(""), "arbiter"),
        (lambda house: house.protect(), "replicas can join it already, at ipc://"),
    ],
)
def test_refusals(house: House, spoil: Callable[[House], object], problem: str) -> None:
    """They do not harm the guest."""
    guest = house.run_ledger()
    spoil(house)
    refused = house.protect()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert problem in refused.stderr and "Traceback" not in refused.stderr
    house.check_that_it_goes_on("books")
    assert guest.wait(timeout=TIMEOUT) == 0


def test_a_guest_that_ends_before_it_asks_for_anything(house: House) -> None:
    """It never comes to where it could be made a primary's."""
    spin = b"\x48\xb9" + (1 << 28).to_bytes(8, "little") + b"\x48\xff\xc9\x75\xfb"
    image = house.directory / "spin.hvt"
    image.write_bytes(make_image(spin + halt()).content)
    guest = house.start("books", "run", image)
    house.protect_at_once()
    assert guest.wait(timeout=TIMEOUT) == 0


def test_who_receives_does_so_where_no_file_says_otherwise(house: House) -> None:
    """And a secondary never does."""
    file = house.directory / "guest.toml"
    file.write_text('image = "hello"\nawaits_at = "ipc://nowhere"\narbiter = "a"\n')
    waiting = house.start("there", "receive", "hello", "--arbiter", house.directory / "a")
    assert house.wait_event("there", "waiting")["endpoint"] == "tcp://127.0.0.1:7720"
    waiting.kill()
    house.start("here", "secondary", file, "--connect", f"ipc://{house.directory}/primary")
    assert house.wait_event("here", "joining")["endpoint"].endswith("/primary")


def test_it_has_no_replicas_before(house: House) -> None:
    house.run_ledger()
    for asked in (("switchover", "books"), ("migrate", "books", "tcp://127.0.0.1:1")):
        refused = house.call(*asked)
        assert refused.returncode == 1
        assert "protect it" in refused.stderr

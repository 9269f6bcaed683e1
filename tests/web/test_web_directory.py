"""Guests that run here, in the view: what is told of them, and what can be asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import run_command, wait_until
from household import House
from webclient import Client

from vlockstep.arbiter import Reign
from vlockstep.errors import UsageError
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing.process import command, environment
from vlockstep.web.directory import DirectorySource
from vlockstep.web.model import Picture
from vlockstep.web.protecting import asked_to_protect

ARGUMENTS = ("--", "--lines=3000", "--pause=20")


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a pair runs, `one` and `two`, and `solo`, which nobody protects."""
    path = tmp_path_factory.mktemp("web")
    for name in ("pair.img", "solo.img"):
        (path / name).touch()
        os.truncate(path / name, 4 << 20)
    there = ("--run-dir", path / "run", "--mem", 16)
    pair = ("--arbiter", path / "arbiter", "--block", f"disk={path}/pair.img")
    console, channel = ("--console", path / "pair.txt"), f"ipc://{path}/channel"
    own = ("--block", f"disk={path}/solo.img", "--name", "solo")
    primary = ("--name", "one", "--listen", channel, "--misses", 400)
    secondary = ("--name", "two", "--connect", channel, "--run-dir", path / "run", "--misses", 400)
    with (
        started("primary", "ledger", *pair, *console, *primary, *there, *ARGUMENTS),
        started("secondary", "ledger", *pair, *console, *secondary),
        started("run", "ledger", *own, *there, *ARGUMENTS),
    ):
        yield path


@pytest.fixture
def source(directory: Path) -> Iterator[DirectorySource]:
    with closing(DirectorySource(RunDirectory(directory / "run"))) as made:
        seen: list[Picture] = []

        def protected() -> bool:
            seen.append(made.look())
            words = {name: guest["protection"] for name, guest in seen[-1].guests.items()}
            ruled = {words.get("one"), words.get("two")}
            return "solo" in words and "following" in ruled and len(ruled) == 2

        wait_until(protected)
        yield made


def test_a_pair_belongs_together(source: DirectorySource) -> None:
    guests = source.look().guests
    assert guests["one"]["peers"] == ["two"] and guests["two"]["peers"] == ["one"]
    assert guests["solo"]["peers"] == []
    assert (guests["solo"]["protection"], guests["solo"]["level"]) == ("unprotected", "plain")


def test_it_shows_what_the_command_line_says(source: DirectorySource, directory: Path) -> None:
    told = json.loads(run_command("status", "one", "--run-dir", directory / "run", "--json").stdout)
    guest: Any = source.look().guests["one"]
    assert guest["status"].keys() <= told.keys()
    same = ("name", "pid", "image", "arguments", "started_as", "since", "arbiter")
    assert {key: guest[key] for key in same} == {key: told[key] for key in same}


def test_who_ruled_and_what_it_says(source: DirectorySource) -> None:
    wait_until(lambda: source.look().guests and source.console("one", None)["text"])
    details = source.details("one")
    assert details["generations"][0]["generation"] == 1
    assert details["generations"][0]["ruler"] == "one"
    assert details["samples"] and details["disks"]["disk"]["written"] >= 0
    piece = source.console("one", 7)
    assert piece["after"] == 7 and piece["text"].startswith("000001 ")
    assert source.console("one", piece["size"] + 999)["after"] >= piece["size"]
    with pytest.raises(UsageError, match="its text goes where its process was started"):
        source.console("solo", None)


def test_files_of_an_arbiter_are_read_while_others_look(
    source: DirectorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path | None] = []

    def reads(arbiter: Path | None) -> list[Reign]:
        assert not source._lock.locked()
        read.append(arbiter)
        return []

    monkeypatch.setattr("vlockstep.web.directory.reigns_of", reads)
    assert source.details("one")["generations"]
    assert [arbiter is not None for arbiter in read] == [True]


def test_what_cannot_be_asked(source: DirectorySource) -> None:
    assert source.details("solo")["actions"]["switchover"] == "nobody protects it"
    with pytest.raises(UsageError, match="primary or secondary"):
        source.compatibility("one", "there", "king")
    for guest, action, why in (
        ("solo", "migrate", "nobody protects it: protect it first"),
        ("solo", "switchover", "nobody protects it"),
        ("solo", "protect", '"arbiter" is the path, from / on, of a new directory'),
        ("one", "protect", "it is protected, or lets replicas join already"),
        ("one", "test-failover", "only hosts of a cluster"),
        ("one", "kill", "no such action"),
        ("nobody", "stop", "there is no guest 'nobody'"),
        ("one", "migrate", '"to" is an endpoint'),
    ):
        with pytest.raises(UsageError, match=why):
            source.act_on_guest(guest, action, {})
    with pytest.raises(UsageError, match="host cannot be given of a guest that is in no cluster"):
        source.act_on_guest("one", "migrate", {"host": "there"})
    assert source.look().tasks == {}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"arbiter": "pair"}, "from / on"),
        ({"arbiter": 5}, "from / on"),
        ({"arbiter": "/pair\0"}, "from / on"),
        ({"listen": 5}, "is the endpoint where replicas join"),
        ({"listen": "ipc://channel"}, "give the path in ipc://channel from / on"),
        ({"misses": "5"}, '"misses" is a whole number'),
        ({"misses": 1}, "1 is not from 2 to"),
    ],
)
def test_what_is_no_way_to_protect_a_guest(given: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        asked_to_protect({"arbiter": "/pair", **given})


def test_a_guest_is_protected_without_a_cluster(tmp_path: Path) -> None:
    """By what is asked over HTTP alone; what its process refuses is the task's reason."""
    with closing(House(tmp_path)) as house:
        house.run_ledger()
        given = {"arbiter": str(tmp_path / "arbiter"), "listen": house.endpoint, "misses": 200}
        with closing(DirectorySource(house.run_directory)) as source:
            wait_until(lambda: source.look().guests["books"]["status"])
            wrong = source.act_on_guest("books", "protect", {**given, "listen": "nowhere"})["task"]
            assert "nowhere" in ended(source, wrong["number"])["reason"]
            task = source.act_on_guest("books", "protect", given)["task"]
            done = ended(source, task["number"])
            assert done["progress"] == f"replicas can join it at {house.endpoint}"
            command = done["result"]["secondary"]
            wait_until(lambda: source.look() and source.details("books")["secondary"])
            assert source.details("books")["secondary"] == command
            house.start_by(command)
            wait_until(lambda: source.look().guests["books"]["protection"] == "protected")
            assert source.details("books")["actions"]["protect"].startswith("it is protected")
            assert source.details("books")["secondary"] == ""
            assert source.look().guests["books"]["peers"] == ["books-2"]
            swap = source.act_on_guest("books", "switchover", {})["task"]
            assert ended(source, swap["number"])["state"] == "done"
            wait_until(lambda: source.look().guests["books"]["protection"] == "following")
            assert source.details("books")["secondary"] == ""


def ended(source: DirectorySource, number: int) -> dict[str, Any]:
    wait_until(lambda: source.look().tasks[str(number)]["ended"])
    return source.look().tasks[str(number)]


def test_a_switchover_and_a_migration_that_fails(source: DirectorySource) -> None:
    before = source.look().guests["one"]["status"]
    assert before is not None
    task = source.act_on_guest("one", "switchover", {})["task"]
    done = ended(source, task["number"])
    assert (done["state"], done["target"]) == ("done", "one")
    assert done["progress"] == f"generation {before['generation'] + 1} rules"
    kinds: set[str] = set()

    def told() -> bool:
        kinds.update(event["kind"] for event in source.look().events)
        generations = source.details("two")["generations"]
        return any(each["generation"] == before["generation"] + 1 for each in generations)

    wait_until(told)
    nowhere = source.act_on_guest("solo", "stop", {})["task"]
    assert ended(source, nowhere["number"])["state"] == "done"
    wait_until(lambda: "solo" not in source.look().guests)
    task = source.act_on_guest("one", "migrate", {"to": "no endpoint"})["task"]
    failed = ended(source, task["number"])
    assert failed["state"] == "failed" and "no endpoint" in failed["reason"]
    with pytest.raises(UsageError, match="over already"):
        source.cancel(task["number"])


@contextmanager
def dashboard(*options: object) -> Iterator[tuple[Client, Client]]:
    """The command as a process: who may act, and who may read."""
    process = subprocess.Popen(
        command("dashboard", "--port", 0, "--json", *options),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            port = int(told["address"].rstrip("/").rpartition(":")[2])
            act, read = (told[key].partition("#token=")[2] for key in ("act", "read"))
            yield Client(port, act), Client(port, read)
        finally:
            process.terminate()
    assert process.returncode == -15


def test_the_command(directory: Path) -> None:
    with dashboard("--run-dir", directory / "run") as (act, read):
        wait_until(lambda: "two" in read.get("/api/view").json["guests"])
        assert read.get("/api/session").json["rights"] == ["read"]
        assert act.get("/api/session").json["rights"] == ["read", "act"]
        assert read.post("/api/guests/one/switchover").status == 403
        with dashboard("--run-dir", directory / "run") as (other, _):
            assert act.with_token(other.token).get("/api/view").status == 401, "of another start"


def test_metrics_of_one_guest(directory: Path) -> None:
    """By its control socket, without any server."""
    done = run_command("metrics", "two", "--run-dir", directory / "run")
    assert done.returncode == 0, done.stderr
    assert 'vlockstep_vm_up{vm="two"} 1\n' in done.stdout
    assert 'vlockstep_disk_written_bytes_total{vm="two",disk="disk"} ' in done.stdout
    program = "import sys, vlockstep.web.metrics; print({'starlette', 'uvicorn'} & {*sys.modules})"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout == "set()\n", shown.stderr

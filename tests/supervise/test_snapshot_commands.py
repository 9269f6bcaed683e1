"""`vlockstep snapshot`, `suspend` and `resume` with guests that run."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import run_command, wait_until
from support import DATA, hypercall, make_image, needs_kvm

from vlockstep.errors import HostError
from vlockstep.replay.snapshot import Snapshot, SnapshotReader, encode
from vlockstep.supervise.client import Gone, GuestClient
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing.process import command, environment

HOUR = 3_600_000_000_000
LINE = re.compile(r"ledger (\d+) wall=(\d+) tsc=(\d+) sum=(\w+)")
Start = Callable[..., subprocess.Popen[str]]
Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def start(directory: RunDirectory) -> Iterator[Start]:
    """Starts a command that runs a guest `name`, and waits until it does."""
    started: list[subprocess.Popen[str]] = []

    def start_guest(*words: object, name: str = "books", **options: Any) -> subprocess.Popen[str]:
        where = words.index("--") if "--" in words else len(words)
        named = ["--name", name, "--run-dir", directory.path]
        process = subprocess.Popen(
            command(*words[:where], *named, *words[where:]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            **options,
        )
        started.append(process)
        wait_until(lambda: process.poll() is not None or name in directory.names())
        return process

    yield start_guest
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def call(directory: RunDirectory) -> Call:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run_command(*arguments, "--run-dir", directory.path)

    return run


@pytest.fixture
def ledger(start: Start, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """With a disk and a console file."""

    def start_ledger(
        *arguments: str, size: int = 1 << 20, engine: str = "unicorn"
    ) -> subprocess.Popen[str]:
        disk = tmp_path / "ledger.img"
        disk.touch()
        os.truncate(disk, size)
        files = ["--block", f"disk={disk}", "--console", tmp_path / "console.txt"]
        files += ["--engine", engine]
        return start("run", "ledger", *files, "--", *(arguments or ("--lines=1500", "--pause=20")))

    return start_ledger


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def wait_text(path: Path, size: int) -> None:
    """Until the guest has written so many bytes."""
    wait_until(lambda: path.exists() and path.stat().st_size >= size)


def lines_of(path: Path) -> list[tuple[int, int, int]]:
    """Number, wall clock and cycles of what a ledger has written."""
    found = LINE.findall(path.read_text())
    return [(int(number), int(wall), int(tsc)) for number, wall, tsc, _ in found]


def end(call: Call, process: subprocess.Popen[str]) -> None:
    """The guest is stopped."""
    assert call("stop", "books").returncode == 0
    assert process.wait(timeout=20) == 0, process.stderr and process.stderr.read()


def read(path: Path) -> Snapshot:
    with closing(SnapshotReader(path)) as reader:
        assert [*reader.verify()]
        return reader.snapshot


# Taking and starting


def test_a_guest_goes_on_after_a_snapshot_and_again_from_it(
    ledger: Start, start: Start, call: Call, tmp_path: Path
) -> None:
    """What the first did after it is not there for the second, on its disk neither."""
    process = ledger()
    console, file = tmp_path / "console.txt", tmp_path / "books.vsnap"
    wait_text(console, 1000)
    taken = told(call("snapshot", "take", "books", "-o", file, "--json"))
    assert taken["path"] == str(file) and taken["bytes"] == file.stat().st_size
    assert taken["pause_ms"] > 0
    wait_text(console, console.stat().st_size + 500)
    end(call, process)
    numbers = [number for number, _, _ in lines_of(console)]
    assert numbers == [*range(1, len(numbers) + 1)], "the guest saw nothing of it"

    again = tmp_path / "again.txt"
    disk = tmp_path / "again.img"
    second = start("snapshot", "start", file, "--block", f"disk={disk}", "--console", again)
    wait_text(again, 1000)
    end(call, second)
    assert {path.stat().st_mode & 0o777 for path in (file, disk)} == {0o600}
    first, *_ = numbers = [number for number, _, _ in lines_of(again)]
    assert numbers == [*range(first, first + len(numbers))] and first > 5
    written, times = read(file), lines_of(again)
    assert taken["position"] == str(written.position)
    before = {number: (wall, tsc) for number, wall, tsc in lines_of(console)}
    assert times == sorted(times) and before[first - 1] < times[0][1:]
    assert times[0][1] >= written.clock[1] and times[0][2] >= written.clock[0]
    blocks = disk.read_bytes()[: (first - 1) * 512]
    assert blocks and (tmp_path / "ledger.img").read_bytes().startswith(blocks)
    assert disk.stat().st_size == 1 << 20


def test_what_is_shown(ledger: Start, call: Call, tmp_path: Path) -> None:
    ledger()
    file = tmp_path / "books.vsnap"
    done = call("snapshot", "take", "books", "-o", file)
    assert re.search(r"books at exits:\d+, \d+ bytes; it was", done.stdout)
    shown = told(run_command("snapshot", "show", file, "--json"))
    assert shown["name"] == "books" and shown["config"]["arguments"][0] == "--lines=1500"
    disk = {"path": str(tmp_path / "ledger.img"), "held": True, "digest": ""}
    assert shown["disks"] == {"disk": disk} and shown["generation"] == 0
    text = run_command("snapshot", "show", file).stdout
    assert "image       ledger.hvt (" in text and f"in the snapshot; was {disk['path']}" in text
    file.write_bytes(file.read_bytes()[:-1])
    cut = run_command("snapshot", "show", file)
    assert (cut.returncode, cut.stdout) == (1, "") and f"{file} is cut off" in cut.stderr


def test_a_guest_with_a_timer(start: Start, directory: RunDirectory, tmp_path: Path) -> None:
    """It is held between two blocks, and its timer goes on where it is started."""
    process = start("run", "preempt", "--", "--work=10000000")
    file = tmp_path / "preempt.vsnap"
    with closing(GuestClient(directory, "books")) as guest:  # at once, before it has ended
        wait_until(lambda: "+" in guest.ask("snapshot", path=str(file))["position"])
    again = start("snapshot", "start", file, name="again")
    assert (process.wait(timeout=60), again.wait(timeout=60)) == (0, 0)


def test_a_large_disk_is_refused(ledger: Start, call: Call, tmp_path: Path) -> None:
    with (tmp_path / "ledger.img").open("wb") as disk:
        disk.write(os.urandom(17 << 20))
    ledger(size=17 << 20)
    refused = call("snapshot", "take", "books", "-o", tmp_path / "books.vsnap")
    assert refused.returncode == 1 and "its disks hold 17 MiB" in refused.stderr
    assert "suspend it instead" in refused.stderr
    assert not (tmp_path / "books.vsnap").exists()


def test_what_the_guest_uses_is_not_overwritten(ledger: Start, call: Call, tmp_path: Path) -> None:
    ledger()
    for path in (tmp_path / "ledger.img", tmp_path / "console.txt"):
        refused = call("snapshot", "take", "books", "-o", path)
        assert refused.returncode == 1 and f"{path} is used otherwise here" in refused.stderr
    assert call("status", "books").returncode == 0


def test_a_disk_goes_to_a_new_file(ledger: Start, call: Call, tmp_path: Path) -> None:
    ledger()
    file, disk = tmp_path / "books.vsnap", tmp_path / "ledger.img"
    told(call("snapshot", "take", "books", "-o", file, "--json"))
    refused = call("snapshot", "start", file, "--block", f"disk={disk}")
    assert refused.returncode == 2 and f"{disk} is there already: name a new file" in refused.stderr
    refused = call("snapshot", "start", file)
    assert refused.returncode == 2 and "holds the disk 'disk': name a new file" in refused.stderr
    assert "(--block disk=PATH)" in refused.stderr
    refused = call("snapshot", "start", file, "--block", f"disk={disk}2", "--block", f"disc={disk}")
    assert refused.returncode == 2 and "no disk 'disc' (it has: disk)" in refused.stderr
    refused = call("snapshot", "start", file, "--block", f"disk={tmp_path}/none/x")
    assert refused.returncode == 1 and "cannot write the disks" in refused.stderr


# The generation


GENERATION, PUTS, POLL = DATA + 0x100, DATA + 0x110, DATA + 0x120


def teller(timeout: int) -> bytes:
    """The image of a guest that tells its generation, polls that long, and does so again."""
    calls = hypercall(0x41, GENERATION) + hypercall(2, PUTS) + hypercall(3, POLL)
    again = b"\xeb" + struct.pack("<b", -len(calls) - 2)
    words = {PUTS: struct.pack("<QQ", GENERATION, 8), POLL: struct.pack("<QQI", timeout, 0, 0)}
    return make_image(calls + again, words).content


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "teller.hvt"
    path.write_bytes(teller(5_000_000))
    return path


def generations(path: Path) -> list[int]:
    wait_text(path, 80)
    content = path.read_bytes()
    return [*struct.unpack(f"<{len(content) // 8}Q", content[: len(content) // 8 * 8])]


def test_each_start_has_another_generation(
    start: Start, call: Call, image: Path, tmp_path: Path
) -> None:
    """So that a guest can tell, and its random numbers need not be the same twice."""
    file, consoles = tmp_path / "a.vsnap", [tmp_path / f"{n}.txt" for n in range(4)]
    start("run", image, "--console", consoles[0])
    assert set(generations(consoles[0])) == {0}
    told(call("snapshot", "take", "books", "-o", file, "--json"))
    for number in (1, 2):
        start("snapshot", "start", file, "--console", consoles[number], name=f"books{number}")
    (first,), (second,) = (set(generations(path)) for path in consoles[1:3])
    assert 0 < first != second > 0 and second < 1 << 63
    assert told(call("status", "books1", "--json"))["generation"] == first
    told(call("snapshot", "take", "books2", "-o", file, "--json"))
    assert read(file).generation == second
    start("resume", file, "--console", consoles[3], name="third")
    (third,) = set(generations(consoles[3]))
    assert third > second


def test_generations_rise_whatever_the_clock_says() -> None:
    from vlockstep.supervise.restoring import new_generation

    future = 1 << 62
    found = {new_generation(future) for _ in range(20)}
    assert len(found) == 20 and min(found) > future and max(found) < 1 << 63


# Where a guest waits


def test_a_guest_that_waits_goes_on_waiting(
    start: Start, call: Call, directory: RunDirectory, tmp_path: Path
) -> None:
    """But not longer than it would have."""
    image, file = tmp_path / "teller.hvt", tmp_path / "a.vsnap"
    image.write_bytes(teller(HOUR))
    console = tmp_path / "console.txt"
    start("run", image, "--console", console)
    wait_text(console, 8)
    told(call("snapshot", "take", "books", "-o", file, "--json"))
    with closing(SnapshotReader(file)) as reader:
        memory = tuple(piece for _, group in reader.pieces() for piece in group)
        taken = reader.snapshot
    assert 0 < taken.waited < HOUR
    file.write_bytes(b"".join(encode(replace(taken, waited=HOUR), memory, {})))
    start("snapshot", "start", file, "--console", tmp_path / "again.txt", name="again")
    wait_text(tmp_path / "again.txt", 8)
    assert console.stat().st_size == 8, "the other one still waits"


# Suspending and resuming


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("unicorn", "unicorn"),
        pytest.param("kvm", "unicorn", marks=needs_kvm),
        pytest.param("kvm", "kvm", marks=needs_kvm),
    ],
)
def test_a_guest_is_suspended_and_resumed(
    ledger: Start, start: Start, call: Call, tmp_path: Path, before: str, after: str
) -> None:
    process = ledger(engine=before)
    console, file = tmp_path / "console.txt", tmp_path / "books.vsnap"
    wait_text(console, 1000)
    done = call("suspend", "books", "-o", file)
    assert f"go on with: vlockstep resume {file}" in done.stdout
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, f"vlockstep: suspended to {file}\n")
    assert call("ps", "--json").stdout == ""
    size = console.stat().st_size
    assert read(file).console == size

    resumed = start("resume", file, "--console", console, "--engine", after)
    wait_text(console, size + 1000)
    end(call, resumed)
    found = lines_of(console)
    assert [number for number, _, _ in found] == [*range(1, len(found) + 1)]
    assert found == sorted(found)
    content = (tmp_path / "ledger.img").read_bytes()
    blocks = content[: (len(found) - 1) * 512 : 512]
    assert blocks == b"V" * len(blocks), "a block for each line that has one after it"


def test_a_disk_that_was_changed_meanwhile(ledger: Start, call: Call, tmp_path: Path) -> None:
    ledger()
    file, disk = tmp_path / "books.vsnap", tmp_path / "ledger.img"
    told(call("suspend", "books", "-o", file, "--json"))
    moved = disk.rename(tmp_path / "moved.img")
    gone = call("resume", file)
    assert gone.returncode == 1 and f"cannot open the disk {disk}" in gone.stderr
    with moved.open("r+b") as content:
        content.seek(1 << 19)
        content.write(b"x")
    changed = call("resume", file, "--block", f"disk={moved}")
    assert changed.returncode == 2
    assert f"{moved} is not as device 'disk' was when the guest was suspended" in changed.stderr
    os.truncate(moved, 1 << 21)
    assert "is not as device 'disk' was" in call("resume", file, "--block", f"disk={moved}").stderr


def test_who_cannot_be_suspended_goes_on(
    start: Start, call: Call, image: Path, tmp_path: Path
) -> None:
    """Its process cannot write files of more than 4 KiB, as if the disk were full."""

    process = start("run", image)
    assert told(call("status", "books", "--json"))["exits"] >= 0, "its RAM is there"
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    before = sorted(tmp_path.iterdir())
    for path, problem in (
        (tmp_path / "a.vsnap", "File too large"),
        (tmp_path / "none" / "a.vsnap", "No such file or directory"),
        (tmp_path, "exists and is no regular file"),
    ):
        refused = call("suspend", "books", "-o", path)
        assert refused.returncode == 1
        assert f"cannot write the snapshot {path}: " in refused.stderr and problem in refused.stderr
    assert sorted(tmp_path.iterdir()) == before
    exits = told(call("status", "books", "--json"))["exits"]
    wait_until(lambda: told(call("status", "books", "--json"))["exits"] > exits)


def test_who_is_killed_meanwhile_leaves_no_file(
    ledger: Start, directory: RunDirectory, tmp_path: Path
) -> None:
    """While its disk, which is large, is read for its digest."""
    process = ledger(size=1 << 40)
    wait_text(tmp_path / "console.txt", 1)
    before = sorted(tmp_path.iterdir())

    def kill(_: str) -> None:
        os.kill(process.pid, signal.SIGKILL)

    with closing(GuestClient(directory, "books")) as client, pytest.raises(Gone):
        client.request("snapshot", kill, path=str(tmp_path / "a.vsnap"), suspend=True)
    assert sorted(tmp_path.iterdir()) == before


def test_one_snapshot_at_a_time(ledger: Start, directory: RunDirectory, tmp_path: Path) -> None:
    ledger(size=1 << 40)
    asked: list[str] = []

    def ask_again(_: str) -> None:
        if not asked:
            with closing(GuestClient(directory, "books")) as other:
                asked.append(str(other.ask("snapshot", path=str(tmp_path / "b.vsnap"))))

    with closing(GuestClient(directory, "books")) as client:
        client.send("snapshot", path=str(tmp_path / "a.vsnap"), suspend=True)
        with pytest.raises(Exception, match="a snapshot of it is being taken already"):
            while True:
                said = client.read(None)
                ask_again(str(said))


@pytest.mark.parametrize("details", [{}, {"path": "a"}, {"path": 1}, {"path": "/a", "suspend": 1}])
def test_what_is_no_request(
    ledger: Start, directory: RunDirectory, details: dict[str, object]
) -> None:
    ledger()
    with (
        closing(GuestClient(directory, "books")) as client,
        pytest.raises(Exception, match="a snapshot goes to an absolute path"),
    ):
        client.ask("snapshot", **details)


def test_a_guest_that_ends_meanwhile(start: Start, call: Call, image: Path, tmp_path: Path) -> None:
    """Its snapshot was of the time before; there is one, or it is said that there is none."""
    process = start("run", "sort", "--", "--n=200000", "--rounds=1")
    done = call("snapshot", "take", "books", "-o", tmp_path / "a.vsnap")
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "a.vsnap").exists() == (done.returncode == 0)


def test_the_image_of_a_snapshot(start: Start, call: Call, image: Path, tmp_path: Path) -> None:
    start("run", image)
    file = tmp_path / "a.vsnap"
    told(call("snapshot", "take", "books", "-o", file, "--json"))
    moved = image.rename(tmp_path / "moved.hvt")
    gone = call("snapshot", "start", file)
    assert gone.returncode == 2 and f"cannot read image {image}" in gone.stderr
    assert gone.stderr.endswith("name the image (--image IMAGE)\n")
    wrong = call("snapshot", "start", file, "--image", "hello")
    assert wrong.returncode == 2 and "is not the image the configuration names" in wrong.stderr
    start("snapshot", "start", file, "--image", moved, name="again")
    assert call("status", "again").returncode == 0


def test_a_primary_has_no_snapshots(ledger: Start, call: Call, tmp_path: Path) -> None:
    ledger()
    told(call("status", "books", "--json"))
    joined = ["--arbiter", tmp_path / "arbiter", "--listen", f"ipc://{tmp_path}/channel"]
    done = call("protect", "books", *joined)
    assert done.returncode == 0, done.stderr
    for words, why in (
        (["snapshot", "take"], "are taken at a secondary, where nobody waits for it"),
        (["suspend"], "a guest with replicas is not suspended"),
    ):
        refused = call(*words, "books", "-o", tmp_path / "a.vsnap")
        assert refused.returncode == 1 and why in refused.stderr
    assert not (tmp_path / "a.vsnap").exists()
    assert call("stop", "books").returncode == 0


def test_nobody_joins_a_guest_that_is_being_suspended(
    ledger: Start, directory: RunDirectory, tmp_path: Path
) -> None:
    ledger(size=1 << 40)
    refusals: list[str] = []

    def protect(_: str) -> None:
        with closing(GuestClient(directory, "books")) as other:
            with pytest.raises(HostError) as refused:
                other.ask("protect", arbiter=str(tmp_path / "arbiter"), listen="ipc://x")
            refusals.append(str(refused.value))
        raise KeyboardInterrupt

    with closing(GuestClient(directory, "books")) as client, pytest.raises(KeyboardInterrupt):
        client.request("snapshot", protect, path=str(tmp_path / "a.vsnap"), suspend=True)
    assert "a snapshot of it is being taken" in refusals[0]

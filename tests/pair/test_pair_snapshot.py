"""Snapshots of a protected guest, taken at its secondary."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest
from commands import run_command
from pair_checks import END, SHORT, check_equal
from support import MemoryDisk, sample

from vlockstep.errors import HostError
from vlockstep.machine.machine import Machine
from vlockstep.machine.world import Outcome
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.replayer import Replayer, Sequence
from vlockstep.replay.snapshot import SnapshotReader
from vlockstep.supervise.client import GuestClient
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing import Pair, check_ledger
from vlockstep.testing.plugin import MakePair

LINES = 150
ARGUMENTS = [f"--lines={LINES}", "--pause=5"]


def ask(pair: Pair, path: Path, *words: str, name: str = "secondary") -> Any:
    command = words or ("snapshot", "take")
    run = pair.directory / "run"
    return run_command(*command, name, "-o", path, "--json", "--run-dir", run)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def entries_of(pair: Pair, name: str, count: int) -> None:
    """Until that process has so many."""
    pair.process(name).wait_status(lambda status: status["entries"] >= count)


def replay_on(path: Path, guest: str, log: Path, entry: int) -> Outcome:
    """What becomes of the guest in a snapshot if all that it is told is what the log has from an
    entry on; every output, and what the log tells of registers and RAM, is compared."""
    with closing(SnapshotReader(path)) as reader, closing(LogReader(log)) as logged:
        taken = reader.snapshot
        disk = MemoryDisk(1 << 20)
        with closing(Machine(sample(guest), taken.config)) as machine:
            machine.memory.clear()
            for device, pieces in reader.pieces():
                for address, content in pieces:
                    (machine.memory if device is None else disk).write(address, content)
            machine.load(taken.machine)
            entries = list(logged.entries())
            assert 0 < entry < len(entries)
            world = Replayer(
                Sequence(iter(entries[entry:])),
                machine,
                local={1: disk} if taken.disks else {},
                sequence=entry,
                clock=taken.clock,
            )
            outcome = machine.run(world)
    assert isinstance(outcome, Outcome) and world.sequence == len(entries)
    return outcome


@pytest.mark.parametrize(
    ("guest", "arguments"), [("ledger", ARGUMENTS), ("preempt", ["--work=6000000"])]
)
def test_it_is_the_guest_of_the_log_from_there_on(
    make_pair: MakePair, tmp_path: Path, guest: str, arguments: list[str]
) -> None:
    pair = make_pair(guest, arguments, local=True, primary_options=["--stop-at", "entry:100"])
    entries_of(pair, "secondary", 50)
    file = tmp_path / "a.vsnap"
    taken = told(ask(pair, file))
    assert taken["entry"] <= 100
    pair.go("primary")
    assert pair.wait_finished() == (0, 0)
    check_equal(pair)
    for side in ("primary", "secondary"):
        outcome = replay_on(file, guest, pair.log(side), taken["entry"])
        assert outcome.memory_digest == pair.memory_digest("primary")
        assert outcome.registers == pair.registers("primary")


def test_it_runs_on_from_there(make_pair: MakePair, tmp_path: Path) -> None:
    """And neither replica has noticed anything; the disk goes to a new file."""
    pair = make_pair("ledger", ARGUMENTS, local=True, primary_options=["--stop-at", "entry:600"])
    entries_of(pair, "secondary", 200)
    file, disk, console = (tmp_path / name for name in ("a.vsnap", "again.img", "again.txt"))
    taken = told(ask(pair, file))
    assert taken["bytes"] == file.stat().st_size and taken["pause_ms"] > 0
    pair.go("primary")
    again = run_command(
        "snapshot", "start", file, "--block", f"disk={disk}", "--console", console,
        "--run-dir", tmp_path / "run",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert pair.wait_finished() == (0, 0)
    for side in ("primary", "secondary"):
        check_ledger(pair.transcript, pair.disk(side=side), LINES)
        assert not pair.process(side).count("alone")
    with closing(SnapshotReader(file)) as reader:
        before = pair.transcript[: reader.snapshot.console]
    lines = (before + console.read_bytes()).splitlines()
    assert len(lines) == len(pair.transcript.splitlines())
    assert [int(line.split()[1]) for line in lines[:LINES]] == [*range(1, LINES + 1)]
    for clock in (b"wall=", b"tsc="):
        readings = [int(line.partition(clock)[2].split()[0]) for line in lines[:LINES]]
        assert readings == sorted(readings), "its clocks never go back"
    written = before.count(b"\n") * 512
    assert disk.read_bytes()[:written] == pair.disk()[:written]


def test_where_the_guest_waits(make_pair: MakePair, tmp_path: Path) -> None:
    """For an entry that does not come: its primary's stands still."""
    pair = make_pair("ledger", ARGUMENTS, local=True, primary_options=["--stop-at", "entry:100"])
    pair.wait_reached("primary")
    taken = told(ask(pair, tmp_path / "a.vsnap"))
    assert taken["entry"] == 100
    pair.go("primary")
    assert pair.wait_finished() == (0, 0)
    replay_on(tmp_path / "a.vsnap", "ledger", pair.log("primary"), 100)


def test_what_is_refused(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair("ledger", ARGUMENTS, primary_options=["--stop-at", "entry:100"])
    file = tmp_path / "a.vsnap"
    for name, words, why in (
        ("primary", ("snapshot", "take"), "taken at a secondary, where nobody waits for it"),
        ("secondary", ("snapshot", "take"), "the disk 'disk' is one file for all replicas"),
        ("secondary", ("suspend",), "a guest with replicas is not suspended"),
    ):
        refused = ask(pair, file, *words, name=name)
        assert refused.returncode == 1 and why in refused.stderr, refused.stderr
    check_nothing_left(tmp_path)
    pair.go("primary")
    assert pair.wait_finished() == (0, 0)


def asked(pair: Pair, path: Path) -> GuestClient:
    """A snapshot at the secondary, of whose guest no state is to be had yet: it stands at a place
    where it waits for `go`."""
    run = RunDirectory(pair.directory / "run")
    client = GuestClient(run, "secondary")
    client.send("snapshot", path=str(path))
    with closing(GuestClient(run, "secondary")) as other, pytest.raises(HostError, match="already"):
        other.ask("snapshot", path=str(path))
    return client


def answer(client: GuestClient) -> str:
    """Why there is none."""
    with closing(client), pytest.raises(HostError) as refused:
        client.read(20)
    return str(refused.value)


def stopped(make_pair: MakePair, arguments: list[str], place: str, **options: Any) -> Pair:
    """The secondary's guest stands there; the primary's went on."""
    pair = make_pair("ledger", arguments, local=True, stop_at=[place], **options)
    pair.go("primary")
    pair.wait_reached("secondary")
    return pair


def check_nothing_left(directory: Path) -> None:
    assert {path.suffix for path in directory.iterdir()} == {""}


def test_a_secondary_that_leaves_meanwhile(make_pair: MakePair, tmp_path: Path) -> None:
    pair = stopped(make_pair, ARGUMENTS, "entry:100")
    client = asked(pair, tmp_path / "a.vsnap")
    pair.process("secondary").signal(SIGTERM)
    assert "the replica has gone meanwhile: stopped by SIGTERM" in answer(client)
    check_nothing_left(tmp_path)
    assert pair.wait_live("primary") == 2


def test_a_guest_that_ends_meanwhile(make_pair: MakePair, tmp_path: Path) -> None:
    pair = stopped(make_pair, SHORT, f"entry:{END}")
    client = asked(pair, tmp_path / "a.vsnap")
    pair.go("secondary")
    assert "the guest has ended meanwhile" in answer(client)
    check_nothing_left(tmp_path)
    assert pair.wait_finished() == (0, 0)


def test_a_secondary_that_diverges_meanwhile(make_pair: MakePair, tmp_path: Path) -> None:
    """Where it stands: the digest of the guest's RAM at its end is another."""
    pair = stopped(make_pair, SHORT, f"entry:{END}", diverge_at="entry:50")
    client = asked(pair, tmp_path / "a.vsnap")
    pair.go("secondary")
    assert "the guest has diverged from its primary's" in answer(client)
    check_nothing_left(tmp_path)
    assert pair.wait_finished() == (0, 1)


def test_a_secondary_that_takes_over_meanwhile(make_pair: MakePair, tmp_path: Path) -> None:
    """There is a snapshot of the time before, or it is said why there is none."""
    pair = stopped(make_pair, ARGUMENTS, "entry:100")
    file = tmp_path / "a.vsnap"
    client = asked(pair, file)
    pair.crash("primary")
    pair.go("secondary")
    with closing(client):
        try:
            said = client.read(20)
            assert said is not None and said["path"] == str(file)
            with closing(SnapshotReader(file)) as reader:
                assert [*reader.verify()]
        except HostError as refused:
            assert "become the primary's here meanwhile" in str(refused)
            check_nothing_left(tmp_path)
    assert pair.wait_live() == 2
    assert pair.wait_finished().secondary == 0
    check_ledger(pair.transcript, pair.disk(side="secondary"), LINES)

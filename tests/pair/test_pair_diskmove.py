"""A disk that replicas share moves under them. Whoever dies on the way, what the guest wrote is on
the disk that the arbiter names."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from signal import SIGINT

import pytest
from commands import run_command, wait_until
from pair_checks import said

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.sim.ledger import inspect_unfinished_ledger
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing import Pair
from vlockstep.testing.plugin import MakePair
from vlockstep.testing.process import PairError, ReplicaProcess

GUEST = ("--lines=2000", "--pause=30", "--work=500")
"""Writes until it is stopped."""
PATIENT = {"heartbeat_ms": 400, "misses": 150}
"""Nobody who stands still counts as dead, however long a command takes meanwhile."""


class Moving:
    """A pair whose disk moves to `new`; each step waits until it was made."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.old, self.new = pair.disk_file(), pair.directory / "new.img"
        self._away = pair.directory / "away"
        self._run = RunDirectory(pair.directory / "run")

    def begin(self, *options: object, of: str = "primary", to: Path | None = None) -> None:
        words = ["disk", "move", of, f"disk={to or self.new}", "--run-dir", self._run.path]
        self.command = ReplicaProcess("move", [*words, "--json", *options], self.pair._explain)
        self.pair._processes["move"] = self.command

    def wait_phase(self, phase: str) -> None:
        self.command.wait_event("disk-moving", phase=phase)

    def let_arbiter(self, reached: bool) -> None:
        """It can be reached no more, or again."""
        if reached:
            self._away.rename(self.pair.arbiter)
        else:
            self.pair.arbiter.rename(self._away)

    def named(self) -> Path:
        """The disk, as the arbiter says."""
        record = DirectoryArbiter(self.pair.arbiter, "test").reigns()[-1].record
        return Path(record.disks.get("disk", str(self.old)))

    def check(self, disk: Path, *finish: str, parts: int = 0) -> None:
        """These have the guest, which goes on, and all that it ever wrote is on this disk alone."""
        lines = self.pair.transcript.count(b"\n")
        while self.pair.transcript.count(b"\n") < lines + 10:
            assert self.pair.process(finish[0]).exit_status is None, self.pair._explain()
        stopped = run_command("stop", finish[0], "--run-dir", self._run.path)
        assert stopped.returncode == 0, stopped.stderr
        for name in finish:
            assert self.pair.process(name).wait_exit() == 0, self.pair.process(name).report()
        assert self.named() == disk
        report = inspect_unfinished_ledger(self.pair.transcript, disk.read_bytes())
        assert report.ok, report
        other = self.old if disk == self.new else self.new
        assert not other.exists() or other.read_bytes() != disk.read_bytes()
        assert len([*self.pair.directory.glob(".*.part")]) == parts


@pytest.fixture
def moving(make_pair: MakePair) -> Moving:
    """Its guest runs."""
    pair = make_pair("ledger", GUEST, reachable=True, **PATIENT)
    wait_until(lambda: pair.transcript)
    return Moving(pair)


@pytest.fixture
def watchful(make_pair: MakePair) -> Moving:
    """Who is silent counts as dead after some seconds."""
    pair = make_pair("ledger", GUEST, reachable=True, heartbeat_ms=400, misses=15)
    wait_until(lambda: pair.transcript)
    return Moving(pair)


def test_both_go_on_with_the_new_file(moving: Moving) -> None:
    moving.begin()
    assert moving.command.wait_exit() == 0, moving.command.report()
    moved = moving.pair.process("secondary").wait_event("disk-moved")
    assert moved["path"] == str(moving.new)
    moving.check(moving.new, "primary", "secondary")
    with pytest.raises(PairError, match=f"had moved to {moving.new} .*: give that"):
        moving.pair.start()


def test_it_moves_while_it_is_copied_by_and_by_and_back_again(moving: Moving) -> None:
    """Each time the one that is left has the guest with all that it wrote."""
    moving.begin()
    assert moving.command.wait_exit() == 0, moving.command.report()
    moving.begin("--force", to=moving.old)
    assert moving.command.wait_exit() == 0, moving.command.report()
    assert moving.named() == moving.old
    moving.pair.crash("primary")
    moving.check(moving.old, "secondary")


def test_a_primary_that_is_alone_moves_it(moving: Moving) -> None:
    moving.pair.crash("secondary")
    moving.pair.wait_live("primary")
    moving.begin()
    assert moving.command.wait_exit() == 0, moving.command.report()
    moving.check(moving.new, "primary")


# The primary dies


def test_the_primary_dies_while_it_copies(moving: Moving) -> None:
    """What a process that is killed leaves is a file without a name of its own."""
    moving.begin("--rate", "1K")
    moving.wait_phase("copying")
    moving.pair.crash("primary")
    assert moving.command.wait_exit() == 1
    moving.check(moving.old, "secondary", parts=1)
    assert not moving.new.exists()


def test_the_primary_dies_before_anybody_has_opened_the_new_file(moving: Moving) -> None:
    moving.pair.pause("secondary")
    moving.begin()
    moving.wait_phase("agreeing")
    moving.pair.crash("primary")
    moving.pair.resume("secondary")
    moving.check(moving.old, "secondary")
    assert moving.new.exists()


def asked_in_vain(moving: Moving) -> None:
    """The other has opened the new file, and the arbiter does not hear the claim."""
    moving.let_arbiter(reached=False)
    moving.begin()
    moving.pair.process("primary").wait_notice("the arbiter cannot be reached")
    assert moving.new.exists()


def test_the_primary_dies_before_the_record_stands(moving: Moving) -> None:
    asked_in_vain(moving)
    moving.pair.crash("primary")
    moving.let_arbiter(reached=True)
    moving.check(moving.old, "secondary")


def test_the_primary_dies_when_nobody_else_knows_of_the_record(watchful: Moving) -> None:
    moving = watchful
    asked_in_vain(moving)
    moving.pair.cut("to_secondary")
    moving.let_arbiter(reached=True)
    assert moving.command.wait_exit() == 0, moving.command.report()
    moving.pair.crash("primary")
    moving.pair.relay.drop()
    assert not moving.pair.process("secondary").count("disk-moved")
    moving.pair.heal()
    assert moving.pair.wait_live() == 3
    assert moving.pair.process("secondary").count("disk-moved") == 1
    moving.check(moving.new, "secondary")


def test_the_primary_dies_when_all_is_done(moving: Moving) -> None:
    moving.begin()
    assert moving.command.wait_exit() == 0, moving.command.report()
    moving.pair.crash("primary")
    moving.check(moving.new, "secondary")


# A secondary dies


def test_the_secondary_dies_before_it_has_opened_the_new_file(moving: Moving) -> None:
    moving.pair.pause("secondary")
    moving.begin()
    moving.wait_phase("agreeing")
    moving.pair.crash("secondary")
    assert moving.command.wait_exit() == 0, moving.command.report()
    moving.check(moving.new, "primary")


def test_the_secondary_dies_while_it_is_decided(moving: Moving) -> None:
    asked_in_vain(moving)
    moving.pair.crash("secondary")
    moving.let_arbiter(reached=True)
    assert moving.command.wait_exit() == 0, moving.command.report()
    moving.check(moving.new, "primary")


# More replicas


@pytest.fixture
def quick(make_pair: MakePair) -> Moving:
    """Who is dead counts as dead soon."""
    return Moving(make_pair("ledger", GUEST, reachable=True))


def test_of_three_any_two_may_die(quick: Moving) -> None:
    moving, pair = quick, quick.pair
    pair.join("third")
    moving.begin()
    assert moving.command.wait_exit() == 0, moving.command.report()
    pair.crash("primary")
    pair.crash("secondary")
    moving.check(moving.new, "third")


def test_who_joins_later_must_have_the_new_file(quick: Moving) -> None:
    moving, pair = quick, quick.pair
    moving.begin()
    assert moving.command.wait_exit() == 0, moving.command.report()
    wrong = pair.join("wrong", wait=False)
    assert wrong.wait_exit() == 2
    assert any(f"disk 'disk', which has moved to {moving.new}" in line for line in wrong.text)
    pair.crash("secondary")
    pair.wait_live("primary")
    disks = tuple(replace(disk, path=moving.new) for disk in pair.specs["secondary"].disks)
    pair.specs["secondary"] = replace(pair.specs["secondary"], disks=disks)
    pair.join("third")
    pair.crash("primary")
    moving.check(moving.new, "third")


# It comes to nothing


def test_ctrl_c_calls_it_off_while_the_others_are_asked(moving: Moving) -> None:
    moving.pair.pause("secondary")
    moving.begin()
    moving.wait_phase("agreeing")
    moving.command.signal(SIGINT)
    assert moving.command.wait_exit() == 1
    assert any("the move was called off" in line for line in moving.command.text)
    moving.pair.resume("secondary")
    moving.check(moving.old, "primary", "secondary")
    assert not moving.new.exists()


def test_it_cannot_be_called_off_while_it_is_decided(moving: Moving) -> None:
    asked_in_vain(moving)
    moving.command.signal(SIGINT)
    while not any("could still be called off" in line for line in moving.command.text):
        assert moving.command.exit_status is None, moving.command.report()
    moving.let_arbiter(reached=True)
    assert moving.command.wait_exit() == 0, moving.command.report()
    moving.check(moving.new, "primary", "secondary")


def test_nothing_moves_to_the_arbiter(moving: Moving) -> None:
    moving.begin(to=moving.pair.arbiter / "generation-0000000003")
    assert moving.command.wait_exit() == 1
    assert said(moving.pair, "move", "which holds nothing else")


def test_only_the_primary_moves_it(moving: Moving) -> None:
    moving.begin(of="secondary")
    assert moving.command.wait_exit() == 1
    assert any("let the primary move it" in line for line in moving.command.text)
    moving.check(moving.old, "primary", "secondary")
    assert not moving.new.exists()


def test_a_primary_that_is_replaced_meanwhile_moves_nothing(watchful: Moving) -> None:
    """Even if it is the primary again: others have written to the old file alone."""
    moving = watchful
    moving.begin("--rate", "1K")
    moving.wait_phase("copying")
    assert moving.pair.switchover() == 2
    moving.pair.process("secondary").wait_event("live")
    moving.check(moving.old, "primary", "secondary")
    assert moving.command.wait_exit() == 1
    assert not moving.new.exists()


ELSEWHERE = 'mount -t tmpfs none "$0" && {} && exec "$@"'
"""The folder $0 is another one for the command."""


@pytest.mark.external("unshare", "mount")
@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("true", "is not there: name a file as all replicas reach it"),
        ('truncate -s 1M "$0/new.img"', "is not seen to be the primary's here"),
        ('truncate -s 2M "$0/new.img"', f"has {2 << 20} bytes, the disk {1 << 20}"),
    ],
)
def test_a_file_that_is_another_one_elsewhere(
    make_pair: MakePair, tmp_path: Path, file: str, problem: str
) -> None:
    """The secondary does not find at that path what the primary has made there."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        (pytest.fail if "CI" in os.environ else pytest.skip)("needs a mount namespace")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    under = ["unshare", "-rm", "/bin/sh", "-c", ELSEWHERE.format(file), folder]
    moving = Moving(make_pair("ledger", GUEST, under={"secondary": under}, **PATIENT))
    moving.begin(to=folder / "new.img")
    assert moving.command.wait_exit() == 1
    assert any("is still" in line and problem in line for line in moving.command.text)
    moving.check(moving.old, "primary", "secondary")
    assert not [*folder.iterdir()]

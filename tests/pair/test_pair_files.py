"""One writer: nobody else touches what a pair uses, and what is said to be shared is shared."""

from __future__ import annotations

import pytest
from commands import run_command
from pair_checks import SHORT, check_output, said

from vlockstep.sim.sides import SIDES, Side
from vlockstep.testing import Pair, PairError
from vlockstep.testing.faults.outside import other
from vlockstep.testing.plugin import MakePair

STOPPED = "exits:50"


def told_by_whom(pair: Pair, text: str) -> bool:
    """Whether it says that a replica of the pair uses the file."""
    return any(f" is in use by process {pair.process(role).pid} (" in text for role in SIDES)


def test_files_of_a_live_pair(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, stop_at=[STOPPED])
    pair.wait_reached("secondary")
    before = pair.disk_file().read_bytes()
    disk = f"disk={pair.disk_file()}"
    for arguments in (
        ["run", "ledger", "--block", disk],
        ["run", "ledger", "--block", f"{disk},local"],
        ["run", "hello", "--console", pair.console],
        ["run", "hello", "--console", pair.log("primary")],
        ["record", "hello", "-o", pair.log("primary")],
        ["record", "hello", "-o", pair.log("secondary")],
        ["record", "hello", "-o", pair.console],
    ):
        refused = run_command(*arguments)
        assert refused.returncode == 1 and told_by_whom(pair, refused.stderr), refused
    assert pair.disk_file().read_bytes() == before
    pair.go()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)


def test_a_second_pair_on_the_same_disk(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, stop_at=[STOPPED])
    second = make_pair("ledger", SHORT, start=False, disks={"disk": pair.disk_file()})
    with pytest.raises(PairError):
        second.start_primary()
    assert second.process("primary").exit_status == 1
    assert said(second, "primary", "is in use by process .*; only replicas of one guest, with one")
    pair.go()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)


@pytest.mark.parametrize("killed", ["primary", "secondary"])
def test_locks_die_with_their_owners(make_pair: MakePair, killed: Side) -> None:
    """The one that goes on keeps its own; a start after both died finds none."""
    pair = make_pair("ledger", SHORT, stop_at=[STOPPED])
    pair.wait_reached("secondary")
    survivor = other(killed)
    pair.crash(killed)
    disk = f"disk={pair.disk_file()}"
    refused = run_command("run", "ledger", "--block", disk)
    assert f"is in use by process {pair.process(survivor).pid} (" in refused.stderr
    pair.crash(survivor)
    assert run_command("run", "ledger", "--block", disk, "--", *SHORT).returncode == 0


def test_two_disks_of_the_same_size(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, start=False)
    copy = pair.directory / "copy.img"
    copy.write_bytes(pair.disk_file().read_bytes())
    pair.start_primary()
    pair.start_secondary("--block", f"disk={copy}")
    assert pair.process("secondary").wait_exit() == 2
    assert said(pair, "secondary", f"the disk {copy} is not the primary's disk 'disk'; give both")
    pair.start_secondary()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)


def test_two_console_files(make_pair: MakePair) -> None:
    pair = make_pair("hello", start=False)
    file = pair.directory / "other.txt"
    pair.start_primary()
    pair.start_secondary("--console", file)
    assert pair.process("secondary").wait_exit() == 2
    assert said(
        pair, "secondary", f"the console file {file} is not the primary's console file; give both"
    )
    pair.start_secondary()
    assert pair.wait_finished() == (0, 0)


@pytest.mark.parametrize("role", ["primary", "secondary"])
def test_a_console_file_on_one_side(make_pair: MakePair, role: Side) -> None:
    """Text of before a failover would be missing in it, or text of after it."""
    pair = make_pair("hello", start=False)
    options = ["--console", "-"]
    pair.start_primary(*(options if role == "primary" else []))
    pair.start_secondary(*(options if role == "secondary" else []))
    assert pair.process("secondary").wait_exit() == 2
    sides = "here and none at the primary" if role == "primary" else "at the primary and none here"
    assert said(pair, "secondary", f"the guest's console is a file {sides}")
    pair.start_secondary(*options if role == "primary" else [])
    assert pair.wait_finished() == (0, 0)


def test_one_file_as_two_copies(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, start=False, local=True)
    pair.start_primary()
    pair.start_secondary("--block", f"disk={pair.disk_file()},local")
    assert pair.process("secondary").wait_exit() == 1
    assert said(pair, "secondary", f"in use by process {pair.process('primary').pid} ")


@pytest.mark.parametrize(
    ("size", "local", "message"),
    [
        (1 << 19, True, "it has 524288 bytes here and 1048576 there"),
        (1 << 20, False, "it is a copy of its own there and shared here; say the same on both"),
        (1 << 20, True, "the two copies have different contents; begin with identical ones"),
    ],
)
def test_disks_that_differ(make_pair: MakePair, size: int, local: bool, message: str) -> None:
    pair = make_pair("ledger", SHORT, start=False, local=True)
    pair.start_primary()
    copy = pair.disk_file(side="secondary")
    copy.write_bytes(b"x" * size)
    pair.start_secondary("--block", f"disk={copy}{',local' * local}")
    assert pair.process("secondary").wait_exit() == 2
    assert said(pair, "secondary", f"the disk 'disk' is not the primary's: {message}")

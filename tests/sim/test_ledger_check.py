"""The check of what `ledger` wrote: one that finds no damage would prove nothing."""

from __future__ import annotations

import re
import subprocess

import pytest

from vlockstep.sim.ledger import check_ledger, inspect_ledger
from vlockstep.testing.faults.trial import SHORT
from vlockstep.testing.faults.trial import SHORT_LINES as LINES
from vlockstep.testing.process import command, environment


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The console and disk of a guest that nothing happened to."""
    folder = tmp_path_factory.mktemp("ledger")
    disk, console = folder / "disk", folder / "console"
    disk.write_bytes(bytes((LINES + 4) * 512))
    arguments = ["run", "ledger", "--block", f"disk={disk}", "--console", console, "--", *SHORT]
    subprocess.run(command(*arguments), env=environment(), check=True, timeout=20)
    return console.read_bytes(), disk.read_bytes()


def test_whole_ledger(ledger: tuple[bytes, bytes]) -> None:
    report = check_ledger(*ledger, LINES)
    assert (report.ok, report.lines, report.chain) == (True, LINES, True)
    assert "20 lines" in str(report)


def without(console: bytes, line: int) -> bytes:
    lines = console.splitlines(keepends=True)
    return b"".join(lines[: line - 1] + lines[line:])


def test_lost_line(ledger: tuple[bytes, bytes]) -> None:
    report = inspect_ledger(without(ledger[0], 7), ledger[1], LINES)
    assert (report.ok, report.lines, report.chain) == (False, 6, True)
    with pytest.raises(AssertionError, match="19 lines on the console, not 20\nconsole line 7 is"):
        check_ledger(without(ledger[0], 7), ledger[1], LINES)


def test_repeated_line(ledger: tuple[bytes, bytes]) -> None:
    lines = ledger[0].splitlines(keepends=True)
    with pytest.raises(AssertionError, match="21 lines on the console"):
        check_ledger(b"".join([*lines[:5], lines[4], *lines[5:]]), ledger[1], LINES)


def test_lost_end(ledger: tuple[bytes, bytes]) -> None:
    for console in (b"", ledger[0][:-1], without(ledger[0], LINES + 1)):
        with pytest.raises(AssertionError, match="not with the guest's last line"):
            check_ledger(console, ledger[1], LINES)


@pytest.mark.parametrize("old", [rb"tsc=\d", rb"sum=.", rb"wall=\d", rb"ledger 0"])
def test_changed_line(ledger: tuple[bytes, bytes], old: bytes) -> None:
    match = list(re.finditer(old, ledger[0]))[4]
    console = ledger[0][: match.end() - 1] + b"x" + ledger[0][match.end() :]
    with pytest.raises(AssertionError, match="line 5"):
        check_ledger(console, ledger[1], LINES)


@pytest.mark.parametrize("at", [0, 8, 17, 30, 40, 46, 60, 400, 500, 505])
def test_any_changed_byte_on_the_disk(ledger: tuple[bytes, bytes], at: int) -> None:
    disk = bytearray(ledger[1])
    disk[3 * 512 + at] ^= 1
    with pytest.raises(AssertionError, match=r"block 4 on the disk .*; the chain breaks there"):
        check_ledger(ledger[0], bytes(disk), LINES)
    assert not inspect_ledger(ledger[0], bytes(disk), LINES).chain


def test_block_from_elsewhere(ledger: tuple[bytes, bytes]) -> None:
    blocks = [ledger[1][at : at + 512] for at in range(0, len(ledger[1]), 512)]
    for damaged, message in (
        ([*blocks[:3], blocks[2], *blocks[4:]], "block 4 on the disk has the number 3"),
        (blocks[:10], "the disk ends before block 11"),
        ([*blocks[:20], b"x" * 512], "behind block 20"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_ledger(ledger[0], b"".join(damaged), LINES)

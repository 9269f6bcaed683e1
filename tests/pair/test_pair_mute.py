"""Replicas that cannot say a word: nobody reads their standard error, or it is full."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pair_checks import LINES, SHORT

from vlockstep.testing import check_ledger
from vlockstep.testing.process import command, environment


def start(role: str, folder: Path, full: bool, *options: object) -> subprocess.Popen[bytes]:
    """A replica whose standard error is full, or read up to its first line."""
    shared = ["--arbiter", folder / "arbiter", "--block", f"disk={folder / 'disk'}"]
    shared += ["--console", folder / "console", "--json", "--misses", 40]
    with Path("/dev/full").open("wb") as device:
        process = subprocess.Popen(
            command(role, "ledger", *shared, *options),
            stderr=device if full else subprocess.PIPE,
            env=environment(),
        )
    if process.stderr is not None:
        process.stderr.readline()
        process.stderr.close()
    return process


@pytest.mark.parametrize("full", [False, True], ids=["nobody reads", "full"])
def test_a_mute_pair_goes_on(tmp_path: Path, full: bool) -> None:
    (tmp_path / "disk").write_bytes(bytes(LINES * 512))
    endpoint = f"ipc://{tmp_path}/pair"
    with (
        start("primary", tmp_path, full, "--listen", endpoint, "--", *SHORT) as primary,
        start("secondary", tmp_path, full, "--connect", endpoint) as secondary,
    ):
        try:
            assert (primary.wait(30), secondary.wait(30)) == (0, 0)
        finally:
            primary.kill()
            secondary.kill()
    check_ledger((tmp_path / "console").read_bytes(), (tmp_path / "disk").read_bytes(), LINES)

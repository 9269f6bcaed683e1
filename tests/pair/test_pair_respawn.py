"""A command that starts another replica when a guest has lost its own."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from commands import wait_until
from pair_checks import LONG, LONG_LINES, check_output, said

from vlockstep.arbiter import DirectoryArbiter
from vlockstep.supervise.client import Gone, GuestClient
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.testing import Pair, PairError
from vlockstep.testing.plugin import MakePair
from vlockstep.testing.process import TIMEOUT

LINES = 150
GUEST = [f"--lines={LINES}", "--pause=10", "--work=500"]
"""Held in the middle, it has a second left for whoever joins: it must go on for that."""


def command(pair: Pair, name: str) -> str:
    """It becomes a replica that is made as the secondary was."""
    text = f"{sys.executable} -m vlockstep secondary {pair.directory}/secondary.toml --name {name}"
    own = f"--log {pair.directory}/{name}.vlog --listen {pair.endpoint_of(name)}"
    shell = f'exec {text} {own} --join "$VLOCKSTEP_JOIN"'
    return f"sh -c {shlex.quote(shell)}"


def wait_end(pair: Pair, name: str) -> None:
    """Of a replica that was started by the command."""
    client = GuestClient(RunDirectory(pair.directory / "run"), name)
    try:
        client.ask("events")
        with suppress(Gone):
            while client.read(TIMEOUT):
                pass
    finally:
        client.close()


@pytest.mark.parametrize("failed", ["primary", "secondary"])
def test_respawn(make_pair: MakePair, failed: str) -> None:
    """The command's replica joins, and takes over when the other one dies, too."""
    left = "secondary" if failed == "primary" else "primary"
    pair = make_pair("ledger", GUEST, start=False, reachable=True)
    options = ["--respawn", command(pair, "third"), "--stop-at", "entry:100"]
    pair.start_primary(*(options if left == "primary" else ["--crash-at", "entry:50"]))
    pair.start_secondary(*(options if left == "secondary" else []))
    pair.wait_reached(left)
    if failed == "secondary":
        pair.crash("secondary")
    process = pair.process(left)
    assert process.wait_notice("^starting another replica: sh -c 'exec ").endswith("_JOIN\"'")
    process.wait_notice("^sh: vlockstep: .* receiving the state of the guest")
    pair.go(left)
    process.wait_event("protected")
    pair.crash(left)
    wait_end(pair, "third")
    check_output(pair, LINES)
    reigns = DirectoryArbiter(pair.arbiter, "test").reigns()
    assert [len(reign.record.members) for reign in reigns] == [2, 1, 2, 1]


def test_respawn_that_cannot_be(make_pair: MakePair, tmp_path: Path) -> None:
    """The guest goes on; what runs in vain is killed when it has ended."""
    mark = tmp_path / "mark"
    script = f"echo $VLOCKSTEP_NAME of $VLOCKSTEP_IMAGE >&2; echo $$ > {mark}; exec sleep 1000"
    respawn = shlex.join(["sh", "-c", script])
    options = ["--respawn", respawn, "--stop-at", "entry:100"]
    pair = make_pair("ledger", LONG, primary_options=options)
    pair.crash("secondary")
    pair.process("primary").wait_notice("^sh: primary of ledger$")
    wait_until(lambda: mark.exists() and mark.read_text())
    pair.go("primary")
    assert pair.process("primary").wait_exit() == 0
    check_output(pair, LONG_LINES)
    assert not Path(f"/proc/{mark.read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--respawn", "'"], r"no command: No closing quotation .*--respawn COMMAND"),
        (["--respawn", " "], "is no command"),
        (["--respawn", "true", "--listen", "tcp://0.0.0.0:0"], "is every address of this host"),
    ],
)
def test_respawn_that_is_refused(make_pair: MakePair, options: list[str], why: str) -> None:
    pair = make_pair("hello", keys=True, start=False)
    with pytest.raises(PairError):
        pair.start_primary(*options)
    assert pair.process("primary").exit_status == 2
    assert said(pair, "primary", why)


def test_respawn_where_nobody_can_join(make_pair: MakePair) -> None:
    pair = make_pair("hello", start=False)
    pair.start_secondary("--respawn", "true")
    assert pair.process("secondary").wait_exit() == 2
    assert said(pair, "secondary", "nobody can join a replica that listens nowhere")

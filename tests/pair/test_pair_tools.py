"""The tools themselves: a check that finds no damage would prove nothing."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pair_checks import LINES, SHORT

from vlockstep.machine.registers import Registers
from vlockstep.testing import PairError, Relay, check_ledger, inspect_ledger
from vlockstep.testing.plugin import MakePair, pytest_assertrepr_compare
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


def test_shown_difference_of_registers() -> None:
    left, right = Registers({"rip": 1, "rax": 2}), Registers({"rip": 1, "rax": 3})
    lines = pytest_assertrepr_compare("==", left, right)
    assert lines is not None
    assert "rip" not in "".join(lines[1:])
    assert "rax: 0x0000000000000002 != 0x0000000000000003" in lines[1]
    assert pytest_assertrepr_compare("!=", left, right) is None
    assert pytest_assertrepr_compare("==", left, 1) is None
    lines = pytest_assertrepr_compare("==", left, Registers({"rip": 1}))
    assert lines is not None
    assert "rax" in lines[1]


def test_plugin_is_cheap_to_load() -> None:
    script = "import sys, vlockstep.testing.plugin; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"unicorn", "zmq", "capstone", "elftools"} & set(modules)


def test_plugin_in_a_project(tmp_path: Path) -> None:
    """As somebody else's tests use it, with nothing but the fixture's name."""
    (tmp_path / "test_mine.py").write_text(
        "from vlockstep.testing import Registers\n"
        "def test_status(make_pair):\n"
        "    pair = make_pair('hello', ['--status=3'], misses=40)\n"
        "    assert pair.wait_finished() == (3, 3)\n"
        "def test_difference():\n"
        "    rest = dict.fromkeys(('rip', 'rax'), 1)\n"
        "    assert Registers(rest) == Registers(rest | {'rax': 2})\n"
    )
    installed = any(point.name == "vlockstep" for point in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "vlockstep.testing.plugin"]
    run = [sys.executable, "-m", "pytest", *plugin, "-q", tmp_path]
    done = subprocess.run(
        run, env=environment(), capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "rax: 0x0000000000000001 != 0x0000000000000002" in done.stdout


def test_failed_wait_shows_both_processes(make_pair: MakePair) -> None:
    pair = make_pair("hello")
    pair.wait_finished()
    with pytest.raises(PairError) as error:
        pair.wait_live(timeout=5)
    assert "waited for its going live of the secondary: exit 0" in str(error.value)
    assert "primary exited with 0" in str(error.value)
    assert '"event": "joining"' in str(error.value)


def test_state_of_a_guest_that_runs(make_pair: MakePair) -> None:
    pair = make_pair("hello", start=False)
    pair.start_primary()
    with pytest.raises(PairError, match="the primary's guest was stopped nowhere"):
        pair.registers("primary")


# The relay


def connect(relay: Relay) -> socket.socket:
    host, port = relay.endpoint.removeprefix("tcp://").split(":")
    return socket.create_connection((host, int(port)), 5)


def test_relay() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        closing(Relay(delay=0.05)) as relay,
    ):
        relay.forward_to(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        near = connect(relay)
        far, _ = server.accept()
        with near, far:
            near.settimeout(5)
            far.settimeout(5)
            start = time.monotonic()
            near.sendall(b"to")
            assert far.recv(9) == b"to"
            assert time.monotonic() - start >= 0.05
            relay.cut("to_secondary")
            near.sendall(b"through")
            assert far.recv(9) == b"through"
            far.sendall(b"held back")
            far.shutdown(socket.SHUT_WR)
            near.settimeout(0.2)
            with pytest.raises(TimeoutError):
                near.recv(9)
            near.settimeout(5)
            relay.heal()
            assert near.recv(9) == b"held back"
            assert near.recv(9) == b""


def test_relay_refuses_where_the_target_does() -> None:
    with closing(Relay()) as relay:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        relay.forward_to(f"tcp://127.0.0.1:{port}")
        with connect(relay) as first:
            assert first.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(relay)
        with socket.create_server(("127.0.0.1", port)):
            relay.forward_to(f"tcp://127.0.0.1:{port}")
            connect(relay).close()
            assert relay.drop() in (0, 1)

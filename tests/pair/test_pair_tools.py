"""The tools themselves: the plugin, what a failed wait shows, the network between a pair."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from vlockstep.machine.registers import Registers
from vlockstep.testing import PairError, Relay
from vlockstep.testing.plugin import MakePair, pytest_assertrepr_compare
from vlockstep.testing.process import environment


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
        "    pair = make_pair('hello', ['--status=3'])\n"
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

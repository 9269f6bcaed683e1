"""What a pair does not put up with: other images, a second primary, nobody to talk to."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress
from itertools import product
from signal import SIGHUP, SIGINT, SIGTERM, Signals

import pytest
from commands import run_command
from pair_checks import SHORT, check_equal, check_log, check_output, said, some

from vlockstep.machine.basis import basis
from vlockstep.machine.bundled import open_bundled
from vlockstep.sim.sides import SIDES, Side
from vlockstep.testing import Pair, PairError, replay
from vlockstep.testing.plugin import MakePair


def test_third_replica(make_pair: MakePair) -> None:
    """The pair has a secondary; another one that this one cannot reach is sent away, and changes
    nothing."""
    pair = make_pair("ledger", SHORT, stop_at=["exits:50"])
    other = make_pair("ledger", SHORT, start=False)
    other.relay.forward_to(pair.endpoint)
    other.start_secondary("--arbiter", pair.arbiter)
    assert other.process("secondary").wait_exit() == 1
    assert said(other, "secondary", "let it listen somewhere")
    pair.go()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)
    check_equal(pair)


def test_secondary_with_another_arbiter(make_pair: MakePair) -> None:
    """Two arbiters could make two replicas live."""
    pair = make_pair("ledger", SHORT, start=False, local=True)
    pair.start_primary()
    pair.start_secondary("--arbiter", pair.directory / "other", "--console", "-")
    assert pair.process("secondary").wait_exit() == 1
    assert said(pair, "secondary", "its arbiter is not the primary's; give both the same directory")
    pair.process("primary").wait_event("rejected")
    pair.start_secondary()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)


def test_secondary_on_a_host_with_less(make_pair: MakePair) -> None:
    """The guest's model is the primary's to say. Both are told what it would miss; another fits."""
    pair = make_pair("ledger", SHORT, start=False)
    pair.start_primary("--cpu", "sandybridge", "--cpu-limit", "sandybridge")
    pair.start_secondary("--cpu-limit", "westmere")
    assert pair.process("secondary").wait_exit() == 2
    missing = "the guest's CPU model sandybridge has xsave, xsaveopt, rdtscp, which a host"
    assert said(pair, "secondary", missing)
    told = pair.process("primary").wait_event("notice")["text"]
    assert told.startswith(f"the secondary cannot follow: {missing}")
    pair.start_secondary("--cpu-limit", "sandybridge")
    assert pair.wait_finished() == (0, 0)
    check_output(pair)


def test_secondary_whose_c_library_computes_otherwise(make_pair: MakePair) -> None:
    """Unless it does not: then it may follow."""
    variant = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4"
    script = "from vlockstep.machine.basis import basis; print(basis()['results'])"
    ask = ["env", variant, sys.executable, "-c", script]
    there = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    if there == basis()["results"]:
        pytest.skip("it gives the same results either way")
    pair = make_pair("ledger", SHORT, start=False)
    pair.start_primary()
    pair.under["secondary"] = ["env", variant]
    pair.start_secondary()
    assert pair.process("secondary").wait_exit() == 1
    assert said(pair, "secondary", "x87 instructions give other results at the primary")
    pair.under.clear()
    pair.start_secondary()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)


def test_secondary_without_an_arbiter(make_pair: MakePair) -> None:
    pair = make_pair("ledger", SHORT, start=False)
    pair.start_primary()
    file = pair.directory / "file"
    file.write_text("")
    pair.start_secondary("--arbiter", file)
    assert pair.process("secondary").wait_exit() == 1
    assert said(pair, "secondary", f"cannot make the arbiter {file}: ")


@pytest.mark.parametrize(
    ("role", "option", "file"),
    some(
        [
            ("primary", "--log", "disk.img"),
            ("primary", "--console", "ledger.hvt"),
            ("secondary", "--log", "ledger.hvt"),
            ("secondary", "--console", "disk.img"),
        ],
        *product(SIDES, ["--log", "--console"], ["disk.img", "ledger.hvt"]),
    ),
)
def test_nothing_else_is_overwritten(
    make_pair: MakePair, role: Side, option: str, file: str
) -> None:
    """A replica's disk and image are no place for its log or its console."""
    pair = make_pair("ledger", SHORT, start=False, logs=False)
    path = pair.directory / file
    if file == "ledger.hvt":
        path.write_bytes(open_bundled("ledger").content)
        pair.guest = path
    before = path.read_bytes()
    with suppress(PairError):
        pair.start_primary(*([option, path] if role == "primary" else []))
    if role == "secondary":
        pair.start_secondary(option, path)
    assert pair.process(role).wait_exit() == 2
    assert said(pair, role, f"{path} is used otherwise here: name another")
    assert path.read_bytes() == before


def test_what_never_starts_overwrites_nothing(make_pair: MakePair) -> None:
    pair = make_pair("hello", start=False, primary_options=["--wait", 1])
    for file in (pair.console, pair.log("primary")):
        file.write_text("of an earlier run")
    pair.start_primary()
    assert pair.process("primary").wait_exit() == 1
    for file in (pair.console, pair.log("primary")):
        assert file.read_text() == "of an earlier run"


@pytest.mark.parametrize("options", [["--cpu", "bogus"], ["--log", "none/x"]])
def test_a_start_that_fails_does_not_keep_others_from_starting(
    make_pair: MakePair, options: list[str]
) -> None:
    pair = make_pair("hello", start=False, logs=False)
    with pytest.raises(PairError):
        pair.start_primary(*options)
    assert pair.process("primary").exit_status in (1, 2)
    pair.start()
    assert pair.wait_finished() == (0, 0)


@pytest.mark.parametrize("number", [SIGTERM, SIGINT, SIGHUP])
def test_a_primary_that_waits_and_is_stopped(make_pair: MakePair, number: Signals) -> None:
    pair = make_pair("hello", start=False)
    pair.start_primary()
    pair.process("primary").signal(number)
    assert pair.process("primary").wait_exit() == 1
    assert said(pair, "primary", f"^vlockstep: stopped by {number.name}$")
    pair.start()
    assert pair.wait_finished() == (0, 0)


def test_a_primary_that_is_stopped_leaves_the_guest_to_the_secondary(make_pair: MakePair) -> None:
    """In the midst of its work, and with a log that can be replayed."""
    pair = make_pair("clock", ["--reads=600000", "--walltime=20"], stop_at=["exits:1000"])
    pair.wait_reached("primary")
    pair.go()
    pair.process("primary").signal(SIGTERM)
    assert pair.wait_finished() == (0, 0)
    assert said(pair, "primary", "^vlockstep: stopped by SIGTERM; the guest goes on with another")
    assert b"clock tsc reads=600000 " in pair.transcript
    assert replay(pair.log("primary")).entries > 0
    check_log(pair, "secondary")


def test_second_primary(make_pair: MakePair) -> None:
    """While one runs, another one with its arbiter is refused; after the end it is not."""
    pair = make_pair("ledger", SHORT, stop_at=["exits:50"])
    other = make_pair("hello", start=False)
    with pytest.raises(PairError, match="generation 1 has not ended"):
        other.start_primary("--arbiter", pair.arbiter)
    assert other.process("primary").exit_status == 2
    pair.go()
    assert pair.wait_finished() == (0, 0)
    check_output(pair)
    other.start_primary("--arbiter", pair.arbiter)
    other.start_secondary("--arbiter", pair.arbiter)
    assert other.wait_finished() == (0, 0)


def test_primary_without_a_secondary(make_pair: MakePair) -> None:
    """Its guest has never run, so it may be started again."""
    pair = make_pair("hello", start=False, primary_options=["--wait", 1])
    for _ in range(2):
        pair.start_primary()
        assert pair.process("primary").wait_exit() == 1
        assert said(pair, "primary", "no secondary came")
    assert pair.transcript == b""


def test_secondary_without_a_primary(make_pair: MakePair) -> None:
    pair = make_pair("hello", start=False, secondary_options=["--wait", 1])
    pair.start_secondary()
    assert pair.process("secondary").wait_exit() == 1
    assert said(pair, "secondary", "no primary answered")


@pytest.mark.parametrize("name", ["secondary", "switchover"])
def test_who_connects_to_somebody_else_learns_it(make_pair: MakePair, name: str) -> None:
    """At once: a name that no host has is a mistake of the command line, another server is not."""
    pair = make_pair("ledger", SHORT, keys=True, start=False)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def greet() -> None:
            with closing(server.accept()[0]) as connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        there = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        status, text = connect(pair, name, there)
        thread.join()
    assert status == 1
    assert f"{there} is no vlockstep, but somebody who says 'SSH-2.0-OpenSSH_9.2p1'" in text
    status, text = connect(pair, name, "tcp://a..b:7700")
    assert status == 2
    assert "cannot find the host 'a..b' of tcp://a..b:7700" in text


def connect(pair: Pair, name: str, endpoint: str) -> tuple[int, str]:
    """The exit status, and what was said."""
    if name == "secondary":
        pair.start_secondary("--connect", endpoint)
        process = pair.process("secondary")
        return process.wait_exit(), "\n".join(process.text)
    assert pair.keys is not None
    done = run_command("switchover", endpoint, "--keys", pair.keys)
    return done.returncode, done.stderr

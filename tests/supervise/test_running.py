"""`vlockstep ps`, `status`, `events`, `stop` and `top` with guests that run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from commands import run_command, wait_until

from vlockstep.cli.top import cells, sparkline
from vlockstep.errors import HostError
from vlockstep.protocol.states import State
from vlockstep.sim.sides import SIDES, Side
from vlockstep.supervise.board import Board
from vlockstep.supervise.client import GuestClient, Sight, Watch
from vlockstep.supervise.rundir import RunDirectory
from vlockstep.supervise.texts import text_of
from vlockstep.testing.plugin import MakePair
from vlockstep.testing.process import command, environment

LONG = ["--lines=2000", "--pause=50"]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `vlockstep run ledger` in a run directory of its own, and waits for its name."""
    started: list[subprocess.Popen[str]] = []
    directory = RunDirectory(tmp_path / "run")

    def start_guest(
        name: str = "books", arguments: Sequence[str] = LONG, options: Sequence[object] = ()
    ) -> subprocess.Popen[str]:
        disk = tmp_path / f"{name}.img"
        disk.touch()
        os.truncate(disk, 1 << 20)
        words = ["--block", f"disk={disk}", "--name", name, "--run-dir", directory.path, *options]
        process = subprocess.Popen(
            command("run", "ledger", *words, "--", *arguments),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        started.append(process)
        wait_until(lambda: process.poll() is not None or name in directory.names())
        return process

    yield start_guest
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run_command(*arguments, "--run-dir", tmp_path / "run")

    return run


Call = Callable[..., subprocess.CompletedProcess[str]]


@contextlib.contextmanager
def listening(listener: socket.socket, tell: Callable[[socket.socket], None]) -> Iterator[None]:
    """Whoever connects is told this, each by a thread."""
    threads = []

    def serve(connection: socket.socket) -> None:
        with connection:
            tell(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    listener.setblocking(True)
    with listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def lines_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# One guest that nobody protects


def test_a_guest_that_runs(start: Start, call: Call, tmp_path: Path) -> None:
    assert call("ps").stdout.split() == [
        "name", "process", "image", "role", "state", "generation", "since",
    ]  # fmt: skip
    process = start()
    (row,) = lines_of(call("ps", "--json"))
    assert (row["name"], row["pid"], row["image"]) == ("books", process.pid, "ledger")
    assert (row["arguments"], row["started_as"]) == (LONG, "unprotected")
    assert row["status"]["role"] == "unprotected"
    assert "books" in call("ps").stdout and "unprotected" in call("ps").stdout

    (told,) = lines_of(call("status", "books", "--json"))
    assert (told["state"], told["network"], told["nics"]) == ("alone", None, {})
    assert told["disks"]["disk"]["written"] >= 0 and told["exits"] > 0
    shown = call("status", "books").stdout
    assert f"image       ledger {' '.join(LONG)}\n" in shown and "lag" not in shown

    done = call("stop", "books")
    assert (done.returncode, done.stdout) == (0, "books has ended\n")
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, "vlockstep: stopped by `vlockstep stop`\n")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_events_to_the_end(start: Start, call: Call) -> None:
    process = start(arguments=["--lines=100", "--pause=20"])
    events = lines_of(call("events", "books", "--after", 0, "--json"))
    assert [event["event"] for event in events] == ["started", "finished"]
    assert [event["revision"] for event in events] == [1, 2]
    assert (events[1]["status"], process.wait(timeout=20)) == (0, 0)


def test_events_for_people(start: Start, call: Call, tmp_path: Path) -> None:
    start()
    following = subprocess.Popen(
        command("events", "books", "--after", 0, "--run-dir", tmp_path / "run"),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert following.stdout is not None
    first = following.stdout.readline().rstrip()
    call("stop", "books")
    last = following.communicate(timeout=20)[0].rstrip()
    assert re.fullmatch(r"\d\d:\d\d:\d\d      1 the guest runs", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d      2 stopped by `vlockstep stop`", last)


def test_two_of_one_name(start: Start, tmp_path: Path) -> None:
    start()
    refused = run_command("run", "hello", "--name", "books", "--run-dir", tmp_path / "run")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "a guest named 'books' runs here already" in refused.stderr
    assert "(--name NAME)" in refused.stderr


def test_a_name_in_a_file_that_is_taken(start: Start, tmp_path: Path) -> None:
    start()
    file = tmp_path / "guest.toml"
    file.write_text('image = "hello"\nname = "books"\nrun_directory = "run"\n')
    refused = run_command("run", file)
    assert f"{file}: name: a guest named 'books' runs here already" in refused.stderr


@pytest.mark.parametrize("command", ["status", "events", "stop"])
def test_a_name_that_there_is_not(start: Start, call: Call, command: str) -> None:
    start()
    refused = call(command, "nope")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no guest 'nope' runs here (running: books, in /" in refused.stderr


def test_a_name_that_replicas_have_with_a_number(
    make_pair: MakePair, tmp_path: Path, call: Call
) -> None:
    named = {
        f"{role}_options": ["--name", f"books-{number}", "--run-dir", tmp_path / "run"]
        for number, role in enumerate(SIDES, 1)
    }
    make_pair("ledger", LONG, **named)
    for asked in ("books", "book"):
        refused = call("status", asked)
        guess = ": did you mean books-1 (primary) or books-2 (secondary)?" in refused.stderr
        assert (refused.returncode, guess) == (2, asked == "books"), refused
    wanted = command("debug", "--live", "books", "--run-dir", str(tmp_path / "run"))
    refused = subprocess.run(wanted, capture_output=True, text=True)
    assert "did you mean books-1 (primary) or books-2 (secondary)?" in refused.stderr


def test_a_guest_that_does_not_answer(start: Start, call: Call) -> None:
    """It is still there, and the others are told of."""
    stopped = start()
    start("shop")
    stopped.send_signal(signal.SIGSTOP)
    rows = lines_of(call("ps", "--json"))
    assert [(row["name"], row["status"] is None) for row in rows] == [
        ("books", True),
        ("shop", False),
    ]
    assert "no answer" in call("ps").stdout
    assert "no answer" in call("top", "--interval", 0.2).stdout


def test_a_guest_that_many_have_asked_in_vain(start: Start, call: Call, tmp_path: Path) -> None:
    """No connection waits without end for it to accept those before."""
    start().send_signal(signal.SIGSTOP)
    directory = RunDirectory(tmp_path / "run")
    with contextlib.ExitStack() as stack:
        with pytest.raises(HostError, match="books does not answer"):
            while True:
                stack.enter_context(directory.connect("books", 0.1))
        (row,) = lines_of(call("ps", "--json"))
        assert (row["name"], row["status"]) == ("books", None)
        assert "no answer" in call("top", "--interval", 0.2).stdout
        refused = call("status", "books")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "books does not answer within 1 s" in refused.stderr


def test_what_is_no_guest(tmp_path: Path, call: Call) -> None:
    directory = RunDirectory(tmp_path / "run")
    _, listener = directory.claim("books", "x")
    with listener, closing(GuestClient(directory, "books")) as client:
        listener.setblocking(True)
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"SSH-2.0\n")
            with pytest.raises(Exception, match="what listens as books is no guest"):
                client.ask("status")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "1" * 301])
def test_a_status_with_what_is_no_number(number: str, tmp_path: Path) -> None:
    """Which nobody could tell on, in JSON. The guest is there, without an answer."""
    directory = RunDirectory(tmp_path / "run")
    _, listener = directory.claim("books", "x")
    status = f'{{"answer": "status", "disks": {{"d": [1, {number}]}}}}\n'.encode()

    def tell(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(b'{"hello": 1, "image": "x"}\n' + status)
            connection.recv(1)

    with listening(listener, tell), closing(Watch(directory)) as watch:
        client = GuestClient(directory, "books")
        with closing(client), pytest.raises(HostError, match="what listens as books is no guest"):
            client.ask("status")
        for _ in range(3):
            (seen,) = watch.look(0.5)
            assert (seen.name, seen.state) == ("books", "no answer")


@pytest.mark.parametrize("text", [b"x" * 4096, b"{}\n" * 2048, b'{"hello": 1}\n' * 512])
def test_who_talks_without_end_delays_nobody(text: bytes, start: Start, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    start()

    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(text)

    with ExitStack() as stack:
        for number in range(4):
            _, listener = directory.claim(f"talker-{number}", "x")
            stack.enter_context(listening(listener, talk))
        watch = stack.enter_context(closing(Watch(directory)))
        wait_until(lambda: watch.look(0.5)[0].status)
        for _ in range(5):
            began = time.monotonic()
            seen = watch.look(0.5)
            assert time.monotonic() < began + 5
            assert [sight.name for sight in seen] == ["books", *(f"talker-{n}" for n in range(4))]
            assert [sight.state for sight in seen[1:]] == ["no answer"] * 4
        client = stack.enter_context(closing(GuestClient(directory, "talker-0")))
        assert client.read(0) in (None, {})
        with pytest.raises(HostError, match=r"talker-0 (does not answer|is no guest)"):
            client.ask("status", 0.2)


def test_top(start: Start, call: Call) -> None:
    start()
    header, row = call("top", "--interval", 0.1).stdout.splitlines()
    assert header.split()[:3] == ["name", "role", "state"]
    assert row.split()[:3] == ["books", "unprotected", "unprotected"]
    told = lines_of(call("top", "--interval", 0.2, "--count", 2, "--json"))
    assert [line["name"] for line in told] == ["books", "books"]
    assert told[1]["disk_bytes_per_s"] > 0
    assert told[0]["status"]["exits"] < told[1]["status"]["exits"]


# A pair


def test_a_pair(make_pair: MakePair, tmp_path: Path, call: Call) -> None:
    named = {
        f"{role}_options": ["--name", name, "--run-dir", tmp_path / "run"]
        for role, name in (("primary", "a"), ("secondary", "b"))
    }
    pair = make_pair("ledger", LONG, **named)
    rows = {row["name"]: row["status"] for row in lines_of(call("ps", "--json"))}
    assert [rows[name]["role"] for name in "ab"] == ["primary", "secondary"]
    assert [rows[name]["state"] for name in "ab"] == ["protected", "following"]
    assert rows["a"]["channel_bytes"] > 0 and rows["a"]["lag_ms"] is not None

    directory = RunDirectory(tmp_path / "run")
    assert call("switchover", "b", "--json").stdout == '{"generation": 2}\n'
    assert pair.wait_live("secondary") == 2
    pair.crash("primary")
    with closing(GuestClient(directory, "b")) as client:
        seen = []
        for event in client.events(0):
            seen.append(event["event"])
            if event["event"] == "unprotected":
                break
    assert seen[:2] == ["joining", "started"] and "live" in seen and "alone" in seen
    assert lines_of(call("status", "b", "--json"))[0]["state"] == "alone"

    assert call("stop", "b", "--json").stdout == '{"name": "b", "ended": true}\n'
    assert pair.wait_finished() == (-9, 0)
    assert call("ps", "--json").stdout == ""
    pair.start()  # which the arbiter would refuse if the guest had not ended


@pytest.mark.parametrize("name", ["primary", "secondary"])
def test_a_protected_guest_is_ended_on_all_its_replicas(make_pair: MakePair, name: str) -> None:
    pair = make_pair("ledger", LONG)
    directory = ["--run-dir", pair.directory / "run"]
    assert run_command("stop", name, *directory).stdout == f"{name} has ended\n"
    assert pair.wait_finished() == (0, 0)
    assert run_command("ps", "--json", *directory).stdout == ""
    for side in SIDES:
        assert not [*pair.process(side).generations()], "nobody went on"
    pair.start()  # which the arbiter would refuse if the guest had not ended


@pytest.mark.parametrize("side", SIDES)
def test_any_reason_ends_a_guest(make_pair: MakePair, side: Side) -> None:
    """JSON has halves of characters, UTF-8 has not."""
    pair = make_pair("ledger", LONG)
    with closing(GuestClient(RunDirectory(pair.directory / "run"), side)) as client:
        client.ask("stop", reason="\ud800 \N{DROMEDARY CAMEL}")
    assert pair.wait_finished() == (0, 0)
    for each in SIDES:
        (left,) = (event for event in pair.events(each) if event["event"] == "left")
        assert "\\ud800 \N{DROMEDARY CAMEL}" in left["reason"]


# What `top` shows


def sight(name: str = "a", **status: Any) -> Sight:
    usual = {
        "role": "primary",
        "state": "protected",
        "state_text": State.PROTECTED.value,
        "generation": 3,
        "lag_entries": 4,
        "lag_ms": 2.0,
        "network": True,
        "outputs_held": 1,
        "channel_bytes": 0,
        "disks": {"d": {"read": 0, "written": 0}},
        "nics": {},
    }
    return Sight(name, {}, usual | status)


def test_events_of_an_older_version_have_a_text() -> None:
    live = {"event": "live", "generation": 3, "protected": True}
    assert text_of(live, "secondary") == "live as generation 3"
    why = {"cause": "silence", "cause_text": "the primary was silent"}
    assert text_of(live | why, "secondary") == "live as generation 3: the primary was silent"


def test_rates_are_between_two_looks() -> None:
    board = Board()
    board.see([sight()], 10.0)
    disks = {"d": {"read": 1000, "written": 3000}}
    board.see([sight(channel_bytes=5_000_000, disks=disks)], 12.0)
    assert cells(board.lines[0]) == [
        "a", "primary", "protected", "3", "2 ms", "up", "2 KB", "2 MB", "1",
    ]  # fmt: skip
    board.see([], 13.0)
    assert board.lines == []


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({"state": "alone", "state_text": "alone"}, "ALONE"),
        ({"role": "unprotected", "state": "alone"}, "unprotected"),
        ({"state": "following", "state_text": "following"}, "following"),
    ],
)
def test_who_is_alone_is_loud(status: dict[str, Any], shown: str) -> None:
    board = Board()
    board.see([sight(**status)], 1.0)
    assert cells(board.lines[0])[2] == shown


def test_a_network_that_is_down_is_loud() -> None:
    board = Board()
    board.see([sight(network=False), sight("b", network=None)], 1.0)
    assert [cells(line)[5] for line in board.lines] == ["DOWN", ""]


def test_sparklines() -> None:
    assert sparkline([]) == ""
    assert sparkline([0, 5, 10]) == " ▄█"
    assert sparkline([0, 50, 100, -1]) == " ▄█ "


# Being in nobody's way


def test_a_watch_forgets_who_has_gone(start: Start, tmp_path: Path) -> None:
    process = start()
    with closing(Watch(RunDirectory(tmp_path / "run"))) as watch:
        assert [sight.name for sight in watch.look()] == ["books"]
        process.kill()
        process.wait()
        assert watch.look() == []


def test_a_watch_hears_each_event_once(start: Start, tmp_path: Path) -> None:
    """Also of a guest whose answer was late, so that it was connected to anew."""
    process = start()
    heard: list[tuple[str, object, object]] = []

    def hear(name: str, about: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        heard.append((name, about["image"], event["event"]))

    with closing(Watch(RunDirectory(tmp_path / "run"), hear)) as watch:
        wait_until(lambda: watch.look()[0].status and heard)
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert watch.look(0.1)[0].status is None
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: watch.look()[0].status)
        process.terminate()
        wait_until(lambda: watch.look() == [])
    kinds = [kind for _, _, kind in heard]
    assert heard[0] == ("books", "ledger", "started")
    assert len(kinds) == len({*kinds}), kinds


def test_who_is_silent_delays_a_watch_once(start: Start, tmp_path: Path) -> None:
    """And whoever accepts nobody: the others are told at once. Both are seen again later."""
    directory = RunDirectory(tmp_path / "run")
    process = start()
    _, listener = directory.claim("deaf", "ledger")
    full = []
    with listener, closing(Watch(directory)) as watch, ExitStack() as stack:
        with pytest.raises(HostError):
            while True:  # until nobody is let in any more
                full.append(stack.enter_context(directory.connect("deaf", 0)))
        wait_until(lambda: [each.name for each in watch.look(0.3) if each.status] == ["books"])
        began = time.monotonic()
        assert [sight.status is not None for sight in watch.look(60)] == [True, False]
        assert time.monotonic() < began + 30
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert [sight.status for sight in watch.look(0.1)] == [None, None]
        assert [sight.status for sight in watch.look(60)] == [None, None]
        assert time.monotonic() < began + 30
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: watch.look()[0].status)


def test_a_program_with_many_files_can_ask(start: Start, tmp_path: Path) -> None:
    """Such as the dashboard, with its connections: descriptors go beyond what `select` takes."""
    start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip(f"a process may have {hard} descriptors here")
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1024):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        directory = RunDirectory(tmp_path / "run")
        with closing(Watch(directory)) as watch, closing(GuestClient(directory, "books")) as guest:
            assert guest.fileno() > 1023
            assert guest.ask("status")["role"] == "unprotected"
            assert [sight.status is not None for sight in watch.look(10)] == [True]


def test_nothing_is_imported_that_is_not_needed() -> None:
    """To ask a guest takes no CPU engine and no ZeroMQ."""
    program = (
        "import sys, vlockstep.cli.app, vlockstep.supervise.client;"
        "print([name for name in ('unicorn', 'zmq', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr

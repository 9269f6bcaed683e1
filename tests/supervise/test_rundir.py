"""Names of running guests, and whose run directory it is."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vlockstep.errors import HostError, UsageError
from vlockstep.supervise.rundir import RunDirectory, default_directory

CLAIM = """
import sys, time
from pathlib import Path
from vlockstep.supervise.rundir import RunDirectory
name, listener = RunDirectory(Path(sys.argv[1])).claim(sys.argv[2] or None, "ledger")
print(name, flush=True)
time.sleep(60)
"""


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def claim_elsewhere(directory: RunDirectory, name: str = "") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(directory.path), name], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def test_a_guest_is_found_by_its_name(directory: RunDirectory) -> None:
    assert directory.names() == []
    name, listener = directory.claim("books", "ledger")
    with listener, directory.connect("books"):
        assert name == "books"
        assert directory.names() == ["books"]
        assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory.path / "books.sock").stat().st_mode) == 0o600
        directory.release("books")
    assert directory.names() == []


def test_a_name_is_made_from_the_image(directory: RunDirectory) -> None:
    listeners = []
    for image, name in [
        ("ledger", "ledger-1"),
        ("/x/ledger.hvt", "ledger-2"),
        ("./é b.hvt", "guest--b-1"),
        ("./.hvt", "guest.hvt-1"),
        ("x" * 200, f"{'x' * 40}-1"),
    ]:
        found, listener = directory.claim(None, image)
        listeners.append(listener)
        assert found == name
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("books", "books-4"),
        ("books-1", "books-4"),
        ("books-3", "books-4"),
        ("site-b", "site-b-2"),
        ("1", "1-2"),
    ],
)
def test_a_name_for_another_replica(directory: RunDirectory, name: str, beside: str) -> None:
    sockets = [directory.claim(taken, "books")[1] for taken in ("books-2", "books-3")]
    assert directory.name_beside(name) == beside
    for each in sockets:
        each.close()


def test_two_of_one_name(directory: RunDirectory) -> None:
    first = claim_elsewhere(directory, "books")
    try:
        with pytest.raises(UsageError, match="a guest named 'books' runs here already") as refused:
            directory.claim("books", "ledger")
        assert refused.value.key == ("name",)
        os.kill(first.pid, signal.SIGSTOP)  # it lives all the same
        with pytest.raises(UsageError, match="runs here already"):
            directory.claim("books", "ledger")
    finally:
        first.kill()
        first.communicate()
    assert (directory.path / "books.sock").exists(), "a dead one's is left behind"
    directory.claim("books", "ledger")[1].close()


def test_sockets_of_dead_ones_are_removed(directory: RunDirectory) -> None:
    process = claim_elsewhere(directory)
    assert directory.names() == ["ledger-1"]
    process.kill()
    process.communicate()
    assert directory.names() == []
    assert [path.name for path in directory.path.iterdir()] == [".lock"]


def test_what_is_no_socket_is_nobodys_and_stays(directory: RunDirectory, tmp_path: Path) -> None:
    directory.claim("shop", "ledger")[1].close()
    made = {
        name: directory.path / f"{name}.sock" for name in ("ledger-1", "fifo", "away", "folder")
    }
    made["ledger-1"].write_text("precious")
    os.mkfifo(made["fifo"])
    made["away"].symlink_to(tmp_path / "nowhere")
    made["folder"].mkdir()
    assert directory.names() == [], "and does not keep others from being found"
    for name, path in made.items():
        with pytest.raises(UsageError, match="exists and is no socket"):
            directory.claim(name, "ledger")
        assert path.is_symlink() or path.exists()
    name, listener = directory.claim(None, "ledger")
    listener.close()
    assert name == "ledger-2"


def test_who_does_not_accept_lives(directory: RunDirectory) -> None:
    _, listener = directory.claim("books", "ledger")
    clients = []
    with listener:
        while True:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            clients.append(client)
            try:
                client.connect(str(directory.path / "books.sock"))
            except BlockingIOError:
                break
        assert directory.names() == ["books"]
    for client in clients:
        client.close()


def test_a_name_that_is_not_there(directory: RunDirectory) -> None:
    for name in ("books", "../x", ""):
        with pytest.raises(UsageError, match=r"no guest '.*' runs here \(running: none, in /"):
            directory.connect(name)
    with directory.claim("shop", "ledger")[1], pytest.raises(UsageError, match="running: shop"):
        directory.connect("books")


def test_a_path_longer_than_an_address(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / ("x" * 120))
    with directory.claim("books", "ledger")[1], directory.connect("books"):
        assert directory.names() == ["books"]


# Whose it is


def test_a_directory_that_others_may_use(directory: RunDirectory) -> None:
    directory.path.mkdir(mode=0o750)
    for call in (
        lambda: directory.claim("x", "y"),
        directory.names,
        lambda: directory.connect("x"),
    ):
        with pytest.raises(UsageError, match="others may use it, too; close it with: chmod 700"):
            call()


def test_what_is_no_directory(directory: RunDirectory, tmp_path: Path) -> None:
    directory.path.write_text("")
    with pytest.raises(HostError, match="cannot make the run directory"):
        directory.claim("x", "y")
    directory.path.unlink()
    (tmp_path / "other").mkdir(mode=0o700)
    directory.path.symlink_to(tmp_path / "other")
    with pytest.raises(UsageError, match="it is no directory") as refused:
        directory.claim("x", "y")
    assert refused.value.key == ("run_directory",)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user(directory: RunDirectory) -> None:
    directory.path.mkdir(mode=0o700)
    os.chown(directory.path, 12345, -1)
    with pytest.raises(UsageError, match="it belongs to another user"):
        directory.claim("x", "y")


def test_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_directory() == tmp_path / "vlockstep"
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    for nothing in ("", "relative", str(tmp_path / "none")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", nothing)
        assert default_directory() == Path(f"/var/tmp/vlockstep-{os.getuid()}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert default_directory() == Path("/var/tmp/vlockstep-12345")

"""One writer: a file in use is locked, and who comes second is told by whom."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Barrier

import pytest
from support import config_for, sample

from vlockstep.errors import VlockstepWarning
from vlockstep.files import locks
from vlockstep.files.locks import InUse, empty, open_locked
from vlockstep.ft.runtime import Setting
from vlockstep.host.devices import ConsoleFile, ConsoleStream, Disk
from vlockstep.replay.logfile import LogWriter

CONFIG = config_for(sample("hello"))
OPEN = {
    "disk": "from vlockstep.host.devices import Disk; kept = Disk(path, group)",
    "console": "from vlockstep.host.devices import ConsoleFile; kept = ConsoleFile(path, group)",
    "log": "from vlockstep.files.locks import open_locked; kept = open_locked(path, 'the log')",
}


@contextmanager
def user(path: Path, kind: str = "disk", group: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process that has the file open, or that could not open it."""
    code = f"""
import sys; from pathlib import Path
path, group = Path(sys.argv[1]), sys.argv[2]
try:
    {OPEN[kind]}
except Exception as error:
    print(error, flush=True)
else:
    print("open", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, path, group],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(4096))
    return path


def test_a_fork_is_another_user(image: Path) -> None:
    """Also one that has imported nothing by itself."""
    code = """
import os, sys; from pathlib import Path
from vlockstep.files.locks import InUse, open_locked
pid = os.fork()
if pid == 0:
    os.close(int(sys.argv[2]))
    sys.stdin.read()  # until the other one has it
path = Path(sys.argv[1])
if pid:
    kept = open_locked(path, "the log")
    sys.stdin.close()
    os.close(int(sys.argv[2]))
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
try:
    open_locked(path, "the log")
except InUse:
    sys.exit(7)
"""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", code, image, str(writing)], stdin=reading, pass_fds=[writing]
    )
    os.close(reading)
    os.close(writing)
    assert process.wait(60) == 7


@pytest.mark.parametrize("kind", OPEN)
@pytest.mark.parametrize("second", OPEN)
def test_a_second_user_is_refused_and_told_by_whom(image: Path, kind: str, second: str) -> None:
    with user(image, kind) as first:
        assert answer(first) == "open"
        with user(image, second) as other:
            refusal = answer(other)
    assert f"is in use by process {first.pid} ({sys.executable} -c" in refusal


def test_the_group_shares_and_nobody_else(image: Path) -> None:
    with user(image, group="a") as first, user(image, group="a") as second:
        assert answer(first) == answer(second) == "open"
        for group in ("b", ""):
            with user(image, group=group) as other:
                assert "is in use by process" in answer(other)
        first.kill()
        first.wait()
        with user(image, group="b") as other:
            assert f"is in use by process {second.pid}" in answer(other)
        with user(image, group="a") as again:
            assert answer(again) == "open"


def test_a_lock_dies_with_its_owner(image: Path) -> None:
    with user(image) as first:
        assert answer(first) == "open"
        first.kill()
        first.wait()
        Disk(image).close()


def test_of_two_at_once_never_both(image: Path) -> None:
    """Threads that release the GIL in fcntl(2) meet there."""
    barrier = Barrier(4)

    def attempt(number: int) -> Disk | None:
        barrier.wait(10)
        with suppress(InUse):
            return Disk(image, f"group {number}")
        return None

    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            opened = [disk for disk in pool.map(attempt, range(4)) if disk is not None]
            assert len(opened) <= 1
            for disk in opened:
                disk.close()


def test_of_a_group_all_at_once(image: Path) -> None:
    """Replicas that start together do not take each other for QEMU."""
    with ThreadPoolExecutor(4) as pool:
        for _ in range(100):
            for disk in pool.map(lambda _: Disk(image, "a guest"), range(4)):
                disk.close()


def test_a_token_tells_whether_it_is_the_same_file(image: Path, tmp_path: Path) -> None:
    copy, link = tmp_path / "copy.img", tmp_path / "link.img"
    copy.write_bytes(image.read_bytes())
    os.link(image, link)
    with (
        closing(Disk(image, "a")) as disk,
        closing(Disk(link, "a")) as same,
        closing(Disk(copy, "a")) as other,
    ):
        token = disk.lock.token
        assert token is not None
        assert same.lock.sees(token) and not other.lock.sees(token)
        assert not disk.lock.sees(token), "nobody else has it"
        assert not same.lock.sees((token + 1) % (1 << 24))
        assert not same.lock.sees(1 << 70) and not same.lock.sees(-1)
        disk.close()
        assert not same.lock.sees(token)


def test_a_log_in_use_is_not_emptied(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    path.write_text("what was recorded")
    with user(path, "log") as first:
        assert answer(first) == "open"
        with pytest.raises(InUse, match=f"the log {path} is in use by process {first.pid} "):
            LogWriter(path, CONFIG)
        assert path.read_text() == "what was recorded"
    with LogWriter(path, CONFIG):
        assert path.read_bytes().startswith(b"VLOCKLOG")


def test_a_process_opens_again_what_it_has_kept_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.vlog"
    kept = open_locked(path, f"the log {path}")
    LogWriter(path, CONFIG).close()
    with pytest.raises(InUse, match="is in use by this very process"):
        open_locked(path, "the capture")
    os.close(kept)


def test_what_is_no_file_is_not_locked() -> None:
    null = Path(os.devnull)
    with closing(ConsoleFile(null)) as first, closing(ConsoleFile(null)) as second:
        assert first.lock.token is second.lock.token is None
    os.close(open_locked(null, "the log"))


def test_emptying(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    fd = open_locked(path, "the file")
    assert path.read_text() == "text"
    empty(fd)
    assert path.read_bytes() == b""
    os.close(fd)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR)
    empty(fd)
    os.close(fd)


def qemu_img(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.external("qemu-img", "qemu-io")
def test_qemu_is_refused_and_refuses(image: Path) -> None:
    with closing(Disk(image)):
        refusal = qemu_img("resize", "-f", "raw", image, "8192")
        assert refusal.returncode == 1 and "lock" in refusal.stderr
    assert qemu_img("resize", "-f", "raw", image, "8192").returncode == 0
    io = str(shutil.which("qemu-io"))
    with subprocess.Popen(
        [io, "-f", "raw", image], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("length\n")
        process.stdin.flush()
        assert "8 KiB" in process.stdout.readline()
        with pytest.raises(InUse) as error:
            Disk(image)
        assert f"is in use by process {process.pid} ({io} -f raw" in str(error.value)
        process.communicate("quit\n")
    Disk(image, "group").close()


def test_where_nothing_can_be_locked_it_is_said_and_goes_on(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*arguments: object) -> bytes:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with closing(Disk(image, "guest")) as primary:
        monkeypatch.setattr(locks, "_call", no_locks)
        said = rf"the disk {image} cannot be locked \(No locks available\): see to it yourself"
        with pytest.warns(VlockstepWarning, match=said):
            opened = Disk(image, "guest")
        with closing(opened) as secondary:
            assert secondary.lock.token is None
            locked = {"disk 'disk'": secondary.lock}
            setting = Setting(sample("ledger"), ConsoleStream(), {}, {}, shared=lambda: locked)
            doubt = f"it cannot be verified that the disk {image} is the primary's disk 'disk'"
            for token in (primary.lock.token, None):
                [text] = setting.verify_shared({"disk 'disk'": token})
                assert text.startswith(doubt)
            assert setting.verify_shared({}) == setting.verify_shared(None) == []


UNLOCKABLE = """
import errno, sys, pathlib
from vlockstep import program
from vlockstep.files import locks

def call(*arguments):
    raise OSError(errno.ENOLCK, "No locks available")

def open_twice():
    for _ in range(2):
        locks.open_locked(pathlib.Path(sys.argv[1]), "the log")

locks._call = call
sys.exit(program.run(open_twice))
"""


def test_a_program_says_it_once(image: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNLOCKABLE, image], capture_output=True, text=True, timeout=60
    )
    text = "the log cannot be locked (No locks available): see to it yourself that nobody else"
    assert (done.returncode, done.stderr) == (0, f"vlockstep: {text} uses it\n")

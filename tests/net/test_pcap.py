"""Captures: as other programs read them, and when they cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest

from vlockstep.errors import HostError
from vlockstep.host.background import BackgroundThread
from vlockstep.net.nic import MAX_FRAME, Counters, Nic
from vlockstep.net.pcap import LIMIT, Capture

CAPACITY = 4096
"""Bytes that fit onto the full disk: the capture's header and a few frames."""


def begin(nic: Nic, path: Path) -> Capture:
    return Capture(nic, path, BackgroundThread("capture"))


class Loop:
    """A `Nic` that receives what it sends."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.frames: deque[bytes] = deque()
        self.closed = 0

    def descriptors(self) -> tuple[int, ...]:
        return ()

    def waiting(self) -> bool:
        return bool(self.frames)

    def read(self, limit: int) -> bytes | None:
        return self.frames.popleft() if self.frames else None

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)

    def connected(self) -> bool:
        return True

    def close(self) -> None:
        self.closed += 1


def frame(number: int, size: int = 60) -> bytes:
    head = b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x88\xb5" + number.to_bytes(4)
    return (head + os.urandom(size))[: max(size, 18)]


def captured(path: Path) -> list[bytes]:
    """The frames in the file, in order, as tcpdump reads them."""
    done = subprocess.run(
        ["tcpdump", "-r", path, "-xx", "-n", "-t"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Ethernet" in done.stderr
    frames: list[str] = []
    for line in done.stdout.splitlines():
        if not line.startswith("\t"):
            frames.append("")
        else:
            frames[-1] += line.split(":", 1)[1]
    return [bytes.fromhex(text) for text in frames]


@pytest.mark.external("tcpdump")
def test_both_directions_in_order(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(b"something old" * 1000)
    capture = begin(Loop(), path)
    passed: list[bytes] = []
    for number, size in enumerate((14, 60, 61, 1514, 9014, MAX_FRAME)):
        sent = frame(number, size)
        capture.write(sent)
        received = capture.read(MAX_FRAME)
        assert received == sent
        passed += [sent, received]
    assert capture.read(MAX_FRAME) is None
    capture.close()
    assert captured(path) == passed


@pytest.mark.external("tcpdump")
def test_an_empty_capture(tmp_path: Path) -> None:
    begin(Loop(), tmp_path / "x.pcap").close()
    assert captured(tmp_path / "x.pcap") == []


@pytest.mark.external("tcpdump")
def test_times_are_the_hosts(tmp_path: Path) -> None:
    capture = begin(Loop(), tmp_path / "x.pcap")
    before = time.time_ns()
    capture.write(frame(1))
    after = time.time_ns()
    capture.close()
    done = subprocess.run(
        ["tcpdump", "-r", tmp_path / "x.pcap", "-tt", "-n", "--nano"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    seconds, nanoseconds = done.stdout.split()[0].split(".")
    assert before <= int(seconds) * 10**9 + int(nanoseconds) <= after


ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from test_pcap import CAPACITY, MAX_FRAME, Loop, begin, frame

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (CAPACITY, CAPACITY))
nic = Loop()
capture = begin(nic, Path(sys.argv[1]))
for number in range(100):
    sent = frame(number, 200)
    capture.write(sent)
    assert capture.read(MAX_FRAME) == sent
capture.close()
capture.close()
assert nic.closed == 2
"""


@pytest.mark.external("tcpdump")
def test_a_full_disk_ends_the_capture_and_not_the_traffic(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    done = subprocess.run(
        [sys.executable, "-c", ON_A_FULL_DISK, path],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    whole = (CAPACITY - 24) // (16 + 200)
    numbers = [int.from_bytes(found[14:18]) for found in captured(path)]
    assert numbers == [count // 2 for count in range(whole)], "each was sent, and then received"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("none/x.pcap", "No such file or directory"),
        (".", "Is a directory"),
        ("/dev/full", "No space left on device"),
    ],
)
def test_a_capture_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    target = Path(path).resolve()

    def users() -> int:
        """Open descriptors of the file; other tests may have left some in this process."""
        return sum(link.resolve() == target for link in Path("/proc/self/fd").iterdir())

    before = users()
    with pytest.raises(HostError, match=f"cannot write the capture {path}: {why}"):
        begin(Loop(), Path(path))
    assert users() == before


def test_the_rest_is_the_nics_own(tmp_path: Path) -> None:
    nic = Loop()
    capture = begin(nic, tmp_path / "x.pcap")
    assert capture.counters is nic.counters
    assert not capture.waiting() and capture.connected()
    assert capture.descriptors() == ()
    nic.frames.append(frame(1))
    assert capture.waiting()
    capture.close()
    assert nic.closed == 1
    capture.write(frame(2))
    assert capture.waiting(), "without a file"


@pytest.mark.external("tcpdump")
def test_a_fifo_into_which_nobody_looks_yet(tmp_path: Path) -> None:
    """What finds no room meanwhile is left out and counted; the traffic goes on."""
    path = tmp_path / "x.pcap"
    os.mkfifo(path)
    nic = Loop()
    capture = begin(nic, path)
    size = 1 << 16
    for number in range(2 * LIMIT // size):
        sent = frame(number, size)
        capture.write(sent)
        assert nic.read(MAX_FRAME) == sent
    kept = LIMIT // (16 + size)
    assert nic.counters.capture_dropped == 2 * LIMIT // size - kept
    with (tmp_path / "copy.pcap").open("wb") as copy:
        with subprocess.Popen(["cat", path], stdout=copy) as reader:
            capture.close()
        assert reader.returncode == 0
    numbers = [int.from_bytes(found[14:18]) for found in captured(tmp_path / "copy.pcap")]
    assert numbers == list(range(kept))


def test_a_fifo_into_which_nobody_ever_looks(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    os.mkfifo(path)
    nic = Loop()
    capture = begin(nic, path)
    capture.write(frame(1))
    capture.close()
    assert nic.closed == 1

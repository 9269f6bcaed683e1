"""A disk moves to another file while somebody writes to it; also where it is killed on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vlockstep.errors import HostError, UsageError
from vlockstep.files.locks import InUse
from vlockstep.host.devices import Disk, DiskFile
from vlockstep.host.diskmove import DiskMove, HowFar, Phase

BLOCK = 512
BLOCKS = 2048
STEP = 771
"""From one write to the next, in blocks; all are written in turn."""


def content_of(n: int) -> bytes:
    return n.to_bytes(8, "little") * (BLOCK // 8)


class Writer(threading.Thread):
    """Writes block after block until it is stopped."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self._disk = disk
        self._stopped = False

    def run(self) -> None:
        while not self._stopped:
            n = self.count + 1
            self._disk.write(n * STEP % BLOCKS * BLOCK, content_of(n))
            self.count = n

    def stop(self) -> None:
        self._stopped = True
        self.join()


def written(count: int) -> bytes:
    """What a disk holds after so many writes."""
    content = bytearray(BLOCKS * BLOCK)
    for n in range(max(1, count - BLOCKS + 1), count + 1):
        at = n * STEP % BLOCKS * BLOCK
        content[at : at + BLOCK] = content_of(n)
    return bytes(content)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.img"
    path.write_bytes(bytes(BLOCKS * BLOCK))
    return path


@pytest.fixture
def disk(old: Path) -> Iterator[Disk]:
    with closing(Disk(old)) as opened:
        yield opened


def test_it_moves_while_it_is_written(disk: Disk, old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.img"
    writer = Writer(disk)
    writer.start()
    phases: list[Phase] = []

    def tell(how_far: HowFar) -> None:
        assert how_far.bytes <= how_far.total
        phases.append(how_far.phase)

    DiskMove(disk, new, tell).run()
    Disk(old, "others").close()
    with pytest.raises(InUse):
        Disk(new, "others")
    before = old.read_bytes()
    writer.stop()
    assert new.read_bytes() == written(writer.count)
    assert old.read_bytes() == before
    assert disk.path == new
    assert [*dict.fromkeys(phases)] == [p for p in Phase if p is not Phase.AGREEING]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.img", "old.img"]


def test_it_may_move_there_and_back_again(disk: Disk, old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.img"
    DiskMove(disk, new).run()
    disk.write(0, content_of(1))
    with pytest.raises(UsageError, match="is there already"):
        DiskMove(disk, old).run()
    DiskMove(disk, old, may_replace=True).run()
    assert disk.path == old
    assert old.read_bytes()[:BLOCK] == content_of(1)


@pytest.mark.parametrize("phase", [Phase.COPYING, Phase.COMPARING])
def test_a_move_that_is_called_off_leaves_nothing(
    disk: Disk, old: Path, tmp_path: Path, phase: Phase
) -> None:
    writer = Writer(disk)
    writer.start()
    cancelled: list[bool] = []
    move = DiskMove(
        disk,
        tmp_path / "new.img",
        lambda how_far: cancelled.append(move.cancel()) if how_far.phase is phase else None,
    )
    with pytest.raises(HostError, match="the move was called off"):
        move.run()
    writer.stop()
    assert cancelled == [True]
    assert old.read_bytes() == written(writer.count)
    assert list(tmp_path.iterdir()) == [old]


def test_it_cannot_be_called_off_when_it_is_about_to_be_done(disk: Disk, tmp_path: Path) -> None:
    cancelled: list[bool] = []
    move = DiskMove(
        disk,
        tmp_path / "new.img",
        lambda how_far: (
            cancelled.append(move.cancel()) if how_far.phase is Phase.SWITCHING else None
        ),
    )
    move.run()
    assert cancelled == [False]
    assert disk.path == tmp_path / "new.img"


class Filling(DiskFile):
    """Has room for so many more bytes."""

    room = 1 << 18

    def write(self, offset: int, data: bytes) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise HostError(f"cannot write to the disk {self.path}: No space left on device")
        super().write(offset, data)


class Rotting(DiskFile):
    def write(self, offset: int, data: bytes) -> None:
        super().write(offset, data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize(
    ("kind", "problem"), [(Filling, "No space left"), (Rotting, "does not hold what was written")]
)
def test_a_target_that_fails_leaves_the_disk_where_it_was(
    disk: Disk,
    old: Path,
    tmp_path: Path,
    kind: type[DiskFile],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for n in range(1, BLOCKS):
        disk.write(n * STEP % BLOCKS * BLOCK, content_of(n))
    monkeypatch.setattr("vlockstep.host.diskmove.DiskFile", kind)
    with pytest.raises(HostError, match=problem):
        DiskMove(disk, tmp_path / "new.img").run()
    disk.write(BLOCKS * STEP % BLOCKS * BLOCK, content_of(BLOCKS))
    assert old.read_bytes() == written(BLOCKS)
    assert list(tmp_path.iterdir()) == [old]


def test_it_fails_if_the_target_fails_at_the_last_moment(
    disk: Disk, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its name already, and loses it again."""
    monkeypatch.setattr("vlockstep.host.diskmove.DiskFile", Filling)
    monkeypatch.setattr(Filling, "room", 0)

    def tell(how_far: HowFar) -> None:
        if how_far.phase is Phase.SWITCHING:
            disk.write(0, content_of(1))

    with pytest.raises(HostError, match="No space left"):
        DiskMove(disk, tmp_path / "new.img", tell).run()
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes()[:BLOCK] == content_of(1)


# Killed

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_diskmove import Writer
from vlockstep.host.devices import Disk
from vlockstep.host.diskmove import DiskMove

point, left = sys.argv[1], int(sys.argv[2])
class Told(Writer):
    @property
    def count(self):
        return self._count
    @count.setter
    def count(self, n):
        self._count = n
        os.write(1, b"%d\\n" % n)

def reach(name):
    global left
    left -= name == point
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

class Watched(Disk):
    def switch(self, *arguments):
        reach("named")
        before = super().switch(*arguments)
        reach("switched")
        return before

disk = Watched(Path("old.img"))
writer = Told(disk)
writer.start()
DiskMove(disk, Path("new.img"), lambda how_far: reach(how_far.phase.value)).run()
for _ in range(100):
    reach("done")
"""


@pytest.mark.parametrize(
    ("point", "after"),
    [
        ("copying", 0), ("copying", 1), ("copying", 9), ("copying", 15),
        ("comparing", 0), ("switching", 0), ("named", 0), ("switched", 0), ("done", 50),
    ],
)  # fmt: skip
def test_wherever_it_is_killed_there_is_one_file_to_go_on_from(
    old: Path, tmp_path: Path, point: str, after: int
) -> None:
    """The new one if it is there, and else the old one: with all that was ever written."""
    script = KILLED.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", script, point, str(after)], cwd=tmp_path, stdout=subprocess.PIPE
    )
    assert done.returncode == -signal.SIGKILL
    count = int(done.stdout.split()[-1]) if done.stdout else 0
    new = tmp_path / "new.img"
    assert new.exists() == (point in ("named", "switched", "done"))
    found = (new if new.exists() else old).read_bytes()
    assert found in (written(count), written(count + 1))


def test_an_old_file_that_cannot_be_closed_costs_nothing(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one is the disk by then."""
    before, close = disk.storage, DiskFile.close

    def fail(self: DiskFile) -> None:
        close(self)
        if self is before:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(DiskFile, "close", fail)
    DiskMove(disk, tmp_path / "new.img").run()
    assert disk.path == tmp_path / "new.img"
    disk.write(0, bytes(512))


class Outliving:
    """What of each file outlives the host's death, in the least."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.content: dict[Path, bytes] = {}
        sync = DiskFile.sync

        def noted(file: DiskFile) -> None:
            sync(file)
            self.content[file.path] = file.read(0, file.capacity) or b""

        patch.setattr(DiskFile, "sync", noted)


class Writes:
    """An agreement while which a guest writes; where it is decided that the disk is the new file,
    its host may die."""

    def __init__(self, disk: Disk, outliving: Outliving) -> None:
        self.outlived: dict[Path, bytes] = {}
        """When that is decided."""
        self._disk = disk
        self._outliving = outliving

    def begin(self) -> None: ...

    def reach(self, path: Path, token: int) -> None:
        self._disk.write(0, content_of(1))
        self._disk.sync()

    def decide(self) -> None:
        self.outlived = dict(self._outliving.content)
        self._disk.write(BLOCK, content_of(2))
        self._disk.sync()

    def keep(self, reason: str) -> None: ...
    def done(self) -> None: ...
    def cancel(self, reason: str) -> None: ...
    def abandon(self) -> None: ...


def test_what_is_synced_is_so_in_the_file_that_may_be_the_disk(
    disk: Disk, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outliving = Outliving(monkeypatch)
    agreement = Writes(disk, outliving)
    DiskMove(disk, tmp_path / "new.img", agreement=agreement).run()
    assert agreement.outlived[tmp_path / "new.img"][:BLOCK] == content_of(1)
    for path in (old, tmp_path / "new.img"):
        assert outliving.content[path][: 2 * BLOCK] == content_of(1) + content_of(2)


def test_a_file_that_is_used_no_more_needs_no_sync(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be left, and closed, while it is synced."""
    sync = DiskFile.sync

    def moving_on(file: DiskFile) -> None:
        monkeypatch.setattr(DiskFile, "sync", sync)
        DiskMove(disk, tmp_path / "new.img").run()
        file.sync()

    monkeypatch.setattr(DiskFile, "sync", moving_on)
    disk.sync()
    assert disk.path == tmp_path / "new.img"
    disk.storage.close()
    with pytest.raises(HostError, match="cannot write to the disk"):
        disk.sync()

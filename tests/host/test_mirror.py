"""Mirrors: one pass over a disk that is written meanwhile, at every interleaving."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlockstep.errors import HostError
from vlockstep.host import mirror as mirrors
from vlockstep.host.devices import Disk, DiskFile
from vlockstep.host.mirror import PIECE, Mirror, MirroredDisk
from vlockstep.sim import coroutine

if TYPE_CHECKING:
    from vlockstep.sim.coroutine import Coroutine

UNIT = 4
CAPACITY = 16 * UNIT


class Threads:
    """Coroutines that are interrupted wherever they read or write; `choose` says who goes on."""

    def __init__(self, choose: Callable[[list[int]], int]) -> None:
        self._choose = choose
        self._here = coroutine.current()
        self._all: list[Coroutine] = []
        self._waiting: set[Coroutine] = set()

    def start(self, run: Callable[[], object]) -> None:
        self._all.append(coroutine.make(run, self._here))

    def run(self) -> None:
        while alive := [n for n, each in enumerate(self._all) if not each.dead]:
            able = [n for n in alive if self._all[n] not in self._waiting]
            assert able, "all wait for each other"
            self._all[self._choose(able)].switch()

    def interrupt(self) -> None:
        self._here.switch()

    # As a condition

    def __enter__(self) -> None: ...

    def __exit__(self, *exc: Any) -> None: ...

    def wait(self) -> None:
        self._waiting.add(coroutine.current())
        self._here.switch()

    def notify_all(self) -> None:
        self._waiting.clear()


class Torn:
    """Bytes that are read and written by halves, unit by unit either holes or data."""

    def __init__(self, threads: Threads, holes: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.content = bytearray(CAPACITY)
        self.capacity = CAPACITY
        self.data = set(range(CAPACITY // UNIT)) - holes
        self._threads = threads

    def read(self, offset: int, length: int) -> bytes | None:
        middle = offset + length // 2
        first = bytes(self.content[offset:middle])
        self._threads.interrupt()
        return first + bytes(self.content[middle : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        middle = len(data) // 2
        for start, half in ((offset, data[:middle]), (offset + middle, data[middle:])):
            self._threads.interrupt()
            self.content[start : start + len(half)] = half
            if half:
                self.data |= set(range(start // UNIT, (start + len(half) - 1) // UNIT + 1))

    def extent(self, offset: int) -> tuple[int, int] | None:
        units = [n for n in sorted(self.data) if n >= offset // UNIT]
        self._threads.interrupt()
        if not units:
            return None
        end = next(n for n in itertools.count(units[0]) if n not in self.data)
        return max(offset, units[0] * UNIT), end * UNIT

    def clear(self) -> None:
        raise AssertionError

    def close(self) -> None: ...


class Failing(Torn):
    """Its n-th write is one too many."""

    left = 0

    def write(self, offset: int, data: bytes) -> None:
        if not self.left:
            raise HostError("it is full")
        self.left -= 1
        super().write(offset, data)


WRITES = st.lists(
    st.tuples(st.integers(0, CAPACITY - 1), st.binary(min_size=1, max_size=3 * UNIT)), max_size=6
)
HOLES = st.sets(st.integers(0, CAPACITY // UNIT - 1))


@contextmanager
def small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirrors, "PIECE", 2 * UNIT)
        yield


def _copy(data: st.DataObject, target_of: Callable[[Threads], Torn]) -> tuple[Torn, Torn, Mirror]:
    """Two who write and one who reads, while a copier is at it: disk, target and mirror then."""
    threads = Threads(lambda able: data.draw(st.sampled_from(able), label="next"))
    storage, target = Torn(threads, data.draw(HOLES, label="holes")), target_of(threads)
    for unit in storage.data:
        storage.content[unit * UNIT : unit * UNIT + UNIT] = bytes([unit + 100]) * UNIT
    disk = MirroredDisk(storage, threads)
    mirror = disk.mirror(target)

    def write(writes: list[tuple[int, bytes]]) -> None:
        for offset, content in writes:
            disk.write(offset, content[: CAPACITY - offset])

    def read() -> None:
        for offset in range(0, CAPACITY, UNIT):
            disk.read(offset, UNIT)

    steps = 0

    def copy() -> None:
        nonlocal steps
        while not mirror.over:
            mirror.step()
            steps += 1

    for label in ("one", "another"):
        writes = data.draw(WRITES, label=label)
        threads.start(lambda writes=writes: write(writes))
    threads.start(read)
    threads.start(copy)
    with small_pieces():
        threads.run()
    assert steps <= CAPACITY // UNIT and mirror.copied <= CAPACITY, "it is one pass"
    return storage, target, mirror


@given(st.data())
def test_in_the_end_both_are_equal_whatever_comes_between(data: st.DataObject) -> None:
    storage, target, mirror = _copy(data, lambda threads: Torn(threads, set(range(CAPACITY))))
    assert mirror.failure is None
    assert target.content == storage.content


@given(st.data())
def test_a_target_that_fails_costs_the_disk_nothing(data: st.DataObject) -> None:
    def failing(threads: Threads) -> Torn:
        made = Failing(threads)
        made.left = data.draw(st.integers(0, 4), label="writes")
        return made

    storage, target, mirror = _copy(data, failing)
    assert mirror.over
    if mirror.failure is None:
        assert target.content == storage.content


def test_a_write_waits_for_the_piece_under_copy_and_only_for_that() -> None:
    order = iter([1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1])
    threads = Threads(lambda able: next(n for n in (next(order, able[0]), able[0]) if n in able))
    storage, target = Torn(threads), Torn(threads)
    disk = MirroredDisk(storage, threads)
    mirror = disk.mirror(target)
    written: list[int] = []

    def write() -> None:
        for offset in (CAPACITY - UNIT, 0):  # above the piece, and in it
            disk.write(offset, b"new.")
            written.append(mirror.cursor)

    threads.start(write)
    threads.start(mirror.step)
    with small_pieces():
        threads.run()
    assert written == [0, 2 * UNIT]
    assert target.content[:UNIT] == b"new." and not any(target.content[2 * UNIT :])


# Files


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(64 * PIECE)
        file.seek(5 * PIECE)
        file.write(b"x" * 3 * PIECE)
        file.write(bytes(PIECE))
    with closing(Disk(path)) as opened:
        yield opened


class Unreliable(DiskFile):
    full = False

    def write(self, offset: int, data: bytes) -> None:
        if self.full:
            raise HostError("it is full")
        super().write(offset, data)


def _target(tmp_path: Path, disk: Disk) -> Unreliable:
    path = tmp_path / "target"
    path.touch()
    with path.open("ab") as file:
        file.truncate(disk.capacity)
    return Unreliable(path)


def test_what_is_thin_stays_thin(disk: Disk, tmp_path: Path) -> None:
    with closing(_target(tmp_path, disk)) as target:
        mirror = disk.mirror(target)
        while not mirror.over:
            mirror.step()
        assert mirror.copied == 4 * PIECE
        assert [*target.extents()] == [(5 * PIECE, 8 * PIECE)], "zeros became a hole"
        assert target.path.read_bytes() == disk.path.read_bytes()


def test_threads_that_write_while_it_is_copied(disk: Disk, tmp_path: Path) -> None:
    """As above, with real threads and files."""
    go_on = True

    def write(step: int) -> None:
        for n in itertools.count():
            if not go_on:
                return
            offset = n * step * 512 % disk.capacity
            disk.write(offset, n.to_bytes(4, "little") * 128)

    with closing(_target(tmp_path, disk)) as target:
        writers = [threading.Thread(target=write, args=(step,)) for step in (7, 127)]
        for writer in writers:
            writer.start()
        mirror = disk.mirror(target)
        while not mirror.over:
            mirror.step()
        go_on = False
        for writer in writers:
            writer.join()
        assert mirror.failure is None and mirror.copied <= disk.capacity
        assert target.path.read_bytes() == disk.path.read_bytes()
        before = disk.switch(mirror, target)
        disk.write(0, b"n" * 512)
        assert disk.read(0, 512) == target.read(0, 512) == b"n" * 512 != before.read(0, 512)
        before.close()


def test_who_writes_to_a_bound_mirror_that_fails_is_told(disk: Disk, tmp_path: Path) -> None:
    with closing(_target(tmp_path, disk)) as target:
        mirror = disk.mirror(target)
        while not mirror.over:
            mirror.step()
        disk.bind(mirror)
        disk.write(0, b"a" * 512)
        target.full = True
        for _ in range(2):
            with pytest.raises(HostError, match="it is full"):
                disk.write(0, b"b" * 512)
        with pytest.raises(HostError, match="it is full"):
            disk.switch(mirror, target)
        disk.end(mirror)
        disk.write(0, b"c" * 512)


def test_a_mirror_that_has_failed_is_not_bound(disk: Disk, tmp_path: Path) -> None:
    with closing(_target(tmp_path, disk)) as target:
        mirror = disk.mirror(target)
        while not mirror.over:
            mirror.step()
        target.full = True
        disk.write(0, b"a" * 512)
        with pytest.raises(HostError, match="it is full"):
            disk.bind(mirror)
        disk.write(0, b"b" * 512)


def test_a_disk_that_is_emptied_to_be_filled_fails_its_mirrors(disk: Disk, tmp_path: Path) -> None:
    """What fills it goes past them."""
    with closing(_target(tmp_path, disk)) as target:
        mirror = disk.mirror(target)
        while not mirror.over:
            mirror.step()
        disk.empty()
        with pytest.raises(HostError, match="emptied meanwhile"):
            disk.switch(mirror, target)

"""Who copies the pages that a scan tells, while a guest writes, has the guest's RAM in the end.

Both ways of finding them are tried alike: that of this host, and that of any host.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import MIB, Console, config_for, machine_of, sample

from vlockstep.host.simulated import SimulatedWorld
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.dirty import DirtyPages, track
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.memory import Memory
from vlockstep.machine.position import Position

PAGE = mmap.PAGESIZE
SIZE = 4 * MIB
TESTS = Path(__file__).parents[1]


def protects() -> bool:
    with closing(Memory(SIZE)) as memory, closing(track(memory)) as pages:
        return pages.way == "asynchronous write protection"


both_ways = pytest.mark.parametrize("native", [True, False], ids=["this host's", "any host's"])
where_protected = pytest.mark.skipif(not protects(), reason="needs Linux 6.7, and userfaultfd")


class Copy:
    """Of RAM, from what scans tell."""

    def __init__(self, memory: Memory, native: bool = True) -> None:
        self.memory = memory
        self.pages: DirtyPages = track(memory, native)
        self.content = bytearray(memory.size)

    def update(self) -> list[tuple[int, int]]:
        told = self.pages.scan()
        before = -1
        for start, end in told:
            assert before < start < end <= self.memory.size, "out of order, or not joined"
            assert start % PAGE == end % PAGE == 0
            self.content[start:end] = self.pages.read(start, end)
            before = end
        return told

    def check(self) -> None:
        assert self.content == self.memory.ram, "a write was lost"

    def close(self) -> None:
        self.pages.close()


@contextmanager
def copy_of(size: int, native: bool) -> Iterator[tuple[Memory, Copy]]:
    with closing(Memory(size)) as memory, closing(Copy(memory, native)) as copy:
        yield memory, copy


@both_ways
def test_pages_that_are_written_are_told_and_no_others(native: bool) -> None:
    with copy_of(SIZE, native) as (memory, copy):
        assert copy.update() == copy.update() == []
        memory.peek(0, SIZE)
        assert copy.update() == []
        memory.write(PAGE - 1, b"ab")
        memory.packer("<I")(7 * PAGE, 5)
        memory.write(SIZE - 1, b"x")
        assert copy.update() == [(0, 2 * PAGE), (7 * PAGE, 8 * PAGE), (SIZE - PAGE, SIZE)]
        assert copy.update() == []
        memory.peek(0, SIZE)
        assert copy.update() == []
        memory.write(7 * PAGE + 9, b"x")
        assert copy.update() == [(7 * PAGE, 8 * PAGE)]
        copy.check()


@both_ways
def test_what_was_there_before_is_told_first(native: bool) -> None:
    with closing(Memory(SIZE)) as memory:
        memory.write(5 * PAGE, b"before")
        with closing(Copy(memory, native)) as copy:
            memory.write(8 * PAGE, b"and after")
            told = copy.update()
            assert told == [(5 * PAGE, 6 * PAGE), (8 * PAGE, 9 * PAGE)]
            copy.check()


@both_ways
def test_a_page_that_becomes_zeros_is_told(native: bool) -> None:
    with copy_of(SIZE, native) as (memory, copy):
        memory.write(3 * PAGE, b"x" * PAGE)
        memory.write(9 * PAGE, b"y")
        copy.update()
        memory.write(3 * PAGE, bytes(PAGE))
        assert copy.update() == [(3 * PAGE, 4 * PAGE)]
        memory.clear()
        copy.update()
        copy.check()
        assert not any(copy.content)
        memory.replace([(PAGE, b"z")])
        copy.update()
        copy.check()


@both_ways
def test_all_of_ram(native: bool) -> None:
    with copy_of(SIZE, native) as (memory, copy):
        copy.update()
        for letter in (b"a", b"b"):
            memory.write(0, letter * SIZE)
            assert copy.update() == [(0, SIZE)]
            copy.check()


@both_ways
def test_more_pieces_than_the_kernel_lists_at_once(native: bool) -> None:
    with copy_of(64 * MIB, native) as (memory, copy):
        copy.update()
        for page in range(0, 64 * MIB, 2 * PAGE):
            memory.write(page, b"x")
        assert copy.update() == [(page, page + PAGE) for page in range(0, 64 * MIB, 2 * PAGE)]
        assert copy.update() == []


@both_ways
def test_what_the_kernel_writes_is_told(native: bool, tmp_path: Path) -> None:
    """As it does when a file is read into RAM."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 3 * PAGE)
    with copy_of(SIZE, native) as (memory, copy), file.open("rb") as source:
        copy.update()
        memory.write(0, b"touched")
        copy.update()
        for address in (0, 100 * PAGE):
            target = memory.address + address
            with memory_at(target, 3 * PAGE) as view:
                assert os.preadv(source.fileno(), [view], 0) == 3 * PAGE
            assert copy.update() == [(address, address + 3 * PAGE)]
        copy.check()


@contextmanager
def memory_at(address: int, length: int) -> Iterator[memoryview]:
    yield memoryview((ctypes.c_char * length).from_address(address)).cast("B")


@both_ways
def test_a_change_that_is_undone_before_the_next_scan(native: bool) -> None:
    """What was read in between must not stay."""
    with copy_of(SIZE, native) as (memory, copy):
        copy.update()
        memory.write(PAGE, b"first")
        told = copy.pages.scan()
        memory.write(PAGE, b"other")
        for start, end in told:
            copy.content[start:end] = copy.pages.read(start, end)
        memory.write(PAGE, b"first")
        copy.update()
        copy.check()


writes = st.lists(
    st.one_of(
        st.none(),  # a scan
        st.tuples(st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=3 * PAGE)),
        st.tuples(st.integers(0, SIZE // PAGE - 1).map(PAGE.__mul__), st.just(bytes(PAGE))),
    ),
    max_size=30,
)


@both_ways
@given(before=writes, after=writes)
def test_random_writes(
    native: bool,
    before: list[tuple[int, bytes] | None],
    after: list[tuple[int, bytes] | None],
) -> None:
    with closing(Memory(SIZE)) as memory:
        expected = bytearray(SIZE)

        def apply(step: tuple[int, bytes]) -> set[int]:
            address, content = step[0], step[1][: SIZE - step[0]]
            memory.write(address, content)
            expected[address : address + len(content)] = content
            return set(range(address // PAGE, (address + len(content) - 1) // PAGE + 1))

        for step in before:
            if step is not None:
                apply(step)
        with closing(Copy(memory, native)) as copy:
            copy.update()
            touched: set[int] = set()
            for step in [*after, None]:
                if step is not None:
                    touched |= apply(step)
                    continue
                told = {page // PAGE for run in copy.update() for page in range(*run, PAGE)}
                assert told <= touched
                if copy.pages.way == "asynchronous write protection":
                    assert told == touched
                touched.clear()
                assert copy.content == expected == memory.ram


GUESTS = {"sort": ("--n=20000", "--rounds=4"), "preempt": ("--work=40000",)}


def guest_of(name: str) -> tuple[Image, GuestConfig]:
    image = sample(name)
    return image, config_for(image, *GUESTS[name], memory=16 * MIB)


def run_beside(machine: Machine, seed: int) -> threading.Thread:
    world = SimulatedWorld(seed, Console())
    thread = threading.Thread(target=machine.run, args=(world,))
    thread.start()
    return thread


def follow(guests: Sequence[tuple[threading.Thread, Copy]]) -> None:
    """Until they end, and once more."""
    running = True
    while running:
        running = any(guest.is_alive() for guest, _ in guests)
        for _, copy in guests:
            copy.update()
    for _, copy in guests:
        copy.check()


@both_ways
@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_that_runs(name: str, native: bool) -> None:
    image, config = guest_of(name)
    with machine_of(image, config) as machine, closing(Copy(machine.memory, native)) as copy:
        follow([(run_beside(machine, 3), copy)])
        assert machine.outcome is not None
        assert copy.update() == []


@both_ways
def test_two_guests_in_one_process(native: bool) -> None:
    with ExitStack() as opened:
        machines = [opened.enter_context(machine_of(*guest_of("sort"))) for _ in range(2)]
        copies = [opened.enter_context(closing(Copy(m.memory, native))) for m in machines]
        assert len({copy.pages.way for copy in copies}) == 1
        guests = [run_beside(machine, seed) for seed, machine in enumerate(machines)]
        follow(list(zip(guests, copies, strict=True)))


@both_ways
def test_who_is_tracked_ends_as_who_is_not(native: bool) -> None:
    image, config = guest_of("preempt")
    with machine_of(image, config) as machine:
        expected = machine.run(SimulatedWorld(3, Console()))
    with machine_of(image, config) as machine, closing(Copy(machine.memory, native)) as copy:
        follow([(run_beside(machine, 3), copy)])
        assert machine.outcome == expected


@both_ways
def test_a_guest_that_moves_while_it_runs(native: bool) -> None:
    image, config = guest_of("sort")
    with machine_of(image, config, count_blocks=True) as machine:
        expected = machine.run(SimulatedWorld(3, Console()))
    world = SimulatedWorld(3, Console())
    with (
        machine_of(image, config, count_blocks=True) as source,
        closing(Copy(source.memory, native)) as copy,
    ):
        source.break_at(Position(0, 1_000_000), source.stop)
        guest = threading.Thread(target=source.run, args=(world,))
        guest.start()
        with machine_of(image, config, count_blocks=True) as target:
            target.memory.clear()
            running = True
            while running:
                running = guest.is_alive()
                for start, end in copy.pages.scan():
                    target.memory.write(start, copy.pages.read(start, end))
            target.load(source.capture(memory=False))
            assert target.memory.digest() == source.memory.digest()
            assert target.run(world) == expected


def test_two_who_look_at_one_memory() -> None:
    with closing(Memory(SIZE)) as memory, closing(Copy(memory)) as one:
        with closing(Copy(memory)) as other:
            for number in range(3):
                memory.write(number * PAGE, b"x")
                assert one.update() == other.update() == [(number * PAGE, (number + 1) * PAGE)]
        memory.write(0, b"y")
        assert one.update() == [(0, PAGE)]
        one.check()


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@both_ways
@pytest.mark.parametrize("memory_first", [True, False])
def test_closing(native: bool, memory_first: bool) -> None:
    before = descriptors()
    for _ in range(3):
        memory = Memory(SIZE)
        pages = track(memory, native)
        pages.scan()
        memory.write(0, b"x")
        for closed in (memory, pages) if memory_first else (pages, memory):
            closed.close()
        pages.close()
    assert descriptors() == before


@where_protected
def test_closing_takes_all_protection_away() -> None:
    def protected() -> int:
        with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
            pagemap.seek(memory.address // PAGE * 8)
            words = struct.iter_unpack("<Q", pagemap.read(SIZE // PAGE * 8))
            return sum(word >> 57 & 1 for (word,) in words)

    with closing(Memory(SIZE)) as memory:
        memory.write(0, b"x" * MIB)
        with closing(track(memory)) as pages:
            pages.scan()
            assert protected() == SIZE // PAGE
            memory.write(0, b"x")
            assert protected() == SIZE // PAGE - 1
        assert protected() == 0


@both_ways
def test_a_memory_is_tracked_again(native: bool) -> None:
    with closing(Memory(SIZE)) as memory:
        ways = set()
        for number in range(3):
            with closing(Copy(memory, native)) as copy:
                memory.write(2 * number * PAGE, b"x")
                assert copy.update() == [(0, (2 * number + 1) * PAGE)]
                assert copy.update() == []
                memory.write(0, b"%d" % number)
                assert copy.update() == [(0, PAGE)]
                ways.add(copy.pages.way)
            memory.write((2 * number + 1) * PAGE, b"x")
        assert len(ways) == 1


REFUSALS = {
    "userfaultfd": "refuse(USERFAULTFD, ENOSYS)",
    "its features": "refuse(IOCTL, EINVAL, 0xC018AA3F)",
    "registering": "refuse(IOCTL, EINVAL, 0xC020AA00)",
    "scanning": "refuse(IOCTL, ENOTTY, 0xC0606610)",
    "a first descriptor": "leave_descriptors(0)",
    "a second descriptor": "leave_descriptors(1)",
}


@where_protected
@pytest.mark.parametrize("refusal", REFUSALS)
def test_where_the_system_refuses_ram_is_compared(refusal: str) -> None:
    script = f"""
        import sys
        from contextlib import closing
        from refusing import *
        from test_dirty import Copy, SIZE, descriptors
        from vlockstep.machine.memory import Memory

        with closing(Memory(SIZE)) as memory:
            before = descriptors()
            {REFUSALS[refusal]}
            with closing(Copy(memory)) as copy:
                print(copy.pages.way)
                memory.write(5000, b"x")
                assert copy.update() == [(4096, 8192)] and copy.update() == []
                copy.check()
                leave_descriptors(100)
                assert descriptors() == before
    """
    path = os.pathsep.join(map(str, (TESTS, TESTS / "machine", TESTS.parent)))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("comparison with a copy\n", "")

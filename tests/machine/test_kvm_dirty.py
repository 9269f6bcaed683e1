"""Pages that a guest on KVM writes, through the processor's second level of page tables, are told
exactly."""

from __future__ import annotations

import mmap
import random
import struct
import threading
from contextlib import closing

import pytest
from kvm_guests import loop, prepared
from support import MIB, ScriptedWorld, halt, make_image, needs_kvm

from vlockstep.machine.dirty import DirtyPages, track
from vlockstep.machine.machine import Machine
from vlockstep.machine.memory import Memory

pytestmark = needs_kvm

PAGE = mmap.PAGESIZE
HEAP, PAGES, WRITES = 4 * MIB, 1024, 200
STORE = (
    b"\x0f\x31\xc1\xe0\x0c"  # rdtsc; shl eax, 12
    + b"\x48\xff\x80" + struct.pack("<I", HEAP)  # inc qword [rax + HEAP]
)  # fmt: skip
IMAGE = make_image(loop(STORE, WRITES) + halt())
SWEEPS = make_image(
    loop(
        b"\x0f\x31\xbf" + struct.pack("<I", HEAP)  # mov edi, HEAP
        + b"\x48\xff\x07\x81\xc7\x00\x10\x00\x00\x81\xff" + struct.pack("<I", HEAP + 4 * MIB)
        + b"\x72\xef",  # inc qword [rdi]; add edi, 4096; cmp edi, HEAP + 4 MiB; jb
        100,
    )
    + halt()
)  # fmt: skip


@pytest.fixture(autouse=True)
def _protecting() -> None:
    with closing(Memory(2 * MIB)) as memory, closing(track(memory)) as pages:
        if "protection" not in pages.way:
            pytest.skip("this kernel does not tell of written pages")


class Choosing(ScriptedWorld):
    """Tells the guest which page to write next, and looks at what was written since."""

    def __init__(self, pages: DirtyPages, seed: int) -> None:
        super().__init__()
        self._pages = pages
        self._chosen = random.Random(seed)
        self._last: set[int] = set()
        self.wrong: list[object] = []

    def cycles(self, at: int) -> int:
        if self._chosen.randrange(3) == 0:
            self.look()
        page = self._chosen.randrange(PAGES)
        self._last.add(page)
        return page

    def look(self) -> None:
        told = {
            (at - HEAP) // PAGE
            for start, end in self._pages.scan()
            for at in range(start, end, PAGE)
        }
        if told != self._last:
            self.wrong.append((told, self._last))
        self._last = set()


@pytest.mark.parametrize("seed", range(3))
def test_exactly_the_pages_that_were_written_are_told(seed: int) -> None:
    machine = Machine(IMAGE, prepared(IMAGE), engine="kvm")
    with closing(machine), closing(machine.track()) as pages:
        pages.scan()
        world = Choosing(pages, seed)
        machine.run(world)
        world.look()
    assert not world.wrong


def test_who_copies_while_the_guest_writes_has_its_ram_in_the_end() -> None:
    with closing(Machine(SWEEPS, prepared(SWEEPS), engine="kvm")) as machine:
        copy, over = bytearray(machine.memory.size), threading.Event()
        with closing(machine.track()) as pages:

            def follow() -> None:
                for start, end in pages.scan():
                    copy[start:end] = pages.read(start, end)

            def follow_on() -> None:
                while not over.is_set():
                    follow()

            thread = threading.Thread(target=follow_on)
            thread.start()
            machine.run(ScriptedWorld())
            over.set()
            thread.join()
            follow()
            assert copy == machine.memory.peek(0, machine.memory.size)
    assert copy[HEAP : HEAP + 8] == struct.pack("<Q", 100)

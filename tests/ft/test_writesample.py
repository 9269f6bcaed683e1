"""How much a guest writes is looked at beside it, and for nobody else's account."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from vlockstep.ft import writesample
from vlockstep.ft.writesample import WriteSample
from vlockstep.machine import dirty
from vlockstep.machine.config import MIB
from vlockstep.machine.dirty import PROTECTION
from vlockstep.machine.memory import Memory

PAGE = 4096


@pytest.fixture
def memory() -> Iterator[Memory]:
    made = Memory(4 * MIB)
    yield made
    made.close()


@pytest.fixture
def protects(memory: Memory) -> None:
    pages = dirty.track(memory)
    way = pages.way
    pages.close()
    if way != PROTECTION:
        pytest.skip("this kernel does not protect pages")


@pytest.mark.usefixtures("protects")
def test_what_is_written_meanwhile_is_counted_once(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    tracked = threading.Event()
    monkeypatch.setattr(writesample, "SECONDS", 60)
    memory.write(0, bytes([1]) * MIB)

    def track() -> dirty.DirtyPages:
        pages = dirty.track(memory)
        scan, scans = pages.scan, 0

        def watched() -> list[tuple[int, int]]:
            nonlocal scans
            found, scans = scan(), scans + 1
            if scans == 1:
                for _ in range(3):
                    memory.write(2 * MIB, bytes([2]) * 5 * PAGE)
                tracked.set()
            return found

        monkeypatch.setattr(pages, "scan", watched)
        monkeypatch.setattr(writesample, "SECONDS", 0)
        return pages

    WriteSample(track, answers.put)
    assert answers.get(timeout=10) == 5 * PAGE and tracked.is_set()


@pytest.mark.usefixtures("protects")
def test_who_is_to_look_next_need_not_wait(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    monkeypatch.setattr(writesample, "SECONDS", 60)
    sample = WriteSample(lambda: dirty.track(memory), answers.put)
    sample.stop()
    assert answers.get(timeout=10) is None and sample.over
    pages = dirty.track(memory)
    assert pages.way == PROTECTION
    pages.close()


def test_where_it_is_too_dear_it_is_not_looked_at(memory: Memory) -> None:
    answers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    WriteSample(lambda: dirty.track(memory, native=False), answers.put)
    assert answers.get(timeout=10) is None

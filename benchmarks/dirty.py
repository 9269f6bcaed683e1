"""What it costs to know which pages a guest has written: the guest, and who looks."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.contest import Claim, Contestant, Report, interleave, ratio
from benchmarks.guests import timed
from vlockstep import GuestConfig, LiveWorld, Machine, open_image
from vlockstep.machine.config import MIB
from vlockstep.machine.dirty import DirtyPages, track
from vlockstep.machine.memory import Memory

TARGET = 0.95
_SIZES = {"64 MiB": 64 * MIB, "1 GiB": 1024 * MIB}
_WRITTEN = 8 * MIB
_PAGE = 4096
_TRACKED, _UNTRACKED = "sort, tracked", "sort, not tracked"


def measure(_directory: Path, rounds: int) -> Report:
    contestants = [
        Contestant(_UNTRACKED, lambda: _sort(tracked=False)),
        Contestant(_TRACKED, lambda: _sort(tracked=True)),
        *(_scans(name, native) for name in _SIZES for native in (True, False)),
    ]
    figures = interleave(contestants, rounds)
    units = dict.fromkeys((_TRACKED, _UNTRACKED), "s")
    units |= {name: "µs" for name in figures if name.endswith("to a page")}
    claim = Claim("sort, speed while tracked", ratio(figures, _UNTRACKED, _TRACKED), TARGET)
    return Report("dirty: which pages a guest has written", "ms", figures, [claim], units)


class _Silence:
    def write(self, offset: int, data: bytes) -> None:
        pass


def _sort(tracked: bool) -> float:
    image = open_image("sort")
    with closing(Machine(image, GuestConfig(image.digest))) as machine:
        pages = track(machine.memory) if tracked else None
        if pages:
            pages.scan()
        seconds = timed(lambda: machine.run(LiveWorld(_Silence())))
        if pages:
            pages.close()
        return seconds


def _scans(size: str, native: bool) -> Contestant:
    """Of RAM that is in use from end to end."""

    def run() -> Mapping[str, float]:
        with _tracked(_SIZES[size], native) as (memory, pages):
            first = timed(pages.scan)
            idle = timed(pages.scan)
            writing = timed(lambda: ctypes.memset(memory.address, 2, _WRITTEN))
            again = timed(lambda: ctypes.memset(memory.address, 3, _WRITTEN))
            scan = timed(pages.scan)
            return {
                "first scan": first * 1e3,
                "scan, nothing written": idle * 1e3,
                "scan, 8 MiB written": scan * 1e3,
                "first write to a page": (writing - again) / (_WRITTEN // _PAGE) * 1e6,
            }

    return Contestant(f"{size}, {'protection' if native else 'comparison'}", run)


@contextmanager
def _tracked(size: int, native: bool) -> Iterator[tuple[Memory, DirtyPages]]:
    with closing(Memory(size)) as memory:
        ctypes.memset(memory.address, 1, size)
        with closing(track(memory, native)) as pages:
            yield memory, pages

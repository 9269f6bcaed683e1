"""RAM at many positions: each page is kept once for as long as it was not written."""

from __future__ import annotations

from collections.abc import Iterator
from mmap import PAGESIZE

from vlockstep.machine.dirty import Ranges, track
from vlockstep.machine.memory import Memory

_GROUP = 64
_ZEROS = bytes(PAGESIZE)
_EMPTY: list[bytes] = [_ZEROS] * _GROUP

Table = list[list[bytes]]
"""Pages in groups of 64. Neither a table that was given out nor its groups ever change: what two
have in common is the same object. A page that is the same object was not written between."""


class Pages:
    """The pages of one `memory`, taken and put back."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._dirty = track(memory)
        pages = memory.size // PAGESIZE
        self._table: Table = [_EMPTY] * -(-pages // _GROUP)

    def close(self) -> None:
        self._dirty.close()

    def take(self) -> Table:
        """RAM as it is."""
        table = list(self._table)
        copied: set[int] = set()
        for start, end in self._dirty.scan():
            content = self._dirty.read(start, end)
            for at in range(0, end - start, PAGESIZE):
                index, place = divmod((start + at) // PAGESIZE, _GROUP)
                if index not in copied:
                    copied.add(index)
                    table[index] = list(table[index])
                page = content[at : at + PAGESIZE]
                table[index][place] = page if page != _ZEROS else bytes(bytearray(PAGESIZE))
        self._table = table
        return table

    def know(self, table: Table) -> None:
        """RAM is that."""
        self._dirty.scan()
        self._table = table

    def put(self, table: Table) -> Ranges:
        """Make RAM what it was; which of it is another now."""
        changed = dict(different(self._table, table))
        for start, end in self._dirty.scan():
            for at in range(start, end, PAGESIZE):
                changed[at] = page_of(table, at)
        for at, page in changed.items():
            self._memory.write(at, page)
        self._dirty.scan()  # what was just written is known
        self._table = table
        return [(at, at + PAGESIZE) for at in sorted(changed)]


def page_of(table: Table, address: int) -> bytes:
    index, place = divmod(address // PAGESIZE, _GROUP)
    return table[index][place]


def different(before: Table, after: Table) -> Iterator[tuple[int, bytes]]:
    """Address and content, after, of each page that may have been written between."""
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        if old is not new:
            for place, (there, here) in enumerate(zip(old, new, strict=True)):
                if there is not here:
                    yield (index * _GROUP + place) * PAGESIZE, here


def owned(before: Table | None, table: Table, after: Table | None) -> int:
    """How many pages there are that neither neighbour has."""
    if before is None:
        before = after
    if before is None:
        before = [_EMPTY] * len(table)
    return sum(
        sum(
            page is not earlier and page is not later and page is not _ZEROS
            for earlier, page, later in zip(old, group, new, strict=True)
        )
        for old, group, new in zip(before, table, after or before, strict=True)
        if group is not old and group is not new
    )

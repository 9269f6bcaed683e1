"""What a guest reads from disks that are copies of its replica's own.

Its entries have digests of that: each replica reads it itself. Who replays the guest elsewhere has
no such disk, so a log for that gets what was read, in the place of the digests. A secondary gets
entries, and has read what they tell of only when its guest has come to them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from vlockstep.host.live import BlockDevice
from vlockstep.protocol.journal import Batch
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, Kind, output_digest

_OVERHEAD = 128
"""Bytes of memory that one takes besides its data, about."""
_BLOCK_READ = int(Kind.BLOCK_READ)


class OwnReads:
    """Since it was made; before which entry the guest has executed all is told by `executed`, or
    None if it has executed whatever there is. `note` is called in the guest's thread, `put_in` in
    that of a log, and the rest in turns."""

    def __init__(self, executed: Callable[[], int | None], limit: int) -> None:
        self._executed = executed
        self._limit = limit
        self._reads: deque[tuple[int, bytes]] = deque()
        self._noted = self._taken = 0
        """Bytes; each is changed in one thread."""
        self.lost = False
        """Nobody wants them any more, or they were more than the limit; they are gone."""

    @property
    def waiting(self) -> int:
        """That wait to be put in, about."""
        return self._noted - self._taken

    def note(self, sequence: int, data: bytes) -> None:
        """It makes that entry, or takes it, and has read this."""
        size = len(data) + _OVERHEAD
        if self.lost or self.waiting + size > self._limit:
            self.lose()
            return
        self._reads.append((sequence, data))
        self._noted += size

    def lose(self) -> None:
        """Keep none from now on. In any thread."""
        self.lost, self._reads = True, deque()

    def known(self, batches: Sequence[Batch]) -> int:
        """Of how many of these, from the first on, it has executed all."""
        executed = self._executed()
        if executed is None:
            return len(batches)
        return sum(batch.end <= executed for batch in batches)

    def until_unknown(self, batches: Sequence[Batch]) -> Iterator[Batch]:
        """Of these, what comes before the first read that it has not executed."""
        executed = self._executed()
        for batch in batches:
            first, entries = codec.decode(batch.content)
            unknown = (
                at
                for at, entry in enumerate(entries, first)
                if entry[0] == _BLOCK_READ and executed is not None and at >= executed
            )
            end = next(unknown, batch.end)
            if end == batch.end:
                yield batch
                continue
            if end > first:
                content = codec.encode(first, entries[: end - first])
                yield batch._replace(end=end, content=content)
            return

    def put_in(self, batch: Batch) -> list[Batch]:
        """That with what was read, which is forgotten then; one after the other."""
        found: dict[int, bytes] = {}
        reads = self._reads
        while reads and reads[0][0] < batch.end:
            sequence, data = reads.popleft()
            self._taken += len(data) + _OVERHEAD
            found[sequence] = data
        if not found:
            return [batch]
        first, entries = codec.decode(batch.content)
        whole = [_with_data(entry, found.get(at)) for at, entry in enumerate(entries, first)]
        return [
            batch._replace(first=at, end=end, content=content)
            for at, end, content in codec.batches(first, whole)
        ]


def _with_data(entry: Entry, data: bytes | None) -> Entry:
    """A read that was begun and not made, since the guest's World changed, is of no account."""
    kind, exits, blocks, value, checkpoint = entry
    if data is None or kind != _BLOCK_READ or value != output_digest(data):
        return entry
    return kind, exits, blocks, data, checkpoint


class NotedDisk:
    """A replica's own disk, of which `note` is told what the guest reads."""

    def __init__(self, disk: BlockDevice, note: Callable[[bytes], None]) -> None:
        self._disk = disk
        self._note = note
        self.write = disk.write

    def read(self, offset: int, length: int) -> bytes | None:
        data = self._disk.read(offset, length)
        if data is not None:
            self._note(data)
        return data

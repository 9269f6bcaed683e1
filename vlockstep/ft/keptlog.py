"""The log file of a replica.

A keyframe belongs before one of the entries, and is there only when the guest has come to that; a
secondary gets entries, and keeps them, before its guest does. So they are held back meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from vlockstep.errors import HostError
from vlockstep.ft.ownreads import OwnReads
from vlockstep.host.background import Background
from vlockstep.machine.basis import NOWHERE, Basis
from vlockstep.machine.config import GuestConfig
from vlockstep.protocol.actions import NEVER
from vlockstep.protocol.journal import Batch
from vlockstep.protocol.timing import MILLISECOND
from vlockstep.replay import codec
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.lastlog import LastLog
from vlockstep.replay.logfile import LogWriter

_FLUSH = 100 * MILLISECOND
"""How often the file gets what there is."""
LIMIT = 64 << 20
"""Bytes of entries that wait for the file at most."""
_OVERHEAD = 256
"""Bytes of memory that a batch takes besides its content, about."""
_MUCH = 1 << 18
"""So many bytes do not wait for company."""
_HELD = LIMIT // 2
"""When so much waits, nothing is held back for a keyframe."""
_PATIENCE = 10.0
"""Seconds that the file has for the rest in the end."""


class KeptLog:
    """Writes entries to a new file, in the background. What the file does costs the file, not the
    guest's protection or its status: if it cannot be written, or takes less than the guest gives,
    it ends (one with a hole could not be replayed), and `lost` is told so, once. If it is of the
    last minutes alone, it begins with the entry `last`, the first since `boot` or with a keyframe,
    and anew at each keyframe but one. If there are `reads` it gets these, too, and each entry only
    when the guest has executed it."""

    def __init__(
        self,
        path: Path,
        config: GuestConfig,
        background: Background,
        lost: Callable[[str], None],
        image: Path | None = None,
        basis: Basis = NOWHERE,
        last: int | None = None,
        boot: bool = True,
        reads: OwnReads | None = None,
    ) -> None:
        self._path = path
        self.config = config
        self._image = image
        self._basis = basis
        self._last, self._boot = last, boot
        self._reads = reads
        self._background = background
        self._tell_loss = lost
        self._lock = threading.Lock()
        self._writer: LogWriter | LastLog | None = None
        self._batches: list[Batch] = []
        self._bytes = 0
        """Of those that were not handed over yet."""
        self._waiting = 0
        self._lost = False
        self._closed = False
        self._flush_at = 0
        self._holding = False
        self._held: deque[tuple[Batch, int]] | None = None
        """In the background: what is held back, each batch with the bytes that wait with it."""
        self._keyframe: Keyframe | None = None
        """That belongs among them, or behind them."""
        self._placed: Callable[[bool], None] = lambda placed: None
        self._submit(self._open)

    @property
    def written(self) -> int:
        """Bytes in the file; 0 if it was lost."""
        return 0 if self._writer is None or self._lost else self._writer.written

    @property
    def lost(self) -> bool:
        """The file has ended before the guest."""
        return self._lost

    def keep(self, now: int, batches: Iterable[Batch]) -> None:
        """Write these as they are, a little later."""
        if self._lost:
            self._batches = []
            return
        for batch in batches:
            self._batches.append(batch)
            self._bytes += _size(batch)
        reads = self._reads
        with self._lock:
            waiting = self._waiting + self._bytes + (0 if reads is None else reads.waiting)
        if self._holding and waiting > _HELD:
            self.release()
        if waiting > LIMIT or (reads is not None and reads.lost):
            self._lose(f"{self._path} takes less than the guest gives")
        elif now >= self._flush_at or self._bytes >= _MUCH:
            self._flush_at = now + _FLUSH
            self._hand_over()

    def deadline(self) -> int:
        """When to `turn` at the latest."""
        return self._flush_at if self._batches and not self._lost else NEVER

    def turn(self, now: int) -> None:
        """What waits for company gets to the file, though none comes."""
        if now >= self.deadline():
            self.keep(now, ())

    def hold(self, held: Callable[[int | None], None]) -> None:
        """Write no entries any more, for a keyframe before one of them, until that is placed, or
        they are released. `held` is told, in the background, from which on; None if it is not to
        be."""
        self._holding = True

        def begin() -> None:
            assert self._writer is not None
            if self._holding:
                self._held = deque()
            held(self._writer.next if self._holding else None)

        self._submit(begin)

    def place(self, keyframe: Keyframe, placed: Callable[[bool], None]) -> None:
        """Write this where it belongs, and what was held back; `placed` is told, in the background,
        whether it was: not if they are released before."""

        def begin() -> None:
            if self._held is None:
                placed(False)
                return
            self._keyframe, self._placed = keyframe, placed
            self._flow()

        self._submit(begin)

    def release(self) -> None:
        """Write what was held back, without a keyframe."""
        self._holding = False
        self._submit(self._let_go)

    def show(self, told: Callable[[Path, int], None]) -> None:
        """Of a log of the last minutes: tell, in the background, where it is by now, and how many
        bytes; 0 if there are none. It is replaced later."""
        if not self._closed:
            self._hand_over()

        def look() -> None:
            writer = None if self._lost else self._writer
            told(self._path, writer.extent if isinstance(writer, LastLog) else 0)

        self._background.submit(look)

    def close(self) -> None:
        """Wait for the rest, but not for long."""
        if self._closed:
            return
        self._closed = True
        if not self._lost:
            self._hand_over(last=True)
        self.release()
        self._submit(self._complete)
        if not self._background.drain(_PATIENCE):
            self._lose(f"{self._path} does not take what the guest gave")

    def _hand_over(self, last: bool = False) -> None:
        """What is known; if these are the `last` ones, as much of the rest as can be replayed."""
        batches, self._batches = self._batches, []
        if self._reads is not None:
            known = self._reads.known(batches)
            rest = batches[known:]
            batches = batches[:known]
            if last:
                batches += self._reads.until_unknown(rest)
            else:
                self._batches = rest
        size = sum(map(_size, batches))
        self._bytes -= size
        with self._lock:
            self._waiting += size
        self._submit(lambda: self._write(batches, size))

    # In the background

    def _submit(self, work: Callable[[], None]) -> None:
        def job() -> None:
            if self._lost:
                return
            try:
                work()
            except HostError as error:
                self._lose(str(error))

        self._background.submit(job)

    def _open(self) -> None:
        if self._last is None:
            self._writer = self._file(self._path, 0)
        else:
            self._writer = LastLog(self._path, self._file, self._last, self._boot)

    def _file(self, path: Path, first: int) -> LogWriter:
        return LogWriter(path, self.config, self._image, first, self._basis)

    def _write(self, batches: list[Batch], size: int) -> None:
        if self._reads is not None:
            batches = [each for batch in batches for each in self._reads.put_in(batch)]
            grown = sum(map(_size, batches)) - size
            with self._lock:
                self._waiting += grown
            size += grown
        if self._held is None:
            self._put(batches, size)
        elif batches:
            self._held.extend((batch, 0) for batch in batches[:-1])
            self._held.append((batches[-1], size))
            self._flow()

    def _put(self, batches: Iterable[Batch], size: int) -> None:
        assert self._writer is not None
        self._writer.write((batch.first, batch.end, batch.content) for batch in batches)
        with self._lock:
            self._waiting -= size

    def _flow(self) -> None:
        """Write what comes before the keyframe, if it is known where that belongs; then all."""
        keyframe, held = self._keyframe, self._held
        if keyframe is None or held is None:
            return
        assert self._writer is not None
        while held and held[0][0].first < keyframe.sequence:
            batch, size = held.popleft()
            if batch.end > keyframe.sequence:
                batch, rest = split(batch, keyframe.sequence)
                held.appendleft((rest, size))
                size = 0
            self._put([batch], size)
        if self._writer.next == keyframe.sequence:
            self._writer.keyframe(keyframe)
            self._keyframe, self._holding = None, False
            self._let_go()
            self._placed(True)

    def _let_go(self) -> None:
        held, self._held = self._held, None
        for batch, size in held or ():
            self._put([batch], size)
        if self._keyframe is not None:
            self._keyframe = None
            self._placed(False)

    def _complete(self) -> None:
        assert self._writer is not None
        self._writer.close()

    def _lose(self, why: str) -> None:
        with self._lock:
            if self._lost:
                return
            self._lost = True
        self._held = self._keyframe = None
        if self._reads is not None:
            self._reads.lose()
        self._tell_loss(f"{why}; the log file ends here")


def _size(batch: Batch) -> int:
    """Of it in memory."""
    return _OVERHEAD + len(batch.content)


def split(batch: Batch, at: int) -> tuple[Batch, Batch]:
    """Before the entry `at`, which is one of it and not its first."""
    first, entries = codec.decode(batch.content)
    before, behind = entries[: at - first], entries[at - first :]
    return (
        batch._replace(end=at, content=codec.encode(first, before)),
        batch._replace(first=at, content=codec.encode(at, behind)),
    )

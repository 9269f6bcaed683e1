"""Logs from which a guest can be resumed, on storage that all simulated hosts reach. Of what was
not synced some may be lost when its host crashes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from vlockstep.ft.resumedir import Unresumable
from vlockstep.ft.resumelog import History
from vlockstep.machine.config import GuestConfig
from vlockstep.protocol.journal import Batch
from vlockstep.replay import codec
from vlockstep.replay.entry import OUTPUTS, Entry, Kind
from vlockstep.replay.keyframe import Keyframe


class SimulatedLog:
    """A `ResumeFile`."""

    def __init__(self, printed: int, point: Callable[[str], None]) -> None:
        self.printed = printed
        self.synced = 0
        """Entries before this one are there for good."""
        self.written = 0
        self.removed = False
        self.entries: list[Entry] = []
        """All that were made, for who checks; those before `_first` are not in it any more."""
        self._first = 0
        self._keyframe: Keyframe | None = None
        self._synced_keyframe: Keyframe | None = None
        self._released = 0
        self._synced_released = 0
        self._point = point

    def write(self, batches: Iterable[Batch]) -> None:
        self._point("write to the log")
        for batch in batches:
            first, entries = codec.decode(batch.content)
            assert first == len(self.entries)
            self.entries += entries
            self.written += len(batch.content)

    def note_released(self, released: int) -> None:
        self._released = released

    def place(self, keyframe: Keyframe) -> None:
        self._point("place a keyframe in the log")
        assert keyframe.sequence <= len(self.entries)
        self._keyframe = keyframe
        self.written += keyframe.size

    def renew(self, keyframe: Keyframe, since: int) -> SimulatedLog:
        self._point("renew the log")
        behind = self.entries[keyframe.sequence :]
        self.written = len(codec.encode(keyframe.sequence, behind)) if behind else 0
        self.place(keyframe)
        self._sync()
        self._first = keyframe.sequence
        self._point("go on in the new log")
        return self

    def sync(self) -> None:
        self._point("sync the log")
        self._sync()

    def _sync(self) -> None:
        self.synced, self._synced_released = len(self.entries), self._released
        self._synced_keyframe = self._keyframe

    def begin_at(self, past: SimulatedLog) -> None:
        """Where that begins, with its keyframe."""
        self._first, self._keyframe = past._first, past._synced_keyframe

    def remove(self) -> None:
        self._point("remove the log")
        self.removed = True

    def close(self) -> None: ...

    def past(self, chance: random.Random) -> History:
        """What is left of it when its owner is gone. Raises `Unresumable`."""
        if self.removed:
            raise Unresumable("its last owner has left no log")
        entries = self.entries[: chance.randint(self.synced, len(self.entries))]
        if not entries:
            raise Unresumable("the log of its last owner has no entries")
        released = self._synced_released
        outputs = [n for n, entry in enumerate(entries) if entry[0] in OUTPUTS]
        ended = next((n for n in outputs if entries[n][0] == Kind.END), None)
        keyframe = self._synced_keyframe
        if keyframe is not None and not self._first and chance.random() < 0.25:
            keyframe = None  # it cannot be restored here
        begin = 0 if keyframe is None else keyframe.sequence
        assert begin >= self._first
        return History(
            len(entries),
            released,
            tuple(n for n in outputs if n >= released),
            ended,
            self.printed,
            lambda: iter(entries[begin:]),
            keyframe,
        )


class SimulatedLogs:
    """Those of all owners, by their hosts."""

    def __init__(self, chance: random.Random) -> None:
        self.by_host: dict[str, SimulatedLog] = {}
        self._chance = chance

    def take_over(self, owner: str, here: LogsOfHost) -> tuple[SimulatedLog, History]:
        """As of `ResumeDirectory`."""
        if owner not in self.by_host:
            raise Unresumable("its last owner has left no log")
        past = self.by_host[owner]
        history = past.past(self._chance)
        file = here.make(history.printed)
        entries = past.entries[: history.next]
        file.write(Batch(first, end, 0, c) for first, end, c in codec.batches(0, entries))
        file.note_released(history.released)
        file.begin_at(past)
        file.sync()
        return file, history


class LogsOfHost:
    """A `ResumeStore`. `point` is called before anything is done, with what."""

    def __init__(self, logs: SimulatedLogs, host: str, point: Callable[[str], None]) -> None:
        self._logs = logs
        self._host = host
        self._point = point

    def begin(self, config: GuestConfig, printed: int) -> SimulatedLog:
        self._point("begin the log")
        return self.make(printed)

    def make(self, printed: int) -> SimulatedLog:
        file = self._logs.by_host[self._host] = SimulatedLog(printed, self._point)
        return file

    def forget_others(self) -> None:
        for name in [name for name in self._logs.by_host if name != self._host]:
            del self._logs.by_host[name]

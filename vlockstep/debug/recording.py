"""A log whose entries and keyframes are found by number and by position."""

from __future__ import annotations

import warnings
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from vlockstep.errors import LogError, StateError, UsageError, VlockstepWarning
from vlockstep.machine.image import Image
from vlockstep.machine.machine import Machine
from vlockstep.machine.position import BOOT, Position
from vlockstep.machine.state import MachineState, Where
from vlockstep.machine.world import ABORT_STATUS, NoAnswer
from vlockstep.replay.entry import End, Entry, Kind
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.keyframes import fill_from
from vlockstep.replay.logfile import LogReader
from vlockstep.replay.recorded import find_image, warn_if_unlike

CLOCKS = (int(Kind.CYCLES), int(Kind.WALLTIME))
"""Kinds of entries that tell one, in the order in which keyframes do."""
_DECODED = 16
"""Batches that are kept."""


class _Batch(NamedTuple):
    first: int
    exits: int
    offset: int


@dataclass(frozen=True)
class _Key:
    """A keyframe without its RAM. A machine that begins there is at an exact position from the
    first boundary on that is not before `exact`."""

    keyframe: Keyframe
    place: int
    """Which of all keyframes it is."""
    exact: Position


class Recording:
    """The log at `path`, and its guest's image, if not the one that the log tells of.

    Raises `LogError` for what is none, and `UsageError` if it cannot be debugged here.
    """

    def __init__(self, path: Path, image: Image | None = None) -> None:
        self.path = path
        with closing(LogReader(path)) as log:
            warn_if_unlike(log, "unicorn")
            self.config = log.config
            self.image = image or find_image(log.config.image_digest, log.image, str(path))
            if any(block.local for block in log.config.blocks.values()):
                raise UsageError(
                    f"{path} does not hold what its guest read from local disks, which change as "
                    "it is replayed: it cannot be debugged backwards; record without `local`"
                )
            self.first = log.first
            """The number of the first entry; if not 0, the recording does not begin at boot."""
            self._batches: list[_Batch] = []
            self._keys: list[_Key] = []
            self._places: list[int] = []
            """The offsets of all keyframes, those of another Unicorn included."""
            self._wholes = [0]
            """Which of them do not need those before."""
            for offset, found in log.places():
                if isinstance(found, Keyframe):
                    self._note(found, offset)
                else:
                    self._batches.append(_Batch(*found, offset))
            if log.truncated is not None:
                warnings.warn(
                    f"{path} is cut off: the batch at offset {log.truncated} is incomplete, and "
                    "what follows is not seen",
                    VlockstepWarning,
                    stacklevel=2,
                )
        if self.first and (not self._keys or self._keys[0].keyframe.sequence != self.first):
            raise LogError(f"{path} begins with no state that can be restored here")
        self._reader = LogReader(path)
        self._decoded: OrderedDict[int, list[Entry]] = OrderedDict()
        self.count = self.first
        """Entries, those before the first one included."""
        if self._batches:
            self.count = self._batches[-1].first + len(self._entries(len(self._batches) - 1))

    def close(self) -> None:
        self._reader.close()

    @property
    def begins(self) -> Position:
        """From where on positions are exact."""
        return self._keys[0].exact if self.first else BOOT

    @property
    def failed(self) -> bool:
        """Whether it ends with a guest error or an abort."""
        last = self.entry(self.count - 1)
        if last is None or last[0] != Kind.END or not isinstance(last[3], bytes):
            return False
        end = End.unpack(last[3])
        return bool(end.reason) or end.status == ABORT_STATUS

    def entry(self, sequence: int) -> Entry | None:
        """None behind the last one, and before the first."""
        if not self.first <= sequence < self.count:
            return None
        index = bisect_right(self._batches, sequence, key=lambda batch: batch.first) - 1
        return self._entries(index)[sequence - self._batches[index].first]

    def _entries(self, index: int) -> list[Entry]:
        found = self._decoded.get(index)
        if found is not None:
            return found
        batch = self._batches[index]
        self._reader.read_at(batch.first, batch.offset)
        first, found = next(self._reader.batches(), (None, []))
        if first is None or not found:
            raise LogError(f"{self.path} has changed while it was read")
        self._decoded[index] = found
        if len(self._decoded) > _DECODED:
            self._decoded.popitem(last=False)
        return found

    def run(self, sequence: int) -> list[Entry]:
        """Entries from `sequence` on, as many as are at hand at once; none behind the last one."""
        if not self.first <= sequence < self.count:
            return []
        index = bisect_right(self._batches, sequence, key=lambda batch: batch.first) - 1
        return self._entries(index)[sequence - self._batches[index].first :]

    def readings(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Of clocks, by entries from `start` up to `end`: number, kind and value of each."""
        while start < end and (entries := self.run(start)):
            for kind, _, _, value, _ in entries[: end - start]:
                if kind in CLOCKS and isinstance(value, int):
                    yield start, kind, value
                start += 1

    def first_reading(self) -> tuple[int, int, int] | None:
        """Of any clock; None if the guest never reads one."""
        return next(self.readings(self.first, self.count), None)

    def first_readings(self, end: int) -> dict[int, int]:
        """What each of the guest's clocks showed first, if that was before entry number `end`."""
        found: dict[int, int] = {}
        for _, kind, value in self.readings(self.first, end):
            found.setdefault(kind, value)
            if len(found) == len(CLOCKS):
                break
        return found

    def _note(self, keyframe: Keyframe, offset: int) -> None:
        place = len(self._places)
        self._places.append(offset)
        if keyframe.whole:
            self._wholes.append(place)
        try:
            state = MachineState.unpack(keyframe.machine)
        except StateError:
            return
        if state.position != keyframe.position:
            raise LogError(
                f"{self.path}: malformed keyframe before entry {keyframe.sequence} (of "
                f"{state.position}, at {keyframe.position})"
            )
        begins = bool(self.first) and not self._keys  # where nothing was counted before
        known = state.timed or begins or state.position.blocks > 0
        counted = state.where is Where.BOUNDARY and known
        exact = keyframe.position if counted else Position(keyframe.position.exits + 1, 0)
        self._keys.append(_Key(replace(keyframe, memory=(), machine=b""), place, exact))

    @property
    def keyframes(self) -> list[Keyframe]:
        """Those that can be begun from, without RAM."""
        return [key.keyframe for key in self._keys]

    def nearest(self, boundary: Position, strictly: bool = False) -> int | None:
        """Which keyframe is the last from which a boundary, or what is behind it, can be found."""
        find = bisect_left if strictly else bisect_right
        index = find(self._keys, boundary, key=lambda key: key.exact) - 1
        return index if index >= 0 else None

    def exact(self, index: int) -> Position:
        """From where on positions are exact behind that keyframe."""
        return self._keys[index].exact

    def begin(self, index: int, machine: Machine) -> Keyframe:
        """Let the machine begin at that keyframe."""
        place = self._keys[index].place
        first = self._wholes[bisect_right(self._wholes, place) - 1]
        machine.memory.clear()
        machine.engine.forget_code()
        keyframe = fill_from(self._reader, self._places[first : place + 1], machine.memory)
        state = MachineState.unpack(keyframe.machine)
        if state.where is not Where.BOUNDARY and self._keys[index].exact == _at(state):
            state = replace(state, where=Where.BOUNDARY, position=_at(state))
        machine.rewind(state)
        return keyframe

    def count_from_begin(self) -> bool:
        """Of a recording that does not begin at boot, and ends before there is an exact position:
        let its first keyframe be one. There an exit is to be made, or a HLT waits for an interrupt,
        so a block can begin there as well. Whether that can be."""
        key = self._keys[0]
        state = MachineState.unpack(self._reader.keyframe_at(self._places[key.place]).machine)
        if state.where is not Where.BEHIND:
            self._keys[0] = replace(key, exact=_at(state))
        return state.where is not Where.BEHIND


def _at(state: MachineState) -> Position:
    """If it is no boundary, that of a block which begins there."""
    at = state.position
    return at if state.where is Where.BOUNDARY else Position(at.exits, 0)


class Entries:
    """A `Source` of a recording's entries from number `sequence` on; the end of the guest, if it is
    not `whole`, is left out."""

    def __init__(self, recording: Recording, sequence: int, whole: bool = True) -> None:
        self._recording = recording
        self.sequence = sequence
        self._whole = whole
        self._run: list[Entry] = []
        self._at = 0

    def peek(self) -> Entry:
        if self._at == len(self._run):
            self._run, self._at = self._recording.run(self.sequence), 0
            if not self._run:
                raise NoAnswer
        entry = self._run[self._at]
        if entry[0] == Kind.END and not self._whole:
            raise NoAnswer
        return entry

    def take(self) -> Entry:
        entry = self.peek()
        self._at += 1
        self.sequence += 1
        return entry

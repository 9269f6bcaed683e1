"""What is in a log, a few bytes for each entry, so that any range of it is counted at once."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from vlockstep.errors import VlockstepError
from vlockstep.machine.bundled import find
from vlockstep.machine.position import Position
from vlockstep.replay.entry import Kind, data_size
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.logfile import LogReader
from vlockstep.web import shapes

MOST = 4_000_000
"""Entries; of a longer log what follows is not shown."""
_NAMES = {int(kind): kind.name.lower() for kind in Kind}


@dataclass
class LogIndex:
    """`keyframes` are entries before which there is one, with their sizes in the file."""

    image: str = ""
    bytes: int = 0
    problem: str = ""
    kinds: bytearray = field(default_factory=bytearray)
    exits: array[int] = field(default_factory=lambda: array("Q"))
    blocks: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("I"))
    keyframes: list[tuple[int, str, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def complete(self) -> bool:
        return not self.problem and bool(self.kinds) and self.kinds[-1] == Kind.END

    def position(self, entry: int) -> str:
        return str(Position(self.exits[entry], self.blocks[entry]))

    def bins(self, first: int, last: int, count: int) -> list[shapes.Bin]:
        """Of entries `first` up to `last`, so many at the most, each of as many entries as the
        others but for one."""
        length = last - first
        edges = sorted({first + length * number // count for number in range(count + 1)})
        return [self._bin(edge, end) for edge, end in pairwise(edges)]

    def _bin(self, first: int, last: int) -> shapes.Bin:
        counts = {name: self.kinds.count(kind, first, last) for kind, name in _NAMES.items()}
        between = sum(first <= entry < last for entry, _, _ in self.keyframes)
        return {
            "first": first,
            "count": last - first,
            "kinds": {name: n for name, n in [*counts.items(), ("keyframe", between)] if n},
            "bytes": sum(self.sizes[first:last]),
            "exits": self.exits[first],
        }


def read_index(path: Path) -> LogIndex:
    """What can be read; `problem` tells why that is not all."""
    index = LogIndex()
    try:
        reader = LogReader(path)
        index.bytes = reader.size
        found = find(reader.config.image_digest)
        index.image = found.name if found is not None else str(reader.image or "")
        reader.expect_boot()
        _read(reader, index)
        if reader.truncated is not None:
            index.problem = f"cut off: the batch at offset {reader.truncated} is incomplete"
        reader.close()
    except VlockstepError as error:
        index.problem = str(error)
    except Exception as error:  # a fault of ours: it must not count as being read for ever
        index.problem = f"{type(error).__name__}: {error}"
    return index


def _read(reader: LogReader, index: LogIndex) -> None:
    for found in reader.frames():
        if isinstance(found, Keyframe):
            size = len(found.pack())
            index.keyframes.append((found.sequence, str(found.position), size))
            continue
        _, entries = found
        index.kinds.extend(entry[0] for entry in entries)
        index.exits.extend(entry[1] for entry in entries)
        index.blocks.extend(entry[2] for entry in entries)
        index.sizes.extend(data_size(entry[3]) for entry in entries)
        if len(index) >= MOST:
            index.problem = f"only its first {len(index)} entries are shown"
            return

"""Recordings in the page: the logs that were named when the server was started, and no others."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from vlockstep.errors import HostError, UsageError
from vlockstep.replay.entry import Kind
from vlockstep.replay.script import parse_goal
from vlockstep.web import shapes
from vlockstep.web.logindex import LogIndex, read_index
from vlockstep.web.narrated import Narrated

MAX_BINS = 500
MAX_MARKS = 1000
TEXT_SECONDS = 5.0
"""For the text of a range to become known."""
LOOK_SECONDS = 60.0
TURN_SECONDS = 5.0
"""To wait for those who look or read, too."""
AT_A_TIME = 2
"""Replays for a look, and as many for texts, of all logs."""
_KINDS: dict[str, tuple[Kind, ...]] = {
    "console": (Kind.CONSOLE,),
    "disk": (Kind.BLOCK_READ, Kind.BLOCK_WRITE),
    "network": (Kind.NET_READ, Kind.NET_WRITE),
    "interrupt": (Kind.INTERRUPT,),
    "end": (Kind.END,),
}
_TOLD = ("console", "disk", "network")
"""Of which a replay tells more than the log."""
MARKS = (*_KINDS, "keyframe")
_GENERAL = (
    "rip",
    "rsp",
    "rbp",
    "rax",
    "rbx",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
    "rflags",
)


class Recordings:
    """Logs are read when somebody looks at them first. Raises `UsageError` for what is not there,
    and `HostError` for what takes too long or cannot be replayed."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._looks = threading.Semaphore(AT_A_TIME)
        places = threading.BoundedSemaphore(AT_A_TIME)
        self._recordings = [_Recording(number, path, places) for number, path in enumerate(paths)]
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None

    def all(self) -> list[shapes.Recording]:
        """Waits for none to be read; the first who asks has them read, one after the other."""
        with self._lock:
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, name="read", daemon=True)
                self._reader.start()
        return [each.known() for each in self._recordings]

    def facts(self, number: int) -> shapes.Recording:
        return self._at(number).facts()

    def bins(self, number: int, first: int, last: int | None, bins: int) -> shapes.Bins:
        index = self._at(number).index
        first, last = _within(first, last, len(index))
        if not 0 < bins <= MAX_BINS:
            raise UsageError(f"1 to {MAX_BINS} bins can be asked for")
        return {"first": first, "last": last, "bins": index.bins(first, last, bins)}

    def marks(self, number: int, kind: str, first: int, last: int | None) -> shapes.Marks:
        if kind not in MARKS:
            raise UsageError(f"{kind[:40]!r} is none of {', '.join(MARKS)}")
        return self._at(number).marks(kind, first, last)

    def look(self, number: int, position: str) -> shapes.Look:
        recording = self._at(number)
        parse_goal(position)
        if not self._looks.acquire(timeout=TURN_SECONDS):
            raise HostError("others look, too: ask again")
        try:
            return recording.look(position)
        finally:
            self._looks.release()

    def close(self) -> None:
        for each in self._recordings:
            each.close()

    def _read(self) -> None:
        for each in self._recordings:
            with suppress(HostError):  # somebody else reads it
                each.facts()

    def _at(self, number: int) -> _Recording:
        if number >= len(self._recordings):
            raise UsageError(f"there is no recording {number}")
        return self._recordings[number]


class _Recording:
    def __init__(self, number: int, path: Path, places: threading.Semaphore) -> None:
        self._number = number
        self._path = path
        self._places = places
        self._reading = threading.Lock()
        self._index: LogIndex | None = None
        self._lock = threading.Lock()
        self._narrated: Narrated | None = None

    @property
    def index(self) -> LogIndex:
        """Who asks first reads it."""
        if self._index is None:
            if not self._reading.acquire(timeout=TURN_SECONDS):
                raise HostError("it is being read: ask again")
            try:
                if self._index is None:
                    self._index = read_index(self._path)
            finally:
                self._reading.release()
        return self._index

    def facts(self) -> shapes.Recording:
        return self._facts(self.index, reading=False)

    def known(self) -> shapes.Recording:
        index = self._index
        return self._facts(LogIndex() if index is None else index, reading=index is None)

    def _facts(self, index: LogIndex, reading: bool) -> shapes.Recording:
        return {
            "id": self._number,
            "name": self._path.name,
            "image": index.image,
            "entries": len(index),
            "bytes": index.bytes,
            "exits": index.exits[-1] if len(index) else 0,
            "complete": index.complete,
            "problem": index.problem,
            "reading": reading,
        }

    def marks(self, kind: str, first: int, last: int | None) -> shapes.Marks:
        index, problem = self.index, ""
        first, last = _within(first, last, len(index))
        details: Mapping[int, Mapping[str, Any]] = {}
        if kind == "keyframe":
            found = self._keyframes(first, last)
        else:
            if kind in _TOLD:
                told = self._told()
                told.wait(last, TEXT_SECONDS)
                details, problem = told.details, told.problem
            entries = _entries(index, kind, first, last)
            found = (self._mark(kind, entry, details.get(entry, {})) for entry in entries)
        marks = list(islice(found, MAX_MARKS + 1))
        more = len(marks) > MAX_MARKS
        return {
            "marks": marks[:MAX_MARKS],
            "more": more,
            "next": marks[MAX_MARKS]["entry"] if more else last,
            "problem": problem,
        }

    def _keyframes(self, first: int, last: int) -> Iterator[shapes.Mark]:
        for entry, position, size in self.index.keyframes:
            if first <= entry < last:
                yield {
                    "entry": entry,
                    "position": position,
                    "kind": "keyframe",
                    "text": "a replay can begin here",
                    "bytes": size,
                }

    def _mark(self, kind: str, entry: int, told: Mapping[str, Any]) -> shapes.Mark:
        index = self.index
        what = Kind(index.kinds[entry]).name.lower().replace("_", " ")
        if kind == "console":
            text = told.get("text", "")
        else:
            where = [f"{key} {told[key]}" for key in ("device", "offset") if key in told]
            text = ", ".join([what, *where])
        return {
            "entry": entry,
            "position": index.position(entry),
            "kind": kind,
            "text": text,
            "bytes": told.get("length", index.sizes[entry]),
        }

    def _told(self) -> Narrated:
        with self._lock:
            if self._narrated is None:
                self._narrated = Narrated(self._path, self._places)
            return self._narrated

    def look(self, position: str) -> shapes.Look:
        command = [sys.executable, "-m", "vlockstep", "replay", str(self._path), "--json"]
        try:
            done = subprocess.run(
                [*command, "--until", position],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=LOOK_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise HostError(
                f"it takes longer than {LOOK_SECONDS:g} s to come there: replay it yourself"
            ) from error
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise HostError(words[-1] if words else "it cannot be replayed")
        told = json.loads(done.stdout)
        return {
            "position": told["position"],
            "registers": _shown(told["registers"]),
            "code": "\n".join(told["code"] or ()),
            "commands": [
                shlex.join(["vlockstep", "debug", str(self._path)]),
                f"seek {told['position']}",
                shlex.join(["vlockstep", "replay", str(self._path), "--until", position]),
            ],
        }

    def close(self) -> None:
        with self._lock:
            if self._narrated is not None:
                self._narrated.close()


def _shown(registers: dict[str, Any]) -> dict[str, Any]:
    """Those that a person looks for, and of the others those that are not 0."""
    general = {name: registers[name] for name in _GENERAL if name in registers}
    others = {
        name: value
        for name, value in registers.items()
        if value != "0x0" and not name.startswith(("mtrr", "mcg", "pat", "misc"))
    }
    return {**general, **others}


def _within(first: int, last: int | None, length: int) -> tuple[int, int]:
    end = length if last is None else min(last, length)
    if first > end:
        raise UsageError(f"there are {length} entries, and none from {first} to {end}")
    return first, end


def _entries(index: LogIndex, kind: str, first: int, last: int) -> Iterator[int]:
    wanted = bytes(_KINDS[kind])
    if len(wanted) == 1:
        at = index.kinds.find(wanted, first, last)
        while at >= 0:
            yield at
            at = index.kinds.find(wanted, at + 1, last)
        return
    for entry in range(first, last):
        if index.kinds[entry] in wanted:
            yield entry

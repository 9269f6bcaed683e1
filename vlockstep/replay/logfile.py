"""Log files, `*.vlog`: a header and batches, each with its length and checksums.

The file is the magic, a frame (see `frames`) with the header (msgpack), and a frame for each batch.

Between batches there may be frames whose content is a msgpack map instead of an array: notes, each
with its `kind`. A reader passes over those whose kind it does not know. There are keyframes, whose
kind is "keyframe" and whose `sequence` is that of the entry that follows, and those of a log from
which a guest can be resumed, see `ft.resumedir`.

Versions 1 and 2 are read, too. Entries of version 1 do not tell which NIC a frame was read from,
see `codec`; before version 3 none held random bits.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgpack

from vlockstep.errors import HostError, LogError
from vlockstep.files.piecefile import PieceFile
from vlockstep.machine.basis import NOWHERE, Basis, is_basis
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.position import MAX_COUNT
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, data_size
from vlockstep.replay.frames import MAX_CONTENT, FrameReader, frame, head_of
from vlockstep.replay.keyframe import KIND, Keyframe

MAGIC = b"VLOCKLOG"
VERSION = 3
_MAPS = frozenset(bytes([byte]) for byte in (*range(0x80, 0x90), 0xDE, 0xDF))
_MAP_OF_TWO, _BYTES = b"\x82", b"\xc6"
"""Of msgpack: how a map of two begins, and bytes whose number is a big-endian u32."""
_NAMES = 256
"""Bytes of a note besides what it encloses, at most."""
_BATCH_ENTRIES = 2048
_BATCH_BYTES = 1 << 18


def _is_map(content: bytes) -> bool:
    """Whether a msgpack map begins here."""
    return content[:1] in _MAPS


class LogWriter:
    """Writes entries to a new file. `append` buffers; `flush` and `close` complete a batch. One
    that cannot be written is the end of the file.

    `image` is where the guest's image lies, for who replays the log here. The entry `first` is the
    first one. The guest is executed on `basis`.
    """

    def __init__(
        self,
        path: Path,
        config: GuestConfig,
        image: Path | None = None,
        first: int = 0,
        basis: Basis = NOWHERE,
    ) -> None:
        self.path = path
        self._entries: list[Entry] = []
        self._bytes = 0
        self._next = first
        where: dict[str, Any] = {} if image is None else {"image": os.fsencode(image)}
        if first:
            where["first"] = first
        fields = {"version": VERSION, "config": config.to_dict(), "basis": dict(basis), **where}
        header = msgpack.packb(fields)
        try:
            self._file = PieceFile(path, f"the log {path}")
            self._file.write(MAGIC + frame(header))
        except OSError as error:
            raise self._failed(error) from error

    @property
    def written(self) -> int:
        """Bytes in the file."""
        return self._file.written

    @property
    def next(self) -> int:
        """The entry that is to come next."""
        return self._next + len(self._entries)

    def append(self, entry: Entry) -> None:
        entries = self._entries
        entries.append(entry)
        value = entry[3]
        if type(value) is bytes:
            self._bytes += len(value)
        elif type(value) is not int:
            self._bytes += data_size(value)
        if len(entries) >= _BATCH_ENTRIES or self._bytes >= _BATCH_BYTES:
            self.flush()

    def extend(self, entries: list[Entry]) -> None:
        for entry in entries:
            self.append(entry)

    def flush(self) -> None:
        if not self._entries:
            return
        content = codec.encode(self._next, self._entries)
        end = self._next + len(self._entries)
        self._entries.clear()
        self._bytes = 0
        self.write([(self._next, end, content)])

    def write(self, batches: Iterable[tuple[int, int, bytes]]) -> None:
        """Write what `codec.batches` has made, behind all that was appended."""
        self.flush()
        frames = []
        for first, end, content in batches:
            assert first == self._next, f"batch {first} where {self._next} should be"
            self._next = end
            frames.append(frame(content))
        self._write(b"".join(frames))

    def _write(self, *pieces: bytes) -> None:
        try:
            self._file.write(*pieces)
        except OSError as error:
            raise self._failed(error) from error

    def keyframe(self, keyframe: Keyframe) -> None:
        """Keep the state before the entry that is to be appended next."""
        assert keyframe.sequence == self.next
        self.flush()
        pieces = keyframe.pieces()
        size = sum(map(len, pieces))
        if size > MAX_CONTENT:
            raise HostError(f"a keyframe of {size >> 20} MiB is too large for a log")
        self._write(head_of(pieces), *pieces)

    def note(self, kind: str, **fields: Any) -> None:
        """One of this kind, behind all that was appended."""
        self.flush()
        self._write(frame(msgpack.packb({"kind": kind, **fields})))

    def enclose(self, kind: str, name: str, pieces: Iterable[bytes]) -> None:
        """A note of this kind whose field `name` is these, one behind the other: without a copy of
        them, for which all threads would wait."""
        self.flush()
        pieces = [*pieces]
        size = sum(map(len, pieces))
        if size > MAX_CONTENT - _NAMES:
            raise HostError(f"a {name} of {size >> 20} MiB is too large for a log")
        words = b"".join(map(msgpack.packb, ("kind", kind, name)))
        pieces.insert(0, _MAP_OF_TWO + words + _BYTES + struct.pack(">I", size))
        self._write(head_of(pieces), *pieces)

    def sync(self) -> None:
        """What was written outlives the host's death."""
        try:
            self._file.sync()
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self._file.close()

    def _failed(self, error: OSError) -> HostError:
        return HostError(f"cannot write the log {self.path}: {error.strerror}")

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _basis(path: Path, fields: object) -> Basis:
    if not is_basis(fields):
        raise LogError(f"{path}: malformed header (a basis that is none)")
    return fields


class LogReader:
    """Reads a log file from its start. `image` is where the guest's image lay, if the log tells;
    it may be gone, or another. `truncated` tells, once all is read, the offset at which
    an incomplete batch begins; None if the file is complete. `note` is called with each note of
    another kind than those of keyframes."""

    def __init__(
        self, path: Path, note: Callable[[Mapping[str, Any]], None] = lambda fields: None
    ) -> None:
        self.path = path
        self._note = note
        self._frames = FrameReader(path, MAGIC, "log", "batch", LogError)
        header = self._frames.next()
        if header is None:
            raise LogError(f"{path} ends within its header; nothing can be replayed")
        try:
            fields = msgpack.unpackb(header)
            version = fields["version"]
            if type(version) is not int:
                raise ValueError("a version that is no number")
        except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
            raise LogError(f"{path}: malformed header ({error!r})") from error
        if not 1 <= version <= VERSION:
            raise LogError(
                f"{path} is of log version {version}; this vlockstep reads versions 1 to {VERSION}"
            )
        self.version: int = version
        self.config = GuestConfig.from_dict(fields.get("config"))
        image = fields.get("image", b"")
        if type(image) is not bytes or b"\0" in image:
            raise LogError(f"{path}: malformed header (an image that is no path)")
        self.image = Path(os.fsdecode(image)) if image else None
        self.basis = _basis(path, fields.get("basis", {}))
        """Empty if the log does not tell: those of versions 1 and 2 do not."""
        self.first: int = fields.get("first", 0)
        """The number of its first entry; if not 0, it begins with a keyframe instead of at boot."""
        if type(self.first) is not int or not 0 <= self.first <= MAX_COUNT:
            raise LogError(f"{path}: malformed header (a first entry that is none)")
        self._first = self.first

    def expect_boot(self) -> None:
        """Raises `LogError` if the log does not begin there."""
        if self.first:
            raise LogError(
                f"{self.path} begins with entry {self.first}, in the midst of an execution: "
                "`vlockstep debug`, `trace` and `replay` begin there"
            )

    @property
    def size(self) -> int:
        return self._frames.size

    @property
    def truncated(self) -> int | None:
        return self._frames.truncated

    def frames(self) -> Iterator[tuple[int, list[Entry]] | Keyframe]:
        """Each batch, as the sequence number of its first entry and its entries, and each keyframe
        where it belongs."""
        expected = self._first
        while True:
            offset = self._frames.offset
            content = self._frames.next()
            if content is None:
                return
            try:
                found = self._decode(content)
            except LogError as error:
                raise LogError(f"{self.path}: at offset {offset}: {error}") from error
            if found is None:
                continue
            first = found.sequence if isinstance(found, Keyframe) else found[0]
            if first != expected:
                raise LogError(
                    f"{self.path}: at offset {offset}: entry {first} where {expected} should be"
                )
            if not isinstance(found, Keyframe):
                expected += len(found[1])
            yield found

    def _decode(self, content: bytes) -> tuple[int, list[Entry]] | Keyframe | None:
        """None for a note of another kind."""
        if self.version == 1 or not _is_map(content):
            return codec.decode(content, handles=self.version > 1)
        try:
            fields = msgpack.unpackb(content)
            kind = fields["kind"]
        except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
            raise LogError(f"malformed note ({error!r})") from error
        if kind == KIND:
            return Keyframe.of(fields)
        self._note(fields)
        return None

    def contents(self) -> Iterator[bytes]:
        """The batches as they are in the file; they are not looked into."""
        while (content := self._frames.next()) is not None:
            if not _is_map(content):
                yield content
            else:
                self._decode(content)

    def batches(self) -> Iterator[tuple[int, list[Entry]]]:
        """The batches alone."""
        for found in self.frames():
            if not isinstance(found, Keyframe):
                yield found

    def entries(self, meet: Callable[[Keyframe], None] = lambda keyframe: None) -> Iterator[Entry]:
        """The entries alone; `meet` is called with each keyframe before that which follows it."""
        for found in self.frames():
            if isinstance(found, Keyframe):
                meet(found)
            else:
                yield from found[1]

    def keyframes(self) -> Iterator[tuple[int, Keyframe]]:
        """The keyframes alone, each with its offset. Entries are not looked into."""
        while True:
            offset = self._frames.offset
            content = self._frames.next()
            if content is None:
                return
            if self.version > 1 and _is_map(content):
                found = self._decode(content)
                if isinstance(found, Keyframe):
                    yield offset, found

    def keyframe_at(self, offset: int) -> Keyframe:
        """Raises `LogError` if there is none."""
        self._frames.seek(offset)
        place, keyframe = next(self.keyframes(), (None, None))
        if keyframe is None or place != offset:
            raise LogError(f"{self.path} has changed while it was read")
        return keyframe

    @property
    def offset(self) -> int:
        """Of what is read next."""
        return self._frames.offset

    def places(self) -> Iterator[tuple[int, tuple[int, int] | Keyframe]]:
        """The offset of each batch, with number and exits of its first entry, and of each keyframe,
        with that. Entries are not looked into."""
        expected, reached = self._first, 0
        while True:
            offset = self._frames.offset
            content = self._frames.next()
            if content is None:
                return
            try:
                found, end = self._place(content)
            except LogError as error:
                raise LogError(f"{self.path}: at offset {offset}: {error}") from error
            if found is None:
                continue
            if isinstance(found, Keyframe):
                first, exits = found.sequence, found.position.exits
            else:
                first, exits = found
            if first != expected or exits < reached:
                raise LogError(
                    f"{self.path}: at offset {offset}: entry {first} at exits:{exits} where "
                    f"{expected} should be, behind exits:{reached}"
                )
            expected, reached = end, exits
            yield offset, found

    def _place(self, content: bytes) -> tuple[tuple[int, int] | Keyframe | None, int]:
        """What it is, as `places` tells, and the number of the entry that follows."""
        if self.version == 1 or not _is_map(content):
            first, exits, end = codec.beginning(content)
            return (first, exits), end
        found = self._decode(content)
        return (found, found.sequence) if isinstance(found, Keyframe) else (None, 0)

    def read_at(self, sequence: int, offset: int) -> None:
        """Read on from an offset, where what follows is before or of entry `sequence`."""
        self._frames.seek(offset)
        self._first = sequence

    def go_to(self, keyframe: Keyframe, offset: int) -> None:
        """Read on from behind a keyframe."""
        self.read_at(keyframe.sequence, offset)

    def close(self) -> None:
        self._frames.close()

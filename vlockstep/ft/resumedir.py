"""Logs from which a guest can be resumed, in a directory on storage that all hosts reach.

Each is of one owner, by whose instance it is called: `INSTANCE.vlog`. So the arbiter's record says
which one counts, that of who ruled last, and whoever goes on with what is in it begins a file of
its own: an owner that was only stopped, and wakes, finds nothing to spoil. An owner that keeps none
leaves none, whatever there is of those before.

It is a log as any other, with three kinds of notes: "booted" at the beginning, with how much text
was `printed` before, and the `first` entry that it has if that is not the guest's; "released",
`before` which entry outputs were made and are there for good; and "state", a `keyframe` with all
RAM, as it was before an entry up to that one, in the log or next. One that lacks entries has one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack

from vlockstep.errors import HostError, LogError, StateError
from vlockstep.files.atomicfile import sync
from vlockstep.ft.keptlog import split
from vlockstep.ft.resumelog import History
from vlockstep.machine.basis import Basis, basis, disagreement
from vlockstep.machine.config import GuestConfig
from vlockstep.machine.engines import AUTO, UNICORN, choose, processor
from vlockstep.machine.position import MAX_COUNT
from vlockstep.machine.state import MachineState
from vlockstep.protocol.journal import Batch
from vlockstep.replay import codec
from vlockstep.replay.entry import Entry, Kind
from vlockstep.replay.keyframe import Keyframe
from vlockstep.replay.logfile import VERSION, LogReader, LogWriter

_SUFFIX = ".vlog"
_NEXT_SUFFIX = f".next{_SUFFIX}"
_BOOTED, _RELEASED, _STATE = "booted", "released", "state"


class Unresumable(LogError):
    """There is no log from which the guest can be resumed, and there will be none."""


class ResumeDirectory:
    """Those of a guest; this replica's is called by its `instance`, and has the path of the `image`
    for people. `engine`, of `engines.CHOICES`, is what the replica executes its guest with."""

    def __init__(
        self, directory: Path, instance: str, image: Path | None, engine: str = AUTO
    ) -> None:
        self._directory = directory
        self._engine = engine
        self._instance = instance
        self._image = image
        self._others: list[Path] = []

    def look(self) -> None:
        """Before this replica claims: what is there by now is of no use to anybody once it owns the
        guest."""
        with suppress(OSError):
            self._others = [*self._directory.glob(f"*{_SUFFIX}")]

    def forget_others(self) -> None:
        for path in self._others:
            with suppress(OSError):
                path.unlink()
        self._others = []

    def begin(self, config: GuestConfig, printed: int) -> LogFile:
        """Raises `HostError`."""
        return self._begin(config, _basis(choose(self._engine, config)), printed, 0)

    def _begin(self, config: GuestConfig, here: Basis, printed: int, first: int) -> LogFile:
        try:
            self._directory.mkdir(exist_ok=True)
            sync(self._directory.parent)
        except OSError as error:
            raise HostError(f"cannot make {self._directory}: {error.strerror}") from error
        return LogFile(self._path(self._instance), config, self._image, here, printed, first)

    def take_over(self, owner: str, config: GuestConfig) -> tuple[LogFile, History]:
        """Begin with all that the log of `owner` holds, which is silent for good. Its guest was
        configured by `config`, but may be prepared for KVM though that is not: it stays so, in
        `LogFile.config`. Raises `Unresumable`, or `HostError` where it may be possible another
        time."""
        path = self._path(owner)
        try:
            path.open("rb").close()
        except FileNotFoundError as error:
            raise Unresumable("its last owner has left no log") from error
        except OSError as error:
            raise HostError(f"cannot read the log {path}: {error.strerror}") from error
        try:
            with closing(_Past(path, config, self._engine)) as past:
                file = self._begin(past.config, _basis(past.engine), past.printed, past.first)
                try:
                    file.write(past.batches())
                    if not past.next:
                        raise Unresumable("the log of its last owner has no entries")
                    file.note_released(past.released)
                    keyframe = past.restorable()
                    if keyframe is not None:
                        file.place(keyframe)
                    file.sync()
                except BaseException:
                    file.remove()
                    raise
        except HostError:
            raise
        except LogError as error:
            raise Unresumable(str(error)) from error
        except OSError as error:
            raise HostError(f"cannot read the log {path}: {error.strerror}") from error
        return file, past.history(file.path, keyframe)

    def _path(self, instance: str) -> Path:
        return self._directory / f"{instance}{_SUFFIX}"


class LogFile:
    """A `ResumeFile`; locked as long as it is open. It is there for good, empty, once it is made.
    Raises `HostError`, as everything does here."""

    def __init__(
        self,
        path: Path,
        config: GuestConfig,
        image: Path | None,
        basis: Basis,
        printed: int,
        first: int = 0,
    ) -> None:
        self.path = path
        self.config = config
        self._basis = basis
        self._image = image
        self._printed = printed
        self._writer = LogWriter(path, config, image, first, basis)
        begun = {"first": first} if first else {}
        self._writer.note(_BOOTED, printed=printed, **begun)
        self.sync()
        self._last(path.parent)

    @property
    def written(self) -> int:
        return self._writer.written

    def write(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self._writer.write([(batch.first, batch.end, batch.content)])

    def note_released(self, released: int) -> None:
        self._writer.note(_RELEASED, before=released)

    def place(self, keyframe: Keyframe) -> None:
        self._writer.enclose(_STATE, "keyframe", keyframe.pieces())

    def renew(self, keyframe: Keyframe, since: int) -> LogFile:
        path = self.path.with_name(f"{self.path.stem}{_NEXT_SUFFIX}")
        file = LogFile(
            path, self.config, self._image, self._basis, self._printed, keyframe.sequence
        )
        try:
            file.note_released(keyframe.sequence)
            file.place(keyframe)
            file.write(_behind(keyframe, self.path, since))
            file.sync()
            file.take_place(self.path)
        except BaseException:
            file.remove()
            raise
        with suppress(HostError):
            self.close()
        return file

    def take_place(self, path: Path) -> None:
        """Of what is there."""
        try:
            self.path.replace(path)
        except OSError as error:
            raise HostError(f"cannot replace the log {path}: {error.strerror}") from error
        self.path = path
        self._last(path.parent)

    def sync(self) -> None:
        self._writer.sync()

    def remove(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise HostError(f"cannot remove the log {self.path}: {error.strerror}") from error
        self._last(self.path.parent)
        with suppress(HostError):
            self.close()

    def close(self) -> None:
        try:
            self._writer.close()
        except OSError as error:
            raise HostError(f"cannot close the log {self.path}: {error.strerror}") from error

    def _last(self, directory: Path) -> None:
        """Let what names it holds be so for good."""
        try:
            sync(directory)
        except OSError as error:
            raise HostError(f"cannot write in {directory}: {error.strerror}") from error


class _Past:
    """Reads what an owner has left: raises `LogError` if that is not of this guest, or damaged. Of
    what was written last a part may be missing; nothing that needed it was released."""

    def __init__(self, path: Path, config: GuestConfig, engine: str) -> None:
        self.first = self.next = self.released = self.printed = 0
        self._ended: int | None = None
        self._outputs: deque[int] = deque()
        self._booted = False
        self._keyframe: Keyframe | None = None
        self._path = path
        self._log = LogReader(path, self._noted)
        try:
            self.config = self._log.config
            sites = self.config.sites if config.sites is None else config.sites
            known = replace(config, sites=sites)
            if self._log.version != VERSION or self.config != known:
                raise LogError(f"{path} is the log of another guest, or of one that was set anew")
            self.engine = choose(engine, self.config)
            unlike = self._unlike()
            if unlike and engine == AUTO:
                self.engine = UNICORN
                unlike = self._unlike()
            if unlike:
                raise LogError(f"{path} cannot be followed here: {unlike}")
            self._contents = self._log.contents()
            self._content = next(self._contents, None)
            if not self._booted:
                raise LogError(f"{path} does not tell how its guest began")
        except BaseException:
            self.close()
            raise

    def _unlike(self) -> str:
        here = _basis(self.engine)
        return disagreement(self._log.basis, here, "the owner before", "this host")

    def batches(self) -> Iterator[Batch]:
        """To be read once, to the end."""
        while self._content is not None:
            first, end, outputs = codec.outline(self._content)
            if first != self.next or end <= first:
                raise LogError(f"{self._path}: entry {first} where {self.next} should be")
            self._note(end, outputs)
            yield Batch(first, end, 0, self._content)
            self._content = next(self._contents, None)

    def restorable(self) -> Keyframe | None:
        """After that: the last one; None if the guest is to be executed from boot on. Raises
        `LogError` if that cannot be."""
        keyframe = self._keyframe
        if keyframe is None:
            if self.first:
                raise LogError(f"{self._path} begins with entry {self.first}, without a keyframe")
            return None
        if not self.first <= keyframe.sequence <= self.next:
            raise LogError(f"{self._path}: a keyframe before entry {keyframe.sequence}")
        try:
            MachineState.unpack(keyframe.machine)
        except StateError as error:
            if self.first:
                raise Unresumable(str(error)) from error
            return None
        return keyframe

    def history(self, path: Path, keyframe: Keyframe | None) -> History:
        """After that; `path` is where all of it is, and the guest goes on at the keyframe."""
        outputs = tuple(entry for entry in self._outputs if entry >= self.released)
        released = self.released
        first = 0 if keyframe is None else keyframe.sequence
        return History(
            self.next,
            released,
            outputs,
            self._ended,
            self.printed,
            lambda: _entries(path, first),
            keyframe,
            self.engine,
        )

    def close(self) -> None:
        self._log.close()

    def _note(self, end: int, outputs: list[tuple[int, int]]) -> None:
        self.next = end
        for sequence, kind in outputs:
            self._outputs.append(sequence)
            if kind == Kind.END:
                self._ended = sequence
        while self._outputs and self._outputs[0] < self.released:
            self._outputs.popleft()

    def _noted(self, fields: Mapping[str, Any]) -> None:
        if fields["kind"] == _BOOTED:
            self.printed, self._booted = _count(fields.get("printed")), True
            self.first = self.next = _count(fields.get("first", 0))
        elif fields["kind"] == _RELEASED:
            self.released = max(self.released, _count(fields.get("before")))
        elif fields["kind"] == _STATE:
            self._keyframe = _keyframe(fields.get("keyframe"))
            if self._keyframe.sequence > self.released:
                raise LogError("malformed note (a keyframe behind what was released)")


def _basis(engine: str) -> Basis:
    return basis(processor(engine))


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise LogError(f"malformed note ({value!r:.40} where a number should be)")
    return value


def _keyframe(packed: object) -> Keyframe:
    try:
        return Keyframe.of(msgpack.unpackb(packed))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise LogError(f"malformed keyframe ({error!r})") from error


def _behind(keyframe: Keyframe, path: Path, since: int) -> Iterator[Batch]:
    """What is behind it in the log, from where in the file on or further on."""
    for content in _contents(path, (keyframe, since)):
        first, end, _ = codec.outline(content)
        if end > keyframe.sequence:
            batch = Batch(first, end, 0, content)
            if first < keyframe.sequence:
                _, batch = split(batch, keyframe.sequence)
            yield batch


def _entries(path: Path, first: int) -> Iterator[Entry]:
    """From that one on."""
    for content in _contents(path):
        begin, end, _ = codec.outline(content)
        if end > first:
            _, entries = codec.decode(content)
            yield from entries[max(0, first - begin) :]


def _contents(path: Path, begin: tuple[Keyframe, int] | None = None) -> Iterator[bytes]:
    """The batches, from the first one on or from there."""
    try:
        with closing(LogReader(path)) as log:
            if begin is not None:
                log.go_to(*begin)
            yield from log.contents()
    except OSError as error:
        raise HostError(f"cannot read the log {path}: {error.strerror}") from error

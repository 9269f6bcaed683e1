"""Copies of the log of a guest's last minutes, made while it goes on: neither its replica nor who
speaks to it notices. A secondary that keeps none begins one for that, with the guest's state then.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from vlockstep.errors import HostError, UsageError, VlockstepError
from vlockstep.files.atomicfile import AtomicFile
from vlockstep.files.locks import PRIVATE
from vlockstep.ft.lastminutes import LastMinutes
from vlockstep.supervise.control import Answer
from vlockstep.supervise.files import refuse_overwriting
from vlockstep.supervise.snapshotfiles import Teller

_PIECE = 1 << 20
_SECONDS = 20.0
"""In which a state is taken."""
_MORE = 0.5
"""Seconds for some entries behind that."""
_LOOK = 0.1
NOT_KEPT = "this replica keeps no log of its guest's last minutes"


class Kept(Protocol):
    """A log of last minutes: as a `LastMinutes`."""

    def show(self, told: Callable[[Path, int], None]) -> None: ...


class Keeper(Protocol):
    """Who runs the guest: a `Replica` is one."""

    @property
    def last_minutes(self) -> Kept | None: ...

    def begin_last_minutes(self, path: Path) -> None: ...

    def leave_last_minutes(self) -> LastMinutes | None: ...


class Alone:
    """A guest that no replica executes, and its `last_minutes`, if they are kept."""

    def __init__(self, last_minutes: Kept | None) -> None:
        self.last_minutes = last_minutes

    def begin_last_minutes(self, path: Path) -> None:
        raise UsageError("the guest runs here alone")

    def leave_last_minutes(self) -> LastMinutes | None:
        return None


Call = Callable[[Callable[[Keeper], None]], None]
"""Lets something happen in a turn of the replica's. From any thread."""


class LiveRecordings:
    """Of who runs a guest that is read from and writes to `files`."""

    def __init__(self, files: tuple[Path, ...], call: Call) -> None:
        self._files = files
        self._call = call
        self._busy = threading.Lock()

    def take(self, replica: Keeper, request: Mapping[str, Any], answer: Answer) -> None:
        """In a turn."""
        path = request.get("path")
        if type(path) is not str or not path.startswith("/"):
            answer({"error": "a recording goes to an absolute path"})
            return
        if not self._busy.acquire(blocking=False):
            answer({"error": "its last minutes are being copied already"})
            return
        target, own = Path(path), replica.last_minutes is None
        if own:
            try:
                replica.begin_last_minutes(target.with_name(f"{target.name}.part"))
            except VlockstepError as error:
                self._busy.release()
                answer({"error": f"{NOT_KEPT} ({error})"})
                return
        work = partial(self._work, target, own, answer)
        threading.Thread(target=work, name="recording", daemon=True).start()

    def _work(self, target: Path, own: bool, answer: Answer) -> None:
        try:
            refuse_overwriting(target, "recording", self._files, ())
            with self._open(Teller(answer), more=own) as source:
                _copy(source, target)
                told: dict[str, Any] = {"bytes": source.size}
        except VlockstepError as error:
            told = {"error": str(error)}
        except OSError as error:
            told = {"error": f"cannot write the recording {target}: {error.strerror}"}
        if own:
            self._call(_leave)
        self._busy.release()
        answer(told)

    def _open(self, tell: Teller, more: bool) -> _Source:
        """The log, as soon as it has a state; and with `more` than that, if that is new and the
        guest makes entries."""
        began = time.monotonic()
        deadline, least, enough = began + _SECONDS, 0, 0.0
        while (left := deadline - time.monotonic()) > 0:
            found: queue.SimpleQueue[_Source | None] = queue.SimpleQueue()
            self._call(lambda replica, put=found.put: _show(replica, put))  # type: ignore[misc]
            source = None
            with suppress(queue.Empty):
                source = found.get(timeout=left)
            if source is not None:
                if not more or (least and (source.size > least or time.monotonic() > enough)):
                    return source
                if not least:
                    least, enough = source.size, time.monotonic() + _MORE
                source.close()
            tell(f"for {time.monotonic() - began:.0f} s there was no place to look at the guest")
            time.sleep(_LOOK)
        raise HostError(
            f"within {_SECONDS:g} s the guest came to no place where its state can be taken: it "
            "computes without asking for anything; try it later"
        )


class _Source:
    """The log, as it was when it was opened: it may be replaced since."""

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self._file = path.open("rb")

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _show(replica: Keeper, put: Callable[[_Source | None], None]) -> None:
    """In a turn. What is put comes from where the log is written: it is open before it is
    replaced."""

    def look(path: Path, size: int) -> None:
        try:
            put(_Source(path, size) if size else None)
        except OSError:
            put(None)

    if replica.last_minutes is None:
        put(None)
    else:
        replica.last_minutes.show(look)


def _leave(replica: Keeper) -> None:
    last = replica.leave_last_minutes()
    if last is not None:  # that may wait for a file
        threading.Thread(target=last.end, args=(False,), name="recording", daemon=True).start()


def _copy(source: _Source, target: Path) -> None:
    with AtomicFile(target, PRIVATE) as file:
        left = source.size
        while left and (piece := source.read(min(left, _PIECE))):
            file.write(piece)
            left -= len(piece)
        if left:
            raise UsageError(f"the log was cut while it was copied to {target}; try again")
        file.keep()

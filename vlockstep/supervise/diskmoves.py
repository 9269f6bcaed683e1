"""Disks of a guest of this process that move to other files while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlockstep.errors import UsageError, VlockstepError
from vlockstep.host.attach import Devices
from vlockstep.host.devices import Disk
from vlockstep.supervise.control import Answer, Command

if TYPE_CHECKING:
    from vlockstep.ft.events import Event
    from vlockstep.host.diskmove import Agreement, DiskMove, HowFar

MOVING = "a disk of the guest is being moved: wait for that, or call it off"
_TELL_EVERY = 0.1
_END_SECONDS = 5.0


class DiskMoves:
    """One move at a time, each in a thread of its own; `observe` is told events, from there.
    `agreement` makes that of the replicas which share a disk, if any do. Nothing moves to the
    `arbiter`, a directory."""

    def __init__(
        self,
        devices: Devices,
        observe: Callable[[Event], None],
        agreement: Callable[[str], Agreement | None] = lambda disk: None,
        arbiter: Path | None = None,
    ) -> None:
        self._devices = devices
        self._observe = observe
        self._agreement = agreement
        self._arbiter = arbiter
        self._lock = threading.Lock()
        self._move: DiskMove | None = None
        self._told: _Telling | None = None
        self._thread: threading.Thread | None = None

    def by_name(self) -> dict[str, Command]:
        return {"move-disk": self._begin, "cancel-disk-move": self._cancel}

    @property
    def busy(self) -> bool:
        return self._move is not None

    def under_way(self) -> tuple[str, ...]:
        """What moves, and how far it is, in words."""
        with self._lock:
            return () if self._move is None else (str(self._told),)

    def close(self) -> None:
        """The guest has ended: call off what is on its way, which takes its file with it."""
        with self._lock:
            move, thread = self._move, self._thread
        if move is not None and thread is not None:
            move.abandon()
            thread.join(_END_SECONDS)

    def _begin(self, request: Mapping[str, Any], answer: Answer) -> None:
        from vlockstep.host.diskmove import DiskMove

        try:
            name, disk, path, rate = self._understand(request)
        except VlockstepError as error:
            answer({"error": str(error)})
            return
        told = _Telling(name, path, self._observe)
        may_replace, agreement = request.get("force") is True, self._agreement(name)
        move = DiskMove(disk, path, told.tell, rate, may_replace, agreement)
        with self._lock:
            if self._move is not None:
                answer({"error": MOVING})
                return
            self._move, self._told = move, told
            self._thread = threading.Thread(
                target=self._run, args=(move, name, disk, path, answer), name="disk", daemon=True
            )
        self._thread.start()

    def _understand(self, request: Mapping[str, Any]) -> tuple[str, Disk, Path, int | None]:
        name, to, rate = (request.get(key) for key in ("disk", "to", "rate"))
        disks = self._devices.by_name
        if not isinstance(name, str) or name not in disks:
            known = ", ".join(disks) or "none"
            raise UsageError(f"the guest has no disk {name!r} (it has: {known})")
        if not isinstance(to, str) or not to.startswith("/") or not to.isprintable():
            raise UsageError("a disk moves to a file that is named from the root on")
        if rate is not None and (type(rate) is not int or rate <= 0):
            raise UsageError("a rate is a number of bytes a second")
        if self._arbiter is not None and Path(to).parent.resolve() == self._arbiter.resolve():
            raise UsageError(f"{to} lies in the arbiter's directory, which holds nothing else")
        return name, disks[name], Path(to), rate

    def _cancel(self, request: Mapping[str, Any], answer: Answer) -> None:
        with self._lock:
            answer({"cancelled": self._move is not None and self._move.cancel()})

    # In the thread

    def _run(self, move: DiskMove, name: str, disk: Disk, path: Path, answer: Answer) -> None:
        from vlockstep.ft.events import DiskMoved
        from vlockstep.host.diskmove import Undecided

        before, began = str(disk.path), time.monotonic()
        told: dict[str, Any] = {}
        try:
            move.run()
            self._observe(DiskMoved(name, str(path), before))
            told = {
                "disk": name,
                "path": str(path),
                "before": before,
                "bytes": move.copied,
                "total_ms": 1000 * (time.monotonic() - began),
            }
        except Undecided as error:
            told = {
                "error": f"whether the disk {name!r} is {before} or {path} only the arbiter knows: "
                f"{error}"
            }
        except VlockstepError as error:
            told = {"error": f"the disk {name!r} is still {before}: {error}"}
        except Exception as error:
            told = {"error": f"the disk {name!r} is still {before}: {error!r}"}
            raise
        finally:
            with self._lock:
                self._move = self._thread = None
            answer(told)


class _Telling:
    """Tells how far a move is, from time to time."""

    def __init__(self, disk: str, path: Path, observe: Callable[[Event], None]) -> None:
        self._disk = disk
        self._path = path
        self._observe = observe
        self._phase = ""
        self._told = 0.0
        self._how_far: HowFar | None = None

    def __str__(self) -> str:
        move, far = f"the disk {self._disk} to {self._path}", self._how_far
        if far is None:
            return move
        percent = 100 * far.bytes // max(1, far.total)
        return f"{move}: {far.phase.value}, {percent} % of {far.total / 1e6:.0f} MB"

    def tell(self, how_far: HowFar) -> None:
        from vlockstep.ft.events import DiskMoving

        self._how_far = how_far
        phase, now = how_far.phase.name.lower(), time.monotonic()
        if phase == self._phase and now < self._told + _TELL_EVERY:
            return
        self._phase, self._told = phase, now
        text = how_far.phase.value
        self._observe(DiskMoving(self._disk, phase, text, how_far.bytes, how_far.total))

"""The files of disks that all replicas of a guest share, when one of them moves.

`protocol.diskmove` tells how it comes about. A secondary opens the new file in the background, and
holds it beside the old one until the arbiter has said which of them it goes on with. It writes to
neither meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from vlockstep.errors import HostError, VlockstepError
from vlockstep.host.background import Background
from vlockstep.host.mirror import MirroredDisk, Storage, let_go
from vlockstep.protocol.actions import OpenDisk

Open = Callable[[str, Path, int], Storage]


class _Opened(NamedTuple):
    """What became of a request."""

    request: OpenDisk
    file: Storage | None
    problem: str


class SharedDisks:
    """Those of one replica, by name; `open` opens a file as `Setting.open_copy`. `wake` is called
    when one is open, or cannot be."""

    def __init__(
        self,
        disks: Mapping[str, MirroredDisk],
        open: Open,
        background: Callable[[], Background],
        wake: Callable[[], None],
    ) -> None:
        self.at: dict[str, str] = {}
        """The files of disks that have moved, which are in use here."""
        self._disks = disks
        self._open = open
        self._background = background
        self._wake = wake
        self._wanted: OpenDisk | None = None
        self._done: deque[_Opened] = deque()
        """In the background; not looked at yet."""
        self._opened: _Opened | None = None

    def open(self, request: OpenDisk) -> None:
        """In the background; `look` tells what became of it."""
        self._let_go()
        self._wanted = request
        self._background().submit(partial(self._try, request))

    def look(self) -> tuple[int, str] | None:
        """When what was opened, or cannot be for some problem, was asked for; once."""
        told: tuple[int, str] | None = None
        while self._done:
            done = self._done.popleft()
            if done.request is self._wanted:
                self._opened, told = done, (done.request.sent, done.problem)
            else:
                self._close(done.file)
        return told

    def use(self, disks: Mapping[str, str]) -> list[tuple[str, str, str]]:
        """The disks that have moved are in these files: go on with them. The name, the file and
        the one before of each that was elsewhere here. Raises `HostError` for one that is not
        open."""
        moved = [
            (name, path, self.at.get(name, ""))
            for name, path in disks.items()
            if self.at.get(name) != path
        ]
        for name, path, _ in moved:
            file = self._file_of(name, path)
            if file is None:
                raise HostError(f"the disk {name!r} is {path} now, which is not open here")
            self._opened = None
            self._close(self._disks[name].go_on_with(file))
        self._let_go()
        self.at = dict(disks)
        return moved

    def _file_of(self, name: str, path: str) -> Storage | None:
        """The one that was opened, if it is this."""
        opened = self._opened
        if opened is None or (opened.request.disk, opened.request.path) != (name, path):
            return None
        return opened.file

    def _let_go(self) -> None:
        if self._opened is not None:
            self._close(self._opened.file)
        self._wanted = self._opened = None

    def _close(self, file: Storage | None) -> None:
        if file is not None:
            self._background().submit(partial(let_go, file))

    # In the background

    def _try(self, request: OpenDisk) -> None:
        file, problem = None, ""
        try:
            file = self._open(request.disk, Path(request.path), request.token)
        except VlockstepError as error:
            problem = str(error)
        except OSError as error:
            problem = f"cannot open {request.path}: {error.strerror}"
        self._done.append(_Opened(request, file, problem))
        self._wake()

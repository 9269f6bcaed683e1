"""Copies of the log of a guest's last minutes, made while it goes on: neither its replica nor who
speaks to it notices."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from vlockstep.errors import UsageError, VlockstepError
from vlockstep.files.atomicfile import AtomicFile
from vlockstep.files.locks import PRIVATE
from vlockstep.ft.replica import Replica
from vlockstep.supervise.control import Answer
from vlockstep.supervise.files import refuse_overwriting

_PIECE = 1 << 20
NOT_KEPT = "this replica keeps no log of its guest's last minutes"


class LiveRecordings:
    """Of a replica whose guest is read from and writes to `files`."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._files = files
        self._busy = threading.Lock()

    def take(self, replica: Replica, request: Mapping[str, Any], answer: Answer) -> None:
        """In a turn."""
        path = request.get("path")
        if type(path) is not str or not path.startswith("/"):
            answer({"error": "a recording goes to an absolute path"})
        elif replica.last_minutes is None:
            answer({"error": NOT_KEPT})
        elif not self._busy.acquire(blocking=False):
            answer({"error": "its last minutes are being copied already"})
        else:
            replica.last_minutes.show(partial(self._begin, Path(path), answer))

    def _begin(self, target: Path, answer: Answer, source: Path, size: int) -> None:
        """Where the log is written: it is open before it is replaced."""
        try:
            fd = os.open(source, os.O_RDONLY) if size else None
        except OSError:
            fd = None
        if fd is None:
            self._busy.release()
            answer({"error": "there is no log of its last minutes yet, or any more"})
            return
        work = partial(self._copy, fd, size, target, answer)
        threading.Thread(target=work, name="recording", daemon=True).start()

    def _copy(self, fd: int, size: int, target: Path, answer: Answer) -> None:
        try:
            with os.fdopen(fd, "rb") as source:
                refuse_overwriting(target, "recording", self._files, ())
                with AtomicFile(target, PRIVATE) as file:
                    left = size
                    while left and (piece := source.read(min(left, _PIECE))):
                        file.write(piece)
                        left -= len(piece)
                    if left:
                        raise UsageError("the log of its last minutes was cut meanwhile")
                    file.keep()
            told: dict[str, Any] = {"bytes": size}
        except VlockstepError as error:
            told = {"error": str(error)}
        except OSError as error:
            told = {"error": f"cannot write the recording {target}: {error.strerror}"}
        self._busy.release()
        answer(told)

"""A primary and the thread that moves a disk of its guest which all replicas share."""

from __future__ import annotations

import queue
from enum import Enum, auto
from pathlib import Path

from vlockstep.errors import HostError, UsageError
from vlockstep.ft import replica as ft
from vlockstep.ft.process import Process
from vlockstep.ft.roles import Role
from vlockstep.host.diskmove import Undecided
from vlockstep.protocol.primary import Primary


class _Word(Enum):
    BEGUN = auto()
    AGREED = auto()
    MOVED = auto()
    KEPT = auto()
    UNDECIDED = auto()


class Agreement:
    """That of the replicas of `process` on the file in which `disk` is. A `host.diskmove.Agreement`
    for the thread that moves it, and a `DiskMover` for the replica; anybody may `cancel`."""

    def __init__(self, process: Process, disk: str) -> None:
        self._process = process
        self._disk = disk
        self._role: Role | None = None
        self._words: queue.SimpleQueue[tuple[_Word, str]] = queue.SimpleQueue()

    # In the thread

    def begin(self) -> None:
        def look(replica: ft.Replica) -> None:
            if isinstance(replica.role, Primary):
                self._role = replica.role
            self._words.put((_Word.BEGUN, ""))

        self._process.call(look)
        self._wait(_Word.BEGUN)
        if self._role is None:
            raise UsageError(
                f"the disk {self._disk!r} is one file for all replicas: let the primary move it"
            )

    def reach(self, path: Path, token: int) -> None:
        role = self._role
        assert role is not None
        self._process.call(
            lambda replica: replica.move_disk(role, self._disk, str(path), token, self)
        )
        self._wait(_Word.AGREED)

    def decide(self) -> None:
        self._process.call(lambda replica: replica.decide_disk())
        self._wait(_Word.MOVED)

    def keep(self, reason: str) -> None:
        self._process.call(lambda replica: replica.keep_disk(reason))

    def done(self) -> None:
        self._process.call(lambda replica: replica.disk_moved())

    def _wait(self, wanted: _Word) -> None:
        word, reason = self._words.get()
        if word is _Word.UNDECIDED:
            raise Undecided(reason)
        if word is _Word.KEPT:
            raise HostError(reason)
        assert word is wanted

    # From other threads

    def cancel(self, reason: str) -> None:
        """If it is not being decided."""
        self.kept(reason)

    def abandon(self) -> None:
        """Nobody will tell anything any more."""
        self.undecided("this replica has ended")

    def agreed(self) -> None:
        self._words.put((_Word.AGREED, ""))

    def moved(self) -> None:
        self._words.put((_Word.MOVED, ""))

    def kept(self, reason: str) -> None:
        self._words.put((_Word.KEPT, reason))

    def undecided(self, reason: str) -> None:
        self._words.put((_Word.UNDECIDED, reason))

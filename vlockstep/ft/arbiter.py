"""The generation: a number that only ever rises, owned through a compare-and-set.

A shared directory holds one file per generation. A replica claims the next one by giving its
claim that name with link(2), which fails if the name exists. That is atomic on local filesystems
(ext4, XFS, Btrfs, tmpfs, ZFS, APFS) and on NFS of any version, where it is the classic way to
take a lock; a link whose answer got lost is recognised by the claim's link count. Filesystems
without hard links (FAT, most SMB and FUSE mounts of object stores) are refused with an error.
A directory serves one protected guest.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import uuid
from pathlib import Path
from typing import Protocol

from vlockstep.errors import HostError, UsageError
from vlockstep.ft.protocol import Claim, Verdict

_NAME = re.compile(r"generation-(\d{10})(\.ended)?")


class ArbiterError(HostError):
    """The arbiter cannot be reached or does not work."""


class Arbiter(Protocol):
    def claim(self, claim: Claim) -> Verdict:
        """Raise the generation by one as its owner, if it is as expected. Raises
        `ArbiterError`."""

    def end(self, generation: int) -> None:
        """The guest has ended under `generation`, all its outputs are made: another may start."""


class DirectoryArbiter:
    """The arbiter in the shared directory `path`; `name` is who claims, for people."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self._replica = uuid.uuid4().hex

    def current(self) -> int:
        """The generation that rules; 0 before the first."""
        return self._scan()[0]

    def start(self) -> int:
        """Claim a generation for a guest that starts afresh; the generation.

        Refused while an earlier generation has not ended: its owner may still be running.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArbiterError(f"cannot make the arbiter {self.path}: {error.strerror}") from error
        generation, ended = self._scan()
        if generation and not ended:
            raise UsageError(
                f"the arbiter {self.path} says that generation {generation} still runs "
                f"({self._owner(generation)}); if it does not, remove that directory"
            )
        if self.claim(Claim(generation, alone=True)) is not Verdict.WON:
            raise UsageError(f"another primary has just started with the arbiter {self.path}")
        return generation + 1

    def claim(self, claim: Claim) -> Verdict:
        if self.current() != claim.expected:
            return self._taken(claim)
        draft = self.path / f".claim-{uuid.uuid4().hex}"
        owner = {
            "owner": self.name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "alone": claim.alone,
            "replica": self._replica,
        }
        try:
            with draft.open("x") as file:
                json.dump(owner, file)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, self._file(claim.expected + 1))
            except FileExistsError:
                return Verdict.WON if draft.stat().st_nlink == 2 else self._taken(claim)
            finally:
                draft.unlink()
            self._sync()
        except OSError as error:
            raise ArbiterError(
                f"cannot claim a generation in {self.path}: {error.strerror}; "
                "the arbiter needs a directory that both hosts can write, with hard links"
            ) from error
        return Verdict.WON

    def guest(self) -> str:
        """A name for the guest that this directory serves: whoever asks first makes it up."""
        draft = self.path / f".guest-{uuid.uuid4().hex}"
        name = self.path / "guest"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            draft.write_text(uuid.uuid4().hex)
            with contextlib.suppress(FileExistsError):
                os.link(draft, name)
            draft.unlink()
            return name.read_text()
        except OSError as error:
            raise ArbiterError(f"cannot write in {self.path}: {error.strerror}") from error

    def end(self, generation: int) -> None:
        try:
            self._file(generation).with_suffix(".ended").touch()
        except OSError as error:
            raise ArbiterError(f"cannot write in {self.path}: {error.strerror}") from error

    def _file(self, generation: int) -> Path:
        return self.path / f"generation-{generation:010}"

    def _scan(self) -> tuple[int, bool]:
        """The highest generation, and whether it has ended."""
        try:
            with os.scandir(self.path) as entries:
                matches = (_NAME.fullmatch(entry.name) for entry in entries)
                found = ((int(m[1]), m[2] is not None) for m in matches if m)
                return max(found, default=(0, False))
        except OSError as error:
            raise ArbiterError(f"cannot read the arbiter {self.path}: {error.strerror}") from error

    def _taken(self, claim: Claim) -> Verdict:
        """The generation has an owner; that may be this replica, which was not told so when it
        claimed it, since the directory failed right after."""
        generation = claim.expected + 1
        try:
            owner = json.loads(self._file(generation).read_text())
            alone, ours = bool(owner["alone"]), owner["replica"] == self._replica
        except (OSError, ValueError, KeyError, TypeError):
            return Verdict.LOST
        if self.current() != generation:
            return Verdict.LOST
        if ours and alone == claim.alone:
            return Verdict.WON
        return Verdict.LOST if alone else Verdict.TAKEN_OVER

    def _owner(self, generation: int) -> str:
        try:
            owner = json.loads(self._file(generation).read_text())
            return f"owner {owner['owner']}, process {owner['pid']} on {owner['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "owner unknown"

    def _sync(self) -> None:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

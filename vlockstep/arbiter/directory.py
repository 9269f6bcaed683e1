"""The arbiter's register in a shared directory.

It holds one file per generation. A record is created by giving a draft that name with link(2),
which fails if the name exists. That is atomic on local filesystems (ext4, XFS, Btrfs, tmpfs, ZFS,
APFS) and on NFS of any version, where it is the classic way to take a lock; a link whose answer got
lost is recognised by the draft's link count. Filesystems without hard links (FAT, most SMB and FUSE
mounts of object stores) are refused with an error. A directory serves one protected guest.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import uuid
from dataclasses import asdict
from pathlib import Path

from vlockstep.arbiter.rule import ArbiterError, Record, Verdict, claim
from vlockstep.errors import UsageError

_NAME = re.compile(r"generation-(\d{10})(\.ended)?")


class DirectoryArbiter:
    """The arbiter in the shared directory `path`, a `Register`; `name` is who claims, for
    people."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self._replica = uuid.uuid4().hex

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
        if self.claim(generation, alone=True) is not Verdict.WON:
            raise UsageError(f"another primary has just started with the arbiter {self.path}")
        return generation + 1

    def claim(self, expected: int, alone: bool) -> Verdict:
        return claim(
            self,
            Record(
                expected + 1, self._replica, alone, self.name, socket.gethostname(), os.getpid()
            ),
        )

    def current(self) -> int:
        """The generation that rules, as far as can be seen from here; 0 before the first."""
        return self._scan()[0]

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

    # The register

    def read(self, generation: int) -> Record | None:
        file = self._file(generation)
        try:
            record = Record(**json.loads(file.read_text()))
            if [type(record.generation), type(record.replica), type(record.alone)] != [
                int, str, bool
            ]:  # fmt: skip
                raise ValueError("fields of wrong types")
        except FileNotFoundError as error:
            if self.path.is_dir():
                return None
            raise ArbiterError(f"cannot read the arbiter {self.path}: {error.strerror}") from error
        except OSError as error:
            raise ArbiterError(f"cannot read the arbiter {self.path}: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise ArbiterError(f"{file} is no record of a generation ({error})") from error
        if record.generation != generation:
            raise ArbiterError(f"{file} is the record of generation {record.generation}")
        return record

    def create(self, record: Record) -> bool:
        draft = self.path / f".claim-{uuid.uuid4().hex}"
        try:
            with draft.open("x") as file:
                json.dump(asdict(record), file)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, self._file(record.generation))
            except FileExistsError:
                return draft.stat().st_nlink == 2
            finally:
                draft.unlink()
            self._sync()
        except OSError as error:
            raise ArbiterError(
                f"cannot claim a generation in {self.path}: {error.strerror}; "
                "the arbiter needs a directory that both hosts can write, with hard links"
            ) from error
        return True

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

    def _owner(self, generation: int) -> str:
        try:
            record = self.read(generation)
        except ArbiterError:
            record = None
        if record is None:
            return "owner unknown"
        return f"owner {record.owner}, process {record.pid} on {record.host}"

    def _sync(self) -> None:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

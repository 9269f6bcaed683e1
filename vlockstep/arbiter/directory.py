"""The arbiter's register in a shared directory.

It holds one file per generation. A record is created by giving a draft that name with link(2),
which fails if the name exists. That is atomic on local filesystems (ext4, XFS, Btrfs, tmpfs, ZFS,
APFS) and on NFS of any version, where it is the classic way to take a lock; a link whose answer got
lost is recognised by the draft's link count.

The token of a record that has a lease is an empty file, whose name has the number at which it
stands. It is raised, and sealed, by rename(2), which consumes its source: of two who rename it one
succeeds. So nobody needs a listing that is fresh, or a clock of the filesystem.

Filesystems without hard links (FAT, most SMB and FUSE mounts of object stores) are refused with an
error. A directory serves one protected guest, whose name it holds, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from vlockstep.arbiter import rule
from vlockstep.arbiter.causes import ReignCause
from vlockstep.arbiter.rule import SEALED, ArbiterError, Clock, Record
from vlockstep.errors import HostError, UsageError
from vlockstep.files.atomicfile import sync
from vlockstep.files.processes import identity, runs

_NAME = re.compile(r"generation-(\d{10})(\.ended)?")
_TOKEN = re.compile(r"lease-\d{10}-([0-9a-f]{32})-(\d{10,20}|sealed)")
_TOKEN_NAME = re.compile(r"[0-9a-f]{32}")
_GUEST = "guest"
_GUEST_NAME = re.compile(r"[0-9a-f]{32}")
_DRAFT = re.compile(r"\.(claim|guest)-[0-9a-f]{32}")
_OF_THE_FILESYSTEM = re.compile(r"lost\+found|\.nfs[0-9a-f]+")
_FIELDS = get_type_hints(Record) | {
    "members": list,
    "endpoints": dict,
    "disks": dict,
    "disks_before": dict,
}
_RESET = "vlockstep arbiter reset"


@dataclass(frozen=True)
class Reign:
    """A generation as it is known here. `runs` is whether the owner's process still does; None if
    another host must know. It was claimed at `since`, in seconds since the epoch, by the clock of
    where the directory is; 0 if that cannot be told."""

    record: Record
    ended: bool
    runs: bool | None
    since: float = 0.0

    @property
    def alone(self) -> bool:
        """Its owner had no other member when it began."""
        return len(self.record.members) == 1

    @property
    def owner(self) -> str:
        """For people."""
        record = self.record
        if self.runs is not None:
            where = "this host"
        elif record.host == socket.gethostname():
            where = f"{record.host} before it was started anew, or in another container"
        else:
            where = record.host
        return f"owner {record.name}, process {record.pid} on {where}"


class DirectoryArbiter:
    """The arbiter in the shared directory `path`, a `Register`; `name` is who claims, for
    people."""

    def __init__(self, path: Path, name: str, guest: str = "", lease: int = 0) -> None:
        """`guest` is what a guest is called that has a name already, when it gets this arbiter.
        One that is started afresh here has this `lease`, in nanoseconds, or none if it is 0."""
        self.path = path
        self.name = name
        self.lease = lease
        self._guest = ""
        self._own_name = guest

    def fence(self, clock: Clock, tell: Callable[[str], None]) -> bool:
        """Before `start`: wait for the lease of a guest that runs, or has run, as far as is known
        here, and seal it. Whether it is sealed; if not, none stands in the way, or `start` refuses.
        `tell` is told, for people, what is waited for."""
        self._prepare()
        generation, ended = self._scan()
        if not generation or ended:
            return False
        reign = self._reign(generation)
        if not reign.record.lease:
            return False
        if not rule.sealed(self, reign.record):
            tell(f"waiting for the lease of generation {generation} to run out ({reign.owner})")
        return rule.sealed(self, rule.fence(self, reign.record, clock))

    def start(self) -> int:
        """The generation after which a guest may start afresh: who claims the next one does.

        Refused while it has not ended, nor its lease is sealed: its owner may still be running.
        """
        self._prepare()
        generation, ended = self._scan()
        if generation and not ended:
            reign = self._reign(generation)
            if not rule.sealed(self, reign.record):
                raise UsageError(self._still_ruled(reign))
        return generation

    def claim(
        self,
        owner: str,
        expected: int,
        leave_out: frozenset[str],
        take_in: Mapping[str, str],
        moved: Mapping[str, str] | None = None,
        afresh: bool = False,
        cause: str = "",
    ) -> Record:
        claimant = replace(self._record(expected + 1, owner), lease=self.lease, cause=cause)
        return rule.claim(self, claimant, leave_out, take_in, moved, afresh)

    def renew(self, record: Record, token: int, next: int) -> bool:
        return rule.renew(self, record, token, next)

    def _record(self, generation: int, owner: str) -> Record:
        pid = os.getpid()
        return Record(
            generation,
            owner,
            members=(owner,),
            token=uuid.uuid4().hex,
            name=self.name,
            host=socket.gethostname(),
            pid=pid,
            process=identity(pid),
        )

    def moved(self) -> Mapping[str, str]:
        """The files of those disks that had moved when it was last told who rules, by the guest's
        names for them; also of those that had before the guest was started last."""
        generation = self.current()
        record = self.read(generation) if generation else None
        return {} if record is None else record.moved

    def current(self) -> int:
        """The generation that rules, as far as can be seen from here; 0 before the first."""
        return self._scan()[0]

    def guest(self) -> str:
        """A name for the guest that this directory serves: whoever asks first makes it up. Who has
        asked once is told the same, even after a `reset`: all its files are one guest's."""
        if self._guest:
            return self._guest
        self._prepare()
        if not self.known_guest():
            self._name_guest()
        self._guest = self.known_guest()
        if not self._guest:
            raise ArbiterError(f"{self.path / _GUEST} cannot be seen yet: try again")
        return self._guest

    def known_guest(self) -> str:
        """That name; "" if nobody has asked yet."""
        file = self.path / _GUEST
        try:
            name = file.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise ArbiterError(f"cannot read the arbiter {self.path}: {error.strerror}") from error
        if not _GUEST_NAME.fullmatch(name):
            raise ArbiterError(f"{file} holds no name of a guest: {_RESET} {self.path}")
        return name

    def reigns(self, newest: int | None = None) -> list[Reign]:
        """All generations there have been, or the `newest`. `UsageError` if the directory is no
        arbiter's."""
        self._check_own()
        last = self.current()
        first = 1 if newest is None else max(1, last + 1 - newest)
        return [self._reign(generation) for generation in range(first, last + 1)]

    def reset(self, force: bool = False) -> int:
        """Let a guest start afresh although the last one has not ended; the generation that was
        claimed for that, so that no replica of before can go live any more, or on alone. The next
        guest has another name: no replica of before is taken for one of its own.

        Refused while the owner runs on this host, and unless by `force` if it may on another.
        """
        if foreign := self._check_own():
            raise UsageError(self._not_ours(foreign))
        generation, ended = self._scan()
        if generation and not ended:
            self._check_gone(self._reign(generation), force)
        record = self._record(generation + 1, uuid.uuid4().hex)
        if not self.create(replace(record, disks=self.moved(), cause=ReignCause.RESET)):
            raise HostError(f"another replica has just gone live by the arbiter {self.path}")
        try:
            self._draft_guest().replace(self.path / _GUEST)
        except OSError as error:
            raise ArbiterError(f"cannot write in {self.path}: {error.strerror}") from error
        self.end(generation + 1)
        return generation + 1

    # The register

    def read(self, generation: int) -> Record | None:
        file = self._file(generation)
        try:
            record = _parse(file.read_text())
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
            _write(draft, json.dumps(asdict(record)))
            if record.lease:
                _write(self._token_file(record, 0), "")
            try:
                os.link(draft, self._file(record.generation))
            except FileExistsError:
                return draft.stat().st_nlink == 2
            finally:
                draft.unlink()
            sync(self.path)
        except OSError as error:
            raise ArbiterError(
                f"cannot claim a generation in {self.path}: {error.strerror}; "
                "the arbiter needs a directory that all hosts can write, with hard links"
            ) from error
        return True

    def ended(self, generation: int) -> bool:
        try:
            return self._ended_file(generation).exists()
        except OSError as error:
            raise ArbiterError(f"cannot read the arbiter {self.path}: {error.strerror}") from error

    def end(self, generation: int) -> None:
        try:
            self._ended_file(generation).touch()
        except OSError as error:
            raise ArbiterError(f"cannot write in {self.path}: {error.strerror}") from error

    def token(self, record: Record) -> int | None:
        return self._tokens().get(record.token)

    def _tokens(self) -> dict[str, int]:
        """Where each stands, by its name. Who lists a directory in which one is being raised may
        find it at both places, or at none."""
        found: dict[str, int] = {}
        for match in filter(None, map(_TOKEN.fullmatch, self._listing())):
            name, stands = match[1], SEALED if match[2] == "sealed" else int(match[2])
            other = found.get(name, stands)
            found[name] = SEALED if SEALED in (stands, other) else max(stands, other)
        return found

    def move_token(self, record: Record, before: int, after: int) -> bool:
        target = self._token_file(record, after)
        try:
            try:
                self._token_file(record, before).rename(target)
            except FileNotFoundError:
                if not target.exists():
                    return False  # if it does, this was done, and the answer got lost
            sync(self.path)
        except OSError as error:
            raise ArbiterError(f"cannot write in {self.path}: {error.strerror}") from error
        return True

    # Inside

    def _prepare(self) -> None:
        """Make the directory, if there is none. What serves otherwise, too, is refused."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArbiterError(f"cannot make the arbiter {self.path}: {error.strerror}") from error
        if foreign := self._names()[1]:
            raise UsageError(self._not_ours(foreign))

    def _check_own(self) -> list[str]:
        """The files besides an arbiter's own."""
        own, foreign = self._names() if self.path.is_dir() else ([], [])
        if not own:
            raise UsageError(f"{self.path} is no arbiter: no replica has been started with it")
        return foreign

    def _not_ours(self, foreign: list[str]) -> str:
        names = ", ".join(sorted(foreign)[:3]) + (", …" if len(foreign) > 3 else "")
        return (
            f"the directory {self.path} holds other files than an arbiter's ({names}): "
            "give one of its own, empty or new"
        )

    def _names(self) -> tuple[list[str], list[str]]:
        """Of an arbiter's files, and of others."""
        names = self._listing()
        own = [name for name in names if name == _GUEST or _NAME.fullmatch(name)]
        others = {name for name in names if not _OF_THE_FILESYSTEM.fullmatch(name)} - set(own)
        besides = (_DRAFT, _TOKEN)
        return own, [name for name in others if not any(kind.fullmatch(name) for kind in besides)]

    def _listing(self) -> list[str]:
        try:
            with os.scandir(self.path) as entries:
                return [entry.name for entry in entries]
        except OSError as error:
            raise ArbiterError(f"cannot read the arbiter {self.path}: {error.strerror}") from error

    def _name_guest(self) -> None:
        """Unless somebody else has meanwhile."""
        try:
            draft = self._draft_guest()
            with contextlib.suppress(FileExistsError):
                os.link(draft, self.path / _GUEST)
            draft.unlink()
        except OSError as error:
            raise ArbiterError(f"cannot write in {self.path}: {error.strerror}") from error

    def _draft_guest(self) -> Path:
        draft = self.path / f".guest-{uuid.uuid4().hex}"
        _write(draft, self._own_name or uuid.uuid4().hex)
        return draft

    def _reign(self, generation: int) -> Reign:
        record = self.read(generation)
        if record is None:
            raise ArbiterError(
                f"the arbiter {self.path} has lost its record of generation {generation}"
            )
        return Reign(
            record,
            ended=self.ended(generation),
            runs=runs(record.pid, record.process),
            since=self._since(generation),
        )

    def _since(self, generation: int) -> float:
        try:
            return self._file(generation).stat().st_mtime
        except OSError:
            return 0.0

    def _still_ruled(self, reign: Reign) -> str:
        """Why nobody can start, and what to do."""
        says = (
            f"the arbiter {self.path} says that generation {reign.record.generation} has not ended "
            f"({reign.owner})"
        )
        reset = f"{_RESET} {self.path}"
        match reign.runs:
            case True:
                return f"{says}, and that process still runs: stop it first"
            case False if reign.alone:
                return f"{says}; that process is dead, and nobody followed it: {reset}"
            case False:
                return f"{says}; that process is dead: if no secondary of it runs anywhere, {reset}"
            case None:
                return (
                    f"{says}; if neither that process nor a secondary of it runs any more: "
                    f"{reset}, by force"
                )

    def _check_gone(self, reign: Reign, force: bool) -> None:
        """Refuse to go on while the owner may run."""
        if reign.runs:
            raise HostError(
                f"generation {reign.record.generation} still runs ({reign.owner}): stop it first"
            )
        if reign.runs is None and not force:
            raise HostError(
                f"generation {reign.record.generation} has not ended ({reign.owner}), and whether "
                "that process is dead cannot be seen from here. If it runs, or a secondary of it "
                "does, a fresh start makes two live primaries, which both write to the guest's "
                "disk and answer on its network. Look there first, then do it by force",
                key=("force",),
            )

    def _file(self, generation: int) -> Path:
        return self.path / f"generation-{generation:010}"

    def _scan(self) -> tuple[int, bool]:
        """The highest generation, and whether it has ended."""
        matches = filter(None, map(_NAME.fullmatch, self._listing()))
        return max(((int(m[1]), m[2] is not None) for m in matches), default=(0, False))

    def _token_file(self, record: Record, stands: int) -> Path:
        number = "sealed" if stands == SEALED else f"{stands:010}"
        return self.path / f"lease-{record.generation:010}-{record.token}-{number}"

    def _ended_file(self, generation: int) -> Path:
        return self._file(generation).with_suffix(".ended")


def _parse(text: str) -> Record:
    """A record's file. `ValueError` or `TypeError` if it is none."""
    fields: dict[str, Any] = json.loads(text)
    record = Record(**fields)
    if any(type(getattr(record, name)) is not kind for name, kind in _FIELDS.items()):
        raise ValueError("fields of wrong types")
    if {type(member) for member in record.members} != {str} or record.owner not in record.members:
        raise ValueError("an owner who is no member")
    if {type(place) for place in record.endpoints.values()} - {str}:
        raise ValueError("a member that is reached nowhere")
    if {type(path) for path in record.moved.values()} - {str}:
        raise ValueError("a disk without a path")
    if record.lease < 0 or (record.lease and not _TOKEN_NAME.fullmatch(record.token)):
        raise ValueError("a lease without a token")
    return Record(**{**fields, "members": tuple(record.members)})


def _write(draft: Path, text: str) -> None:
    """A new file, whole on the disk before it gets a name that counts."""
    with draft.open("x") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
